"""Whether the gateway lives and lets people in, for probes: told by the supervisor."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from stagedoor.listeners.health import HealthListener, Page
from stagedoor.settings.form import split_address
from stagedoor.settings.listeners import Health

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The Prometheus text format."""


@dataclass(frozen=True, slots=True)
class Condition:
    """How the supervisor is. `workers` accept now; `deaths` have died since the start, unasked;
    `left` sessions are still open in workers that drain. `waits_for_store`: it has not started yet.
    """

    draining: bool
    workers: int
    wanted: int
    deaths: int
    left: int
    waits_for_store: bool = False


class HealthEndpoint:
    """Listens where the settings say; `condition` is asked for each answer."""

    def __init__(self, condition: Callable[[], Condition]) -> None:
        self._condition = condition
        self._listener: HealthListener | None = None
        self._address: str | None = None

    async def listen(self, wanted: Health) -> None:
        """Listen there, and nowhere else any more. Raises StagedoorError and changes nothing then."""
        if wanted.address == self._address:
            return
        fresh = None
        if wanted.address is not None:
            fresh = HealthListener(
                {
                    "/healthz": lambda: Page("alive\n"),
                    "/readyz": lambda: readiness(self._condition()),
                    "/metrics": lambda: Page(metrics(self._condition()), content_type=METRICS_TYPE),
                }
            )
            await fresh.start(*split_address(wanted.address))
        old, self._listener, self._address = self._listener, fresh, wanted.address
        if old is not None:
            await old.close()

    def addresses(self) -> list[tuple[str, int]]:
        return [] if self._listener is None else self._listener.addresses()

    async def close(self) -> None:
        await self.listen(Health())


def readiness(condition: Condition) -> Page:
    """Ready while at least one worker accepts; whoever drains must get no new connection."""
    if condition.draining:
        text = f"draining, {condition.left} sessions left\n"
        return Page(text, HTTPStatus.SERVICE_UNAVAILABLE)
    if condition.waits_for_store:
        text = "waiting for the store, which cannot be reached; the log says why\n"
        return Page(text, HTTPStatus.SERVICE_UNAVAILABLE)
    if not condition.workers:
        return Page("no worker accepts connections yet\n", HTTPStatus.SERVICE_UNAVAILABLE)
    return Page(f"ready, {condition.workers} of {condition.wanted} workers\n")


def metrics(condition: Condition) -> str:
    """In the Prometheus text format."""
    rows = [
        ("ready", "gauge", "1 while people are let in.", int(readiness(condition).status == 200)),
        ("draining", "gauge", "1 while it stops.", int(condition.draining)),
        ("workers", "gauge", "Worker processes that accept connections.", condition.workers),
        ("workers_wanted", "gauge", "Worker processes as set.", condition.wanted),
        ("worker_deaths_total", "counter", "Workers that ended unasked.", condition.deaths),
        ("sessions_draining", "gauge", "Open sessions in workers that drain.", condition.left),
    ]
    lines = []
    for name, kind, what, value in rows:
        full = f"stagedoor_gateway_{name}"
        lines += [f"# HELP {full} {what}", f"# TYPE {full} {kind}", f"{full} {value}"]
    return "\n".join([*lines, ""])
