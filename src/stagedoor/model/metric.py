"""A metric: what is measured, its unit and its labels, for the code, the reference and the dashboard."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from types import MappingProxyType


class MetricKind(StrEnum):
    """OpenMetrics 1.0, "Metric Types"."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


OTHER = "other"
"""The label value of everything that a metric does not list."""
SUM = "sum"
INFINITE = "+Inf"

Series = tuple[str, tuple[str, ...], str]
"""A number's name: the metric, its label values, and the part of a histogram: `SUM`, or the upper bound
of a bucket, which counts what is in no lower one. "" for other kinds."""


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` without the suffix that the kind adds (`_total`), but with its unit's.

    `labels` maps each label to all values that it may have, so that the number of series is known: a value
    that is not among them counts as `OTHER`. An empty list allows any value. `buckets` are a histogram's
    upper bounds, ascending, without infinity. `greatest`: of several workers' gauges the greatest counts,
    and not their sum.
    """

    name: str
    kind: MetricKind
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )
    unit: str = ""
    buckets: tuple[float, ...] = ()
    greatest: bool = False

    def series(self, *values: str, part: str = "") -> Series:
        """The series of these label values, one for each label."""
        allowed = self.labels.values()
        bounded = (
            value if not known or value in known else OTHER
            for value, known in zip(values, allowed, strict=True)
        )
        return self.name, tuple(bounded), part

    def bucket(self, value: float) -> str:
        """The part of the bucket that `value` belongs to."""
        return next((bound_text(bound) for bound in self.buckets if value <= bound), INFINITE)

    @property
    def label_values(self) -> list[tuple[str, ...]]:
        """Every combination, where all are known beforehand; empty where they are not."""
        if not all(self.labels.values()):
            return []
        return list(product(*self.labels.values()))

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of its samples, as queries use them."""
        match self.kind:
            case MetricKind.COUNTER:
                return (f"{self.name}_total",)
            case MetricKind.INFO:
                return (f"{self.name}_info",)
            case MetricKind.HISTOGRAM:
                return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (self.name,)


def bound_text(bound: float) -> str:
    """A bucket's bound as the label `le` has it (OpenMetrics 1.0, "Considerations: Canonical Numbers")."""
    return repr(float(bound))
