"""Metrics: name, unit and labels, shared by the code, the reference and the dashboard."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from itertools import product
from types import MappingProxyType


class MetricKind(StrEnum):
    """The metric types of OpenMetrics 1.0 ("Metric Types") that Stagedoor uses."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


OTHER = "other"
"""The label value for all values that a metric does not list."""
SUM = "sum"
INFINITE = "+Inf"

Series = tuple[str, tuple[str, ...], str]
"""The name of a number: the metric, its label values, and the part of a histogram. The part is `SUM` or
the upper bound of a bucket, which counts only values that no lower bucket counts; it is "" for other
kinds."""


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A metric. `name` has the suffix of its unit, but not the suffix of its kind (`_total`).

    `labels` maps each label to all values that it may have, so that the number of series is bounded:
    any other value counts as `OTHER`. An empty tuple allows any value. `buckets` are a histogram's
    upper bounds, ascending, without infinity. With `greatest`, the workers' gauges are combined by
    their maximum instead of their sum.
    """

    name: str
    kind: MetricKind
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    unit: str = ""
    buckets: tuple[float, ...] = ()
    greatest: bool = False

    def make_series(self, *values: str, part: str = "") -> Series:
        """Return the series with these label values, one value for each label."""
        bounded = tuple(
            value if not known or value in known else OTHER
            for value, known in zip(values, self.labels.values(), strict=True)
        )
        return self.name, bounded, part

    def choose_bucket(self, value: float) -> str:
        """Return the part of the bucket that counts `value`."""
        place = bisect_left(self.buckets, value)
        return format_bound(self.buckets[place]) if place < len(self.buckets) else INFINITE

    @property
    def label_values(self) -> list[tuple[str, ...]]:
        """Return every combination of label values, or an empty list if a label allows any value."""
        if not all(self.labels.values()):
            return []
        return list(product(*self.labels.values()))

    @property
    def samples(self) -> tuple[str, ...]:
        """Return the names of the metric's samples, as used in queries."""
        match self.kind:
            case MetricKind.COUNTER:
                return (f"{self.name}_total",)
            case MetricKind.HISTOGRAM:
                return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (self.name,)


@cache
def format_bound(bound: float) -> str:
    """Format a bucket's bound for the label `le` (OpenMetrics 1.0, "Considerations: Canonical Numbers")."""
    return repr(float(bound))
