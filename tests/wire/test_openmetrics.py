"""OpenMetrics text, read back by Prometheus' own parser for Python."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from stagedoor.model.metric import OTHER, SUM, Metric, MetricKind
from stagedoor.wire.http.openmetrics import format_metrics

LOGINS = Metric("x_logins", MetricKind.COUNTER, "Logins.", {"method": ("connect", "web")})
OPEN = Metric("x_open", MetricKind.GAUGE, "Open now.", {"reason": ()})
TOOK = Metric("x_took_seconds", MetricKind.HISTOGRAM, "Time.", {}, "seconds", (0.1, 1.0))
BUILD = Metric("x_build_info", MetricKind.GAUGE, "Program.", {"version": ()})
ALL = (LOGINS, OPEN, TOOK, BUILD)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_counter_is_there_before_anything_is_counted() -> None:
    read = samples(format_metrics(ALL, {}))
    assert read[("x_logins_total", (("method", "web"),))] == 0
    assert read[("x_took_seconds_count", ())] == 0
    assert not [name for name, _ in read if name == "x_open"]


def test_buckets_are_cumulative_and_end_in_the_count() -> None:
    values = {TOOK.make_series(part=TOOK.choose_bucket(took)): 1.0 for took in (0.1, 0.5, 7.0)}
    read = samples(format_metrics(ALL, values | {TOOK.make_series(part=SUM): 7.6}))
    buckets = [read[("x_took_seconds_bucket", (("le", le),))] for le in ("0.1", "1.0", "+Inf")]
    assert buckets == [1, 2, 3]
    assert read[("x_took_seconds_count", ())] == 3
    assert read[("x_took_seconds_sum", ())] == 7.6


def test_a_label_that_nobody_knows_makes_no_series_of_its_own() -> None:
    names = {LOGINS.make_series(f"from-{number}") for number in range(1000)}
    assert names == {("x_logins", (OTHER,), "")}


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
def test_any_label_and_number_come_back_as_they_were(label: str, value: float) -> None:
    read = samples(
        format_metrics(ALL, {OPEN.make_series(label): value, BUILD.make_series(label): 1})
    )
    assert read[("x_open", (("reason", label),))] == value
    assert read[("x_build_info", (("version", label),))] == 1
