"""A worker's counts, sent to the supervisor as differences, and the supervisor's sums of them.

The supervisor adds up what its workers report. So a counter keeps its value when a worker ends, as at a
reload.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from threading import Lock

from stagedoor.model.metric import SUM, Metric, MetricKind, Series
from stagedoor.serve.metrics.definitions import METRICS
from stagedoor.serve.supervisor.control import MetricsMessage

MAX_PER_LINE = 20
"""The most series in one message. It is then shorter than PIPE_BUF, so that a pipe takes it at once
(pipe(7))."""


class MetricCounts:
    """The counts since they were last taken. All methods are safe in any thread.

    Each login adds to ten of them, so the names of series are formed only when the counts are taken.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: defaultdict[tuple[Metric, tuple[str, ...], str], float] = defaultdict(int)
        """By the metric, its label values and the part of a histogram."""
        self._unsent: list[tuple[Series, float]] = []

    def add(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Add to a counter; `labels` are the values of the metric's labels, in order."""
        with self._lock:
            self._counts[metric, labels, ""] += by

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a measurement to a histogram."""
        bucket = metric.choose_bucket(value)
        with self._lock:
            self._counts[metric, labels, bucket] += 1
            self._counts[metric, labels, SUM] += value

    def put_back(self, counted: Iterable[tuple[Series, float]]) -> None:
        """Add back counts that were taken but could not be sent."""
        with self._lock:
            self._unsent += counted

    def take(self) -> dict[Series, float]:
        """Return the counts since the last call, and start again at zero."""
        with self._lock:
            counts, self._counts = self._counts, defaultdict(int)
            unsent, self._unsent = self._unsent, []
        taken: defaultdict[Series, float] = defaultdict(int)
        for series, by in unsent:
            taken[series] += by
        for (metric, labels, part), by in counts.items():
            taken[metric.make_series(*labels, part=part)] += by
        return dict(taken)


def list_messages(
    added: Mapping[Series, float], now: Mapping[Series, float]
) -> Iterator[MetricsMessage]:
    """Yield a worker's counts and gauges as messages that a pipe takes at once."""
    for piece in _split(added.items()):
        yield MetricsMessage(added=piece)
    for piece in _split(now.items()):
        yield MetricsMessage(now=piece)


def _split(series: Iterable[tuple[Series, float]]) -> Iterator[tuple[tuple[Series, float], ...]]:
    left = iter(series)
    while piece := tuple(islice(left, MAX_PER_LINE)):
        yield piece


class MetricTotals:
    """The sums of what all workers have counted, and the gauges of the running ones."""

    def __init__(self) -> None:
        self._counts: Counter[Series] = Counter()
        self._gauges: dict[str, dict[Series, float]] = {}

    def add(self, worker: str, measured: MetricsMessage) -> None:
        """Add the counts of a worker's message, and replace its gauges."""
        for series, by in measured.added:
            self._counts[series] += by  # type: ignore[assignment]  # a Counter of floats
        if measured.now:
            self._gauges.setdefault(worker, {}).update(measured.now)

    def forget(self, worker: str) -> None:
        """Drop the gauges of a worker that has ended. Its counts remain."""
        self._gauges.pop(worker, None)

    def take(self) -> Iterator[tuple[str, MetricsMessage]]:
        """Yield everything so far as messages of the workers, and start again from zero."""
        counts, self._counts = self._counts, Counter()
        gauges, self._gauges = self._gauges, {}
        for message in list_messages(counts, {}):
            yield "", message
        for worker, series in gauges.items():
            for message in list_messages({}, series):
                yield worker, message

    def combine(self) -> dict[Series, float]:
        """Return all series. The gauges of several workers are added up, or the greatest is used."""
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
