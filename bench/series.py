"""The result of a run as plain values: every figure is one of the values of a `Series`."""

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Series:
    """One measure of one subject in one case; `values[i]` comes from round `i`.

    Values of the same round were taken one right after the other, so two series may be compared
    pair by pair.
    """

    benchmark: str
    case: str
    subject: str
    measure: str
    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        """The least value."""
        return min(self.values)

    @property
    def most(self) -> float:
        """The greatest value."""
        return max(self.values)


@dataclass
class Result:
    """The result of a run. `notes` are sentences for the reader, such as which peers were missing."""

    machine: dict[str, str]
    quick: bool
    series: list[Series] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take(
        self, benchmark: str, case: str, subject: str, measure: str, unit: str, value: float
    ) -> None:
        """Append `value` to its series, which is created for the first value."""
        series = self.find(benchmark, case, subject, measure)
        if series is None:
            series = Series(benchmark, case, subject, measure, unit)
            self.series.append(series)
        series.values.append(value)

    def find(self, benchmark: str, case: str, subject: str, measure: str) -> Series | None:
        """Return a series, or None."""
        wanted = (benchmark, case, subject, measure)
        for series in self.series:
            if (series.benchmark, series.case, series.subject, series.measure) == wanted:
                return series
        return None

    def of(self, benchmark: str) -> list[Series]:
        """Return the series of a benchmark."""
        return [series for series in self.series if series.benchmark == benchmark]

    def write(self, path: Path) -> None:
        """Write the result as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def read_result(path: Path) -> Result:
    """Read a result that `Result.write` wrote. Raises OSError and ValueError."""
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    series = [Series(**fields) for fields in raw.pop("series")]
    return Result(series=series, **raw)


def pairwise(one: Series, other: Series) -> list[float]:
    """Return the ratios of `one` to `other`, round by round."""
    return [a / b for a, b in zip(one.values, other.values, strict=False) if b]


def ordered(names: Iterable[str]) -> list[str]:
    """Return each name once, in the order of its first appearance."""
    return list(dict.fromkeys(names))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` per cent of `values` do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]
