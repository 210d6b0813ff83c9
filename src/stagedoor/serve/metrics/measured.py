"""Wrappers of the flow's ports, which count what passes through and change nothing."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from threading import Lock

from stagedoor.model.denial import Denial
from stagedoor.model.event import EventFields, EventKind
from stagedoor.model.grant import Grant
from stagedoor.model.session import (
    AccessMethod,
    Counts,
    OpenedSession,
    ReadyShell,
    ResumedSession,
    SessionResult,
)
from stagedoor.model.shell import Progress, ProgressStep, Shell
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.recording.channel_audit import Note
from stagedoor.serve.metrics import definitions as metrics
from stagedoor.serve.metrics.tally import MetricCounts
from stagedoor.session.ports import Ledger
from stagedoor.shells.ports import Shells

Clock = Callable[[], float]
"""A clock, in seconds."""


class MetricsLedger:
    """A `session.ports.Ledger` that counts logins, denials and open sessions.

    `take_new_bytes` is that of `session.registry`: the bytes of an open session that were not counted yet.
    `clock` is monotonic, and `now` the time that sessions are opened at, since the epoch.
    """

    def __init__(
        self,
        ledger: Ledger,
        tally: MetricCounts,
        take_new_bytes: Callable[[str, Counts], Counts],
        clock: Clock = time.monotonic,
        now: Clock = time.time,
    ) -> None:
        self._ledger = ledger
        self._tally = tally
        self._take_new_bytes = take_new_bytes
        self._clock = clock
        self._now = now
        self._lock = Lock()
        self._open: Counter[AccessMethod] = Counter()

    async def open(
        self,
        ready: ReadyShell,
        access_method: AccessMethod,
        source: Source,
        earlier: ResumedSession | None = None,
    ) -> OpenedSession | Denial:
        """Open a session in the ledger or continue an earlier one there, and count and time it."""
        began = self._clock()
        opened = await self._ledger.open(ready, access_method, source, earlier)
        if isinstance(opened, OpenedSession):
            self._tally.observe(metrics.AUDIT_OPEN, self._clock() - began)
            if earlier is None:
                self._tally.add(metrics.LOGINS, access_method, metrics.OPENED)
            elif not earlier.is_adopted:
                self._tally.add(metrics.RESUMES)
            with self._lock:
                self._open[access_method] += 1
        return opened

    def release(self, opened: OpenedSession, counts: Counts) -> None:
        """Count the last bytes here of a session that continues in another process."""
        self._ledger.release(opened, counts)
        with self._lock:
            self._open[opened.access_method] -= 1
        self._count_bytes(opened.id, counts)

    def return_session(self, opened: OpenedSession, why: str) -> None:
        """Return a session to the process that had it. Here it has moved no bytes."""
        self._ledger.return_session(opened, why)
        with self._lock:
            self._open[opened.access_method] -= 1
        self._count_bytes(opened.id, opened.before)

    async def wait_for_writes(self) -> None:
        """Wait for the ledger."""
        await self._ledger.wait_for_writes()

    def close_session(self, opened: OpenedSession, ended: SessionResult) -> None:
        """Close a session in the ledger, and count its end, its bytes and its length."""
        self._ledger.close_session(opened, ended)
        with self._lock:
            self._open[opened.access_method] -= 1
        self._count_bytes(opened.id, ended.counts)
        self._tally.add(metrics.ENDS, opened.access_method, ended.end)
        self._tally.observe(metrics.LENGTH, max(0.0, self._now() - opened.at), opened.access_method)

    def record_denial(
        self,
        denial: Denial,
        access_method: AccessMethod,
        source: Source,
        *,
        identity: str | None = None,
        target: Target | None = None,
    ) -> None:
        """Record a denial in the ledger, and count it."""
        self._ledger.record_denial(denial, access_method, source, identity=identity, target=target)
        self._tally.add(metrics.LOGINS, access_method, metrics.DENIED)
        self._tally.add(metrics.DENIALS, access_method, denial.reason)

    def count_moved(self, counts: Iterable[tuple[str, Counts]]) -> None:
        """Count the bytes that open sessions have moved since the last call; `counts` are their totals."""
        for session, now in counts:
            self._count_bytes(session, now)

    def count_sessions(self) -> dict[AccessMethod, int]:
        """Return the number of open sessions by access method."""
        with self._lock:
            return {access_method: self._open[access_method] for access_method in AccessMethod}

    def _count_bytes(self, session: str, now: Counts) -> None:
        new = self._take_new_bytes(session, now)
        self._tally.add(metrics.BYTES, "sent", by=new.sent)
        self._tally.add(metrics.BYTES, "received", by=new.received)


class MetricsShells:
    """A `shells.ports.Shells` that measures how long developers wait for a shell to start."""

    def __init__(self, shells: Shells, tally: MetricCounts, clock: Clock = time.monotonic) -> None:
        self._shells = shells
        self._tally = tally
        self._clock = clock
        self.list_targets = shells.list_targets
        self.has_target = shells.has_target
        self.find_ready = shells.find_ready
        self.resolve = shells.resolve
        self.observe = shells.observe
        self.find_notice = shells.find_notice
        self.touch = shells.touch
        self.release = shells.release
        self.stop_watching = shells.stop_watching

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        """Have the shell started, and measure each step."""
        steps: list[tuple[str, float]] = []

        def remember(step: ProgressStep) -> None:
            if not steps or steps[-1][0] != step.name:
                steps.append((step.name, self._clock()))
            progress(step)

        result = metrics.CANCELLED
        try:
            shell = await self._shells.ensure(grant, remember)
            result = metrics.DENIED if isinstance(shell, Denial) else metrics.READY
            return shell
        finally:
            if steps:  # without a step, it was running already
                self._tally.add(metrics.STARTED, result)
                for name, took in measure_steps(steps, self._clock()):
                    self._tally.observe(metrics.START_STEP, took, name)


def measure_steps(steps: Iterable[tuple[str, float]], end: float) -> list[tuple[str, float]]:
    """Return how long each step took, in seconds.

    `steps` are the names with the time at which each began, in order; the last one ended at `end`.
    """
    pairs = pairwise([*steps, ("", end)])
    return [(name, until - began) for (name, began), (_, until) in pairs]


def measure_note(note: Note, tally: MetricCounts) -> Note:
    """Return a `Note` that calls `note` and counts the recordings that end."""
    results = {EventKind.RECORDING_ENDED: "complete", EventKind.RECORDING_FAILED: "failed"}

    def counted(opened: OpenedSession, kind: EventKind, fields: EventFields) -> None:
        note(opened, kind, fields)
        with suppress(KeyError):
            tally.add(metrics.RECORDED, results[kind])

    return counted


def make_store_timer(tally: MetricCounts) -> Callable[[str, float, bool], None]:
    """Return a callback for `Database.on_transaction` that times transactions and counts failures."""

    def ended(operation: str, took_s: float, failed: bool) -> None:
        tally.observe(metrics.STORE_TIME, took_s, operation)
        if failed:
            tally.add(metrics.STORE_FAILURES, operation)

    return ended
