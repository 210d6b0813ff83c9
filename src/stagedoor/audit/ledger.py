"""The audit stage, which makes a login durable before the flow admits it.

One thread per process writes (group commit). Logins that arrive during a write wait together for the next
one, so that many share one transaction and one fsync. Closes and denials are delayed by up to
`GROUP_COMMIT_S`, so that several share one fsync.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from stagedoor.audit.opening import (
    AwaitedOpenings,
    Opening,
    OpeningState,
    answer_all,
    make_session_id,
)
from stagedoor.audit.pending import Batch, PendingEvents
from stagedoor.audit.words import (
    make_closed_event,
    make_denied_event,
    make_noted_event,
    make_returned_event,
)
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import StoreError
from stagedoor.model.event import Event, EventFields, EventKind
from stagedoor.model.session import (
    STOPPING,
    AccessMethod,
    Counts,
    OpenedSession,
    ReadyShell,
    ResumedSession,
    SessionResult,
    StoredSession,
    explain_cancellation,
)
from stagedoor.model.source import Source
from stagedoor.model.target import Target

OPEN_TIMEOUT_S = 5.0
"""The longest that a login waits for the disk before it is refused."""

GROUP_COMMIT_S = 0.1
"""The longest that a close or a denial waits for others to share its fsync with."""

WRITE_WAIT_S = 1.0
"""The longest that the refusal of a login waits for the audit, which may be busy without a pause."""

RETRY_S = (0.1, 2.0)
"""The first and the longest wait between two tries while the journal cannot be written."""


class Journal(Protocol):
    """An append-only record of events, and the sessions in it."""

    def find_session(self, session: str) -> StoredSession | None:
        """Return a session, open or closed, or None. Blocks. Raises StoreError."""
        ...

    def append(self, events: Sequence[Event]) -> None:
        """Write all events or none. When this returns, they survive a power cut. Blocks.

        A session opens once and closes once. A second `session.opened` or `session.closed` is ignored, and so
        is a `session.closed` of a session that never opened or that another process has taken over. A
        `session.found` with a `holder` is ignored if another connection has taken the session over. So events
        may be written again after an error, when it is unknown whether they were written.

        Raises StoreError (disk full, locked, gone) with one line that names the cause.
        """
        ...


class AuditLedger:
    """The audit ledger, as `session.ports.Ledger`.

    While the journal cannot be written, logins are refused at once, events of sessions are kept and tried
    again in order, and denials are kept as far as there is room. Sessions whose closes are unwritten when the
    process dies are closed as lost at the next start. The sums of denials of the last minute (see
    `audit.pending`) are lost with the process.
    """

    def __init__(
        self,
        journal: Journal,
        instance: str,
        *,
        clock: Callable[[], float] = time.time,
        on_problem: Callable[[str | None], None] = lambda problem: None,
        open_timeout_s: float = OPEN_TIMEOUT_S,
        group_commit_s: float = GROUP_COMMIT_S,
        retry_s: tuple[float, float] = RETRY_S,
    ) -> None:
        """Make a ledger, to be started with `start`.

        `clock` is seconds since the epoch; `on_problem` gets one line when the journal begins
        to fail, and None when it works again, in the writer's thread.
        """
        self._journal = journal
        self._instance = instance
        self._clock = clock
        self._on_problem = on_problem
        self._group_commit_s = group_commit_s
        self._retry_s = retry_s
        self._lock = threading.Condition(threading.Lock())
        self._pending = PendingEvents(instance)
        self._awaited = AwaitedOpenings(open_timeout_s, self._abandon)
        self._wakes_at = 0.0  # monotonic: until when the writer sleeps, unless notified
        self._retry_at: float | None = None  # monotonic, while the journal cannot be written
        self._failures = 0
        self._problem: str | None = None
        self._public_problem = ""
        self._refusal: str | None = None
        self._writing = False
        self._flushing = 0
        self._stopping = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)

    @property
    def problem(self) -> str | None:
        """Return in one line why the journal cannot be written, or None while it can."""
        return self._problem

    @property
    def backlog(self) -> int:
        """Return the number of unwritten events; sums of denials that are not due count as one."""
        return len(self._pending) + self._writing

    def start(self) -> None:
        """Start the writer. Call this after a fork and before the first `open`."""
        self._thread.start()

    async def open(
        self,
        ready: ReadyShell,
        access_method: AccessMethod,
        source: Source,
        earlier: ResumedSession | None = None,
    ) -> OpenedSession | Denial:
        """Return `OpenedSession` once it survives a power cut, else a Denial (AUDIT_UNAVAILABLE).

        If the caller is cancelled, or the time runs out, while the event may already be written,
        the session is closed in the audit as `unreached`, or returned as by `release` if it continues.

        With `earlier`, that session continues in this process. Its endpoint may be mistaken about
        the id, so the login is denied (SESSION_OVER) unless the session has the same identity, target and
        access method.
        """
        now = self._clock()
        opened = OpenedSession(make_session_id(now), now, access_method, source, ready)
        if earlier is not None:
            try:
                stored = await asyncio.to_thread(self._journal.find_session, earlier.id)
            except StoreError as error:
                return _make_unavailable_denial(error.public)
            own = ready.grant.identity.name, str(ready.grant.target), access_method.value
            if stored is None or (stored.identity, stored.target, stored.access_method) != own:
                return Denial(Reason.SESSION_OVER, "the session has ended")
            before = stored.counts if earlier.counts is None else earlier.counts
            opened = OpenedSession(
                earlier.id, stored.opened_at, access_method, source, ready, before, stored
            )
        opening = Opening(opened, asyncio.get_running_loop().create_future(), earlier=earlier)
        with self._lock:
            if self._stopping:
                return _make_unavailable_denial(STOPPING)
            if self._problem is not None:
                return _make_unavailable_denial(self._public_problem)
            if self._refusal is not None:
                return _make_unavailable_denial(self._refusal)
            self._pending.add_opening(opening)
            self._lock.notify_all()
        self._awaited.add(opening)
        try:
            return await opening.answer
        except asyncio.CancelledError as error:
            self._abandon(opening, explain_cancellation(error))
            raise

    def refuse_logins(self, why: str | None) -> None:
        """Refuse all logins for this reason until this is called with None. Any thread may call it."""
        self._refusal = why

    def close_session(self, opened: OpenedSession, ended: SessionResult) -> None:
        """Write soon that the session has ended. Any thread may call this; it never blocks."""
        self._add(make_closed_event(opened, ended, self._instance, self._clock()))

    def release(self, opened: OpenedSession, counts: Counts) -> None:
        """Do nothing: the process in which the session continues records that."""

    def return_session(self, opened: OpenedSession, why: str) -> None:
        """Write soon that the session continues in the process that had it before.

        This is ignored if another connection has taken the session over. Any thread may call this; it never
        blocks.
        """
        if opened.continues is not None:
            self._add(make_returned_event(opened, why, self._instance, self._clock()))

    async def wait_for_writes(self) -> None:
        """Wait until everything so far is written, `WRITE_WAIT_S` seconds at most."""
        await asyncio.to_thread(self.flush, WRITE_WAIT_S)

    def note(self, opened: OpenedSession, kind: EventKind, fields: EventFields) -> None:
        """Write soon what happened in a session. Any thread may call this; it never blocks."""
        self._add(make_noted_event(opened, kind, fields, self._instance, self._clock()))

    def record_denial(
        self,
        denial: Denial,
        access_method: AccessMethod,
        source: Source,
        *,
        identity: str | None = None,
        target: Target | None = None,
    ) -> None:
        """Write or count a refused login soon. Any thread may call this; it never blocks."""
        now = self._clock()
        with self._lock:
            if self._pending.take_denial_share(denial.reason, source.address, now):
                self._pending.add_denial(
                    make_denied_event(
                        denial, access_method, source, identity, target, self._instance, now
                    )
                )
                self._schedule_write()
            elif self._pending.count_denial(denial.reason, access_method, source.address, now):
                self._lock.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything so far is written, including sums. Return False if that fails.

        Blocks; not for the event loop's thread.
        """
        with self._lock:
            self._flushing += 1
            self._lock.notify_all()
            try:
                return self._lock.wait_for(lambda: self.backlog == 0, timeout_s)
            finally:
                self._flushing -= 1

    def stop(self, timeout_s: float) -> int:
        """Flush, end the writer, and return how many events could not be written. Blocks."""
        with self._lock:
            self._stopping = True
        self.flush(timeout_s)
        with self._lock:
            left = self.backlog
            self._ended = True
            self._lock.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s if left == 0 else 1.0)  # it may hang in a dead disk
        return left

    # The rest runs in the writer's thread or under its lock; any thread may call `_add` and `_abandon`.

    def _add(self, event: Event) -> None:
        with self._lock:
            self._pending.add_session_event(event)
            self._schedule_write()

    def _schedule_write(self) -> None:
        if self._pending.due_at == math.inf:
            self._pending.due_at = time.monotonic() + self._group_commit_s
            if self._wakes_at > self._pending.due_at:
                self._lock.notify_all()

    def _abandon(self, opening: Opening, why: str) -> None:
        with self._lock:
            opening.why_abandoned = why
            if opening.state is OpeningState.QUEUED:
                opening.state = OpeningState.VOID
            elif opening.state is OpeningState.DURABLE:
                self._close_unreached([opening])
        if not opening.answer.done():
            opening.answer.set_result(_make_unavailable_denial(why))

    def _close_unreached(self, openings: Iterable[Opening]) -> None:
        now = self._clock()
        for opening in openings:
            self._pending.add_unreached(opening, now)
            self._schedule_write()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            events = batch.list_events(self._instance, self._clock())
            problem = None
            public = "its log says why"
            try:
                if events:
                    self._journal.append(events)
            except StoreError as error:
                problem, public = str(error), error.public
            except Exception as error:  # a fault in the journal must not end the audit
                problem = f"{type(error).__name__}: {error}"
            reported = self._problem
            if problem is None:
                self._complete_batch(batch)
            else:
                self._fail_batch(batch, problem, public)
            if reported != self._problem:
                with suppress(Exception):  # a listener that fails must not end the audit
                    self._on_problem(self._problem)

    def _next_batch(self) -> Batch | None:
        """Wait until something is due to be written, and return it; None at the end."""
        with self._lock:
            # After a write the thread checks once more without a notification, because closes follow logins,
            # and waking it for each of them would cost more than writing it.
            recheck_s: float | None = self._group_commit_s
            while not self._ended:
                now, flushing = time.monotonic(), self._flushing > 0
                wait_s = self._pending.wait_s(
                    self._clock(), now, flushing=flushing, retry_at=self._retry_at
                )
                if wait_s is not None and wait_s <= 0:
                    self._wakes_at = 0.0
                    self._writing = True
                    return self._pending.take(self._clock(), flushing=flushing)
                if wait_s is None:
                    wait_s, recheck_s = recheck_s, None
                self._wakes_at = math.inf if wait_s is None else now + wait_s
                self._lock.wait(wait_s)
            return None

    def _complete_batch(self, batch: Batch) -> None:
        with self._lock:
            self._writing = False
            self._problem = self._retry_at = None
            self._failures = 0
            for opening in batch.openings:
                opening.state = OpeningState.DURABLE
            self._close_unreached(opening for opening in batch.openings if opening.why_abandoned)
            unanswered = answer_all(batch.openings)
            self._close_unreached(o for o in unanswered if o.state is OpeningState.DURABLE)
            self._lock.notify_all()

    def _fail_batch(self, batch: Batch, problem: str, public: str) -> None:
        """Refuse the waiting logins with `public`, and keep all other events for the next try."""
        with self._lock:
            self._writing = False
            self._problem = problem
            self._public_problem = public
            first, longest = self._retry_s
            self._retry_at = time.monotonic() + min(longest, first * 2 ** min(self._failures, 20))
            self._failures += 1
            self._pending.put_back(batch)
            for opening in batch.openings:
                opening.why_abandoned = (
                    opening.why_abandoned or "it could not be written to the audit in time"
                )
            # A commit that failed may still have been written; the close of a session that was not opened is
            # ignored (`Journal`).
            self._close_unreached(batch.openings)
            refused = [*batch.openings, *self._pending.drop_openings()]
            answer_all(refused, _make_unavailable_denial(public))
            self._lock.notify_all()


def _make_unavailable_denial(why: str) -> Denial:
    return Denial(
        Reason.AUDIT_UNAVAILABLE,
        f"this login is refused because it cannot be written to the audit: {why}",
        retry_after_s=5,
    )
