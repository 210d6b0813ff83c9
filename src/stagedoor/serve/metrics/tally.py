"""A worker's counts, handed to the supervisor as differences; and the supervisor's sums of them.

The supervisor adds up what workers say, so that a counter goes on when its worker has gone: a reload
is no reset.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from threading import Lock

from stagedoor.model.metric import SUM, Metric, MetricKind, Series
from stagedoor.serve.metrics.definitions import METRICS
from stagedoor.serve.supervisor.control import MetricsMessage

MOST_IN_A_LINE = 20
"""Series in one message: so that it is shorter than what a pipe takes at once, PIPE_BUF of pipe(7)."""


class MetricCounts:
    """Counts since they were last taken. Every method may be called from any thread, and is quick."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[Series] = Counter()

    def add(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Count; `labels` are the values of the metric's labels, in order."""
        with self._lock:
            self._counts[metric.series(*labels)] += by  # type: ignore[assignment]  # a Counter of floats

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """One more measurement of a histogram."""
        with self._lock:
            self._counts[metric.series(*labels, part=metric.bucket(value))] += 1
            self._counts[metric.series(*labels, part=SUM)] += value  # type: ignore[assignment]

    def put_back(self, counted: Iterable[tuple[Series, float]]) -> None:
        """What was taken and could not be told: it is taken again."""
        with self._lock:
            for series, by in counted:
                self._counts[series] += by  # type: ignore[assignment]

    def take(self) -> dict[Series, float]:
        """What has been counted since the last call."""
        with self._lock:
            taken, self._counts = self._counts, Counter()
        return dict(taken)


def messages(
    added: Mapping[Series, float], now: Mapping[Series, float]
) -> Iterator[MetricsMessage]:
    """What a worker says of its counts and its gauges, in lines that a pipe takes at once."""
    for some in _pieces(added.items()):
        yield MetricsMessage(added=some)
    for some in _pieces(now.items()):
        yield MetricsMessage(now=some)


def _pieces(series: Iterable[tuple[Series, float]]) -> Iterator[tuple[tuple[Series, float], ...]]:
    left = iter(series)
    while piece := tuple(islice(left, MOST_IN_A_LINE)):
        yield piece


class MetricTotals:
    """What all workers have counted, and the gauges of those that live."""

    def __init__(self) -> None:
        self._counts: Counter[Series] = Counter()
        self._gauges: dict[int, dict[Series, float]] = {}

    def add(self, worker: int, measured: MetricsMessage) -> None:
        for series, by in measured.added:
            self._counts[series] += by  # type: ignore[assignment]  # a Counter of floats
        if measured.now:
            self._gauges.setdefault(worker, {}).update(measured.now)

    def forget(self, worker: int) -> None:
        """It has ended: what it counted stays, what it saw does not."""
        self._gauges.pop(worker, None)

    def values(self) -> dict[Series, float]:
        values: dict[Series, float] = dict(self._counts)
        for gauges in self._gauges.values():
            for series, value in gauges.items():
                before = values.get(series)
                if before is None:
                    values[series] = value
                elif series[0] in _GREATEST:
                    values[series] = max(before, value)
                else:
                    values[series] = before + value
        return values


_GREATEST = frozenset(
    metric.name for metric in METRICS if metric.kind is MetricKind.GAUGE and metric.greatest
)
