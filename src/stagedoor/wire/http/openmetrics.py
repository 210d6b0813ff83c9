"""Numbers as OpenMetrics text 1.0 (openmetrics.io, `application/openmetrics-text`). Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from stagedoor.model.metric import INFINITE, SUM, Metric, MetricKind, Series, format_bound

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def format_metrics(metrics: Iterable[Metric], values: Mapping[Series, float]) -> str:
    """Return the text of all metrics.

    A counter or histogram without a value is 0, and a gauge without a value is left out. `values` of
    other metrics are ignored.
    """
    by_metric: dict[str, dict[tuple[str, ...], dict[str, float]]] = defaultdict(dict)
    for (name, labels, part), value in values.items():
        by_metric[name].setdefault(labels, {})[part] = value
    lines: list[str] = []
    for metric in metrics:
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        if metric.unit:
            lines.append(f"# UNIT {metric.name} {metric.unit}")
        lines.append(f"# HELP {metric.name} {_escaped(metric.help)}")
        lines += _samples(metric, by_metric[metric.name])
    return "\n".join([*lines, "# EOF", ""])


def parse_plain_samples(text: str) -> dict[str, float]:
    """Return the samples without labels from a text that `format_metrics` wrote, by name."""
    samples = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if not line.startswith("#") and "{" not in name:
            try:
                samples[name] = float(value)
            except ValueError:
                continue
    return samples


def _samples(
    metric: Metric, by_labels: Mapping[tuple[str, ...], Mapping[str, float]]
) -> Iterator[str]:
    counted = metric.kind in (MetricKind.COUNTER, MetricKind.HISTOGRAM)
    combinations = dict.fromkeys(metric.label_values if counted else ())
    for values in [*combinations, *sorted(by_labels.keys() - combinations.keys())]:
        labels = [
            f'{name}="{_escaped(value)}"' for name, value in zip(metric.labels, values, strict=True)
        ]
        parts = by_labels.get(values, {})
        if metric.kind is MetricKind.HISTOGRAM:
            yield from _histogram(metric, labels, parts)
        else:
            yield f"{metric.samples[0]}{_braced(labels)} {_number(parts.get('', 0))}"


def _histogram(metric: Metric, labels: list[str], parts: Mapping[str, float]) -> Iterator[str]:
    count = 0.0
    for bound in [*map(format_bound, metric.buckets), INFINITE]:
        count += parts.get(bound, 0)
        le = f'le="{bound}"'
        yield f"{metric.name}_bucket{_braced([*labels, le])} {_number(count)}"
    yield f"{metric.name}_count{_braced(labels)} {_number(count)}"
    yield f"{metric.name}_sum{_braced(labels)} {_number(parts.get(SUM, 0))}"


def _braced(labels: list[str]) -> str:
    return "{" + ",".join(labels) + "}" if labels else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
