"""The supervisor's HTTP endpoint for probes and metrics."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from stagedoor import __version__
from stagedoor.listeners.health import HealthListener, HealthPage
from stagedoor.model.metric import Series
from stagedoor.serve.metrics import definitions as metrics
from stagedoor.serve.supervisor.sink_writer import SinkState
from stagedoor.settings.form import split_address
from stagedoor.settings.listeners import HealthSettings
from stagedoor.wire.http.openmetrics import CONTENT_TYPE, format_metrics


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition of the supervisor and its workers.

    Of the `wanted` workers, `workers` accept connections now. `deaths` counts the workers that died since the
    start, `left` the sessions that are still open in draining workers. `waits_for_store`: the gateway has not
    started yet. `sinks` are the audit's.
    """

    draining: bool
    workers: int
    wanted: int
    deaths: int
    left: int
    waits_for_store: bool = False
    sinks: tuple[SinkState, ...] = ()


class HealthEndpoint:
    """The listener at `health.address`. It calls `condition` and `measured` for each answer."""

    def __init__(
        self,
        condition: Callable[[], Condition],
        measured: Callable[[], Mapping[Series, float]],
    ) -> None:
        self._condition = condition
        self._measured = measured
        self._listener: HealthListener | None = None
        self._address: str | None = None

    async def listen(self, wanted: HealthSettings) -> None:
        """Listen at the address in `wanted` instead of the current one, or stop if it is None.

        Raises StagedoorError, and then nothing has changed.
        """
        if wanted.address == self._address:
            return
        fresh = None
        if wanted.address is not None:
            fresh = HealthListener(
                {
                    "/healthz": lambda: HealthPage("alive\n"),
                    "/readyz": lambda: report_readiness(self._condition()),
                    "/metrics": lambda: HealthPage(
                        render_metrics(self._condition(), self._measured()),
                        content_type=CONTENT_TYPE,
                    ),
                }
            )
            await fresh.start(*split_address(wanted.address))
        old, self._listener, self._address = self._listener, fresh, wanted.address
        if old is not None:
            await old.close()

    def list_addresses(self) -> list[tuple[str, int]]:
        """Return the addresses and ports that it listens on."""
        return [] if self._listener is None else self._listener.list_addresses()

    async def stop(self) -> None:
        """Stop listening."""
        await self.listen(HealthSettings())


def report_readiness(condition: Condition) -> HealthPage:
    """Return the readiness page: ready while at least one worker accepts and the gateway does not drain."""
    if condition.draining:
        text = f"draining, {condition.left} sessions left\n"
        return HealthPage(text, HTTPStatus.SERVICE_UNAVAILABLE)
    if condition.waits_for_store:
        text = "waiting for the store, which cannot be reached; the log says why\n"
        return HealthPage(text, HTTPStatus.SERVICE_UNAVAILABLE)
    if not condition.workers:
        return HealthPage("no worker accepts connections yet\n", HTTPStatus.SERVICE_UNAVAILABLE)
    text = f"ready, {condition.workers} of {condition.wanted} workers\n"
    for sink in condition.sinks:
        if sink.failing:
            text += f"audit sink {sink.name} fails, {sink.backlog} events wait; the log says why\n"
    return HealthPage(text)


def render_metrics(condition: Condition, measured: Mapping[Series, float]) -> str:
    """Return the metrics as OpenMetrics text; `measured` holds the values from the workers."""
    own = {
        metrics.READY_NOW: int(report_readiness(condition).status == HTTPStatus.OK),
        metrics.DRAINING: int(condition.draining),
        metrics.WORKERS: condition.workers,
        metrics.WANTED: condition.wanted,
        metrics.DEATHS: condition.deaths,
        metrics.LEFT: condition.left,
    }
    values: dict[Series, float] = {metric.make_series(): value for metric, value in own.items()}
    for sink in condition.sinks:
        values[metrics.SINK_FAILING.make_series(sink.name)] = int(sink.failing)
        values[metrics.SINK_BACKLOG.make_series(sink.name)] = sink.backlog
    values[metrics.BUILD.make_series(__version__, platform.python_version())] = 1
    return format_metrics(metrics.METRICS, {**values, **measured})
