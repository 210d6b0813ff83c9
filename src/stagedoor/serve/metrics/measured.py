"""The flow's ports with a measure on them: what passes is counted, and nothing else is changed."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from threading import Lock

from stagedoor.audit.words import Fields
from stagedoor.model.denial import Denial
from stagedoor.model.event import Kind
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.session import AccessMethod, Counts, Ended, Opened, Ready
from stagedoor.model.shell import Progress, Shell, StartStep
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.model.webpass import PassKind
from stagedoor.recording.channel_audit import Note
from stagedoor.serve.metrics import definitions as of
from stagedoor.serve.metrics.tally import MetricCounts
from stagedoor.session.ports import Ledger
from stagedoor.shells.ports import Shells

Clock = Callable[[], float]
"""Seconds, monotonic."""


class MetricsLedger:
    """Satisfies `session.ports.Ledger`: who was let in, who was not, and who is inside."""

    def __init__(self, ledger: Ledger, tally: MetricCounts, clock: Clock = time.monotonic) -> None:
        self._ledger = ledger
        self._tally = tally
        self._clock = clock
        self._lock = Lock()
        self._inside: dict[str, tuple[AccessMethod, float, Counts]] = {}
        """By session: how and when it was opened, and the bytes of it that were counted."""
        self._open: Counter[AccessMethod] = Counter()

    async def open(self, ready: Ready, way: AccessMethod, source: Source) -> Opened | Denial:
        began = self._clock()
        opened = await self._ledger.open(ready, way, source)
        if isinstance(opened, Opened):
            self._tally.observe(of.AUDIT_OPEN, self._clock() - began)
            self._tally.add(of.LOGINS, way, of.OPENED)
            with self._lock:
                self._inside[opened.id] = (way, self._clock(), Counts())
                self._open[way] += 1
        return opened

    def close(self, opened: Opened, ended: Ended) -> None:
        self._ledger.close(opened, ended)
        with self._lock:
            inside = self._inside.pop(opened.id, None)
            if inside is None:
                return
            self._open[inside[0]] -= 1
        way, began, counted = inside
        self._count_bytes(ended.counts, counted)
        self._tally.add(of.ENDS, way, ended.end)
        self._tally.observe(of.LENGTH, self._clock() - began, way)

    def deny(
        self,
        denial: Denial,
        way: AccessMethod,
        source: Source,
        *,
        identity: str | None = None,
        target: Target | None = None,
    ) -> None:
        self._ledger.deny(denial, way, source, identity=identity, target=target)
        self._tally.add(of.LOGINS, way, of.DENIED)
        self._tally.add(of.DENIALS, way, denial.reason)

    def moved(self, counts: Iterable[tuple[str, Counts]]) -> None:
        """So many bytes live sessions have moved by now."""
        for session, now in counts:
            with self._lock:
                inside = self._inside.get(session)
                if inside is None:
                    continue
                way, began, counted = inside
                self._inside[session] = (way, began, now)
            self._count_bytes(now, counted)

    def inside(self) -> dict[AccessMethod, int]:
        """How many sessions are open, by access method."""
        with self._lock:
            return {way: self._open[way] for way in AccessMethod}

    def _count_bytes(self, now: Counts, before: Counts) -> None:
        self._tally.add(of.BYTES, "sent", by=max(0, now.sent - before.sent))
        self._tally.add(of.BYTES, "received", by=max(0, now.received - before.received))


class MetricsShells:
    """Satisfies `shells.ports.Shells`: how long people wait for one that does not run yet."""

    def __init__(self, shells: Shells, tally: MetricCounts, clock: Clock = time.monotonic) -> None:
        self._shells = shells
        self._tally = tally
        self._clock = clock
        self.targets = shells.targets
        self.knows = shells.knows
        self.resolve = shells.resolve
        self.observe = shells.observe
        self.notice = shells.notice
        self.touch = shells.touch
        self.release = shells.release
        self.close = shells.close

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        return await self._started(self._shells.ensure, grant, progress)

    async def _started(
        self,
        start: Callable[[Grant, Progress], Awaitable[Shell | Denial]],
        grant: Grant,
        progress: Progress,
    ) -> Shell | Denial:
        steps: list[tuple[str, float]] = []

        def remember(step: StartStep) -> None:
            if not steps or steps[-1][0] != step.name:
                steps.append((step.name, self._clock()))
            progress(step)

        result = of.CANCELLED
        try:
            shell = await start(grant, remember)
            result = of.DENIED if isinstance(shell, Denial) else of.READY
            return shell
        finally:
            if steps:  # else it runs already
                self._tally.add(of.STARTED, result)
            for name, took in durations(steps, self._clock()):
                self._tally.observe(of.START_STEP, took, name)


def durations(steps: Iterable[tuple[str, float]], end: float) -> list[tuple[str, float]]:
    """How long each step took: `steps` with the time at which each began, in order."""
    listed = list(steps)
    ends = [began for _, began in [*listed, ("", end)][1:]]
    return [(name, until - began) for (name, began), until in zip(listed, ends, strict=True)]


def measured_note(note: Note, tally: MetricCounts) -> Note:
    """`note`, and recordings that are over are counted."""
    results = {Kind.RECORDING_ENDED: "complete", Kind.RECORDING_FAILED: "failed"}

    def counted(opened: Opened, kind: Kind, fields: Fields) -> None:
        note(opened, kind, fields)
        with suppress(KeyError):
            tally.add(of.RECORDED, results[kind])

    return counted


def sign_in_counter(tally: MetricCounts) -> Callable[[PassKind, Identity], None]:
    """For the passes that are given out on the web: a browser's session is a sign-in."""

    def issued(kind: PassKind, identity: Identity) -> None:
        if kind is PassKind.SESSION:
            tally.add(of.SIGN_INS, identity.method)

    return issued


def store_timer(tally: MetricCounts) -> Callable[[str, float, bool], None]:
    """For `Database.on_transaction`."""

    def ended(operation: str, took_s: float, failed: bool) -> None:
        tally.observe(of.STORE_TIME, took_s, operation)
        if failed:
            tally.add(of.STORE_FAILURES, operation)

    return ended
