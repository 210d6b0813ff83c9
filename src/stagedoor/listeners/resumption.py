"""Resumable CONNECT tunnels, whose sessions continue while the client is away.

The endpoint keeps the connection to the shell, and `ResumableConnection` gives the relay a stream to the
endpoint in its place. The session stays open in the audit, and in the registry of the worker that holds it,
until it has ended. When the client reconnects, the session moves to the worker that accepts the connection.
If its worker ends while the client is away, another worker adopts it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from stagedoor.listeners.resume_endpoints import ResumeEndpoints, read_note
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.session import (
    ZERO_COUNTS,
    AccessMethod,
    Counts,
    EndReason,
    LoginOrigin,
    OpenedSession,
    ReadyShell,
    ResumedSession,
    SessionResult,
)
from stagedoor.relay.ports import Stream
from stagedoor.relay.tunnel import Tunnel
from stagedoor.resume.control import EndpointControl
from stagedoor.resume.messages import AWAY, CLOSED, IDLE
from stagedoor.resume.requests import Control, Orphan, StreamTicket
from stagedoor.session.entered import EnteredSession
from stagedoor.session.flow import UNDECIDED, Flow
from stagedoor.tasks import Tasks
from stagedoor.upstream.shell_endpoint import DialShell
from stagedoor.wire.http.connect import ResumeRequest
from stagedoor.wire.target import parse_target

_END_REASONS = {CLOSED: EndReason.CLOSED, AWAY: EndReason.DOWNSTREAM_LOST, IDLE: EndReason.IDLE}


@dataclass(frozen=True)
class _Outcome:
    """How a worker's hold on a session ends."""

    end: EndReason | None
    """Why the session ended, or None if it continues elsewhere."""
    detail: str = ""
    counts: Counts | None = None
    """The bytes that the endpoint counted, or None to count those of this gateway."""


_MOVED = _Outcome(None)
_NOT_COMPLETED = "its login was not completed"


class SessionLink:
    """A worker's hold on a session that the endpoint keeps.

    It is a `session.ports.RelayHandle` and a `resume.requests.Watcher`. It belongs to one event loop, but any
    thread may call the methods of `RelayHandle`. A hold ends exactly once: by `on_end` with the session's
    end, or by `on_release` if the session continues elsewhere.
    """

    def __init__(self, away_limit_s: Callable[[Grant], float]) -> None:
        """Create a link without a session; `away_limit_s` returns how long a session waits for its client."""
        self._away_limit_s = away_limit_s
        self._control: Control | None = None
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._before = ZERO_COUNTS
        self._tunnel: Tunnel | None = None
        self._on_end: Callable[[SessionResult], None] | None = None
        self._on_release: Callable[[Counts], None] | None = None
        self._end: tuple[EndReason, str] | None = None
        """The end that this gateway has requested, or None."""
        self._outcome: _Outcome | None = None
        """How the hold ends. If it is known before `begin_hold`, it is reported there."""

    def set_session(self, control: Control, number: int) -> None:
        """Set the session, the one with this number in the endpoint."""
        self._control, self._number = control, number

    def begin_hold(
        self,
        on_end: Callable[[SessionResult], None],
        on_release: Callable[[Counts], None],
        before: Counts,
        tunnel: Tunnel | None = None,
    ) -> None:
        """Hold the session from now on. `on_end` or `on_release` is called once.

        `before` are the bytes moved before this hold, `tunnel` is the relay of the client's connection.
        """
        self._on_end, self._on_release = on_end, on_release
        self._before, self._tunnel = before, tunnel
        self._report_outcome()

    # For the flow (`session.ports.RelayHandle`).

    def read_counts(self) -> Counts:
        """Return the session's bytes so far, with the frames of this connection."""
        now = ZERO_COUNTS if self._tunnel is None else self._tunnel.read_counts()
        return Counts(self._before.sent + now.sent, self._before.received + now.received)

    def change_grant(self, grant: Grant) -> None:
        """Apply the grant's limit on waiting for the client.

        The gateway cannot restrict what is done inside encrypted SSH.
        """
        with suppress(RuntimeError):  # the loop is closed, and everything with it
            self._loop.call_soon_threadsafe(self._set_wait, grant)

    def request_end(self, end: EndReason, detail: str = "") -> None:
        """Ask the session to end. If only this gateway stops, the session continues in another process."""
        with suppress(RuntimeError):  # the loop is closed, and everything with it
            self._loop.call_soon_threadsafe(self._close, end, detail)

    # In the event loop.

    def _set_wait(self, grant: Grant) -> None:
        if self._control is not None:
            self._control.set_limit(self._number, self._away_limit_s(grant))

    def _close(self, end: EndReason, detail: str) -> None:
        self._end = self._end or (end, detail)
        if end is EndReason.DRAINED:
            self._end_hold(_Outcome(end, detail))
        elif self._control is not None:
            self._control.end(self._number, detail or end.value)

    def note_move(self) -> None:
        """Leave the session to another connection or worker."""
        self._end_hold(_MOVED)

    def note_end(self, code: int, why: str, counts: Counts | None) -> None:
        """End this session, which has ended in the endpoint."""
        end, detail = self._end or (_END_REASONS.get(code, EndReason.UPSTREAM_LOST), why)
        self._end_hold(_Outcome(end, detail, counts))

    def _end_hold(self, outcome: _Outcome) -> None:
        """End the hold with this outcome, unless it has one already."""
        if self._outcome is None:
            self._outcome = outcome
            if self._control is not None:
                self._control.forget(self._number)
            self._report_outcome()

    def _report_outcome(self) -> None:
        """Call `on_end` or `on_release`, if the outcome is known and the hold has begun."""
        outcome = self._outcome
        if outcome is None or self._on_end is None or self._on_release is None:
            return
        counts = self.read_counts()
        if outcome.counts is not None:
            counts = _find_larger(outcome.counts, self._before)
        if self._tunnel is not None:
            self._tunnel.request_end(outcome.end or EndReason.CLOSED, outcome.detail)
        if outcome.end is None:
            self._on_release(counts)
        else:
            self._on_end(SessionResult(outcome.end, counts, outcome.detail))


class ResumableConnection(SessionLink):
    """One connection of a resumable tunnel, as `session.ports.ResumableConnector`."""

    def __init__(self, endpoints: ResumeEndpoints, request: ResumeRequest) -> None:
        super().__init__(endpoints.find_away_limit)
        self.is_resumable = False
        """Whether the client gets frames. A new tunnel is plain if no endpoint can be reached."""
        self._endpoints = endpoints
        self._request = request
        self._ticket: StreamTicket | None = None

    async def find_earlier(self, ready: ReadyShell) -> ResumedSession | Denial | None:
        """Return the session to which the client returns, or None if it opens a new one."""
        if not self._request.attempt:
            return None
        if not self._away_limit_s(ready.grant):
            return Denial(Reason.SESSION_OVER, "your grant does not permit resuming a session")
        try:
            ticket = await self._endpoints.resume(ready, self._request, self)
        except OSError as error:
            return _cannot_resume(error)
        if isinstance(ticket, Denial):
            return ticket
        self._ticket = ticket
        self.set_session(ticket.control, ticket.number)
        return ticket.earlier

    async def connect(self, opened: OpenedSession, dial: DialShell) -> Stream | Denial:
        """Return a stream to the endpoint, or to the shell for a plain tunnel, or why there is none."""
        ticket = self._ticket
        if ticket is None:
            if not self._away_limit_s(opened.ready.grant):
                return await dial(opened.ready)
            result = await self._endpoints.open(opened, dial, self._request, self)
            if not isinstance(result, StreamTicket):
                return result
            ticket = result
            self.set_session(ticket.control, ticket.number)
        try:
            stream = ticket.stream or await ticket.control.connect_data(ticket.secret)
        except OSError as error:
            self._abandon_session(opened, "the gateway does not reach its endpoint")
            why = f"the tunnel's endpoint could not be reached: {error.strerror or error}"
            return Denial(Reason.SHELL_UNAVAILABLE, why)
        except BaseException:
            self._abandon_session(opened, _NOT_COMPLETED)
            raise
        self.is_resumable = True
        return stream

    def find_earlier_end(self, before: Counts) -> SessionResult | None:
        """Return the end of the earlier session if it is known to have ended, or None.

        `before` are the bytes that it is known to have moved.
        """
        outcome = self._outcome
        if outcome is None or outcome.end is None:
            return None
        return SessionResult(outcome.end, _find_larger(outcome.counts, before), outcome.detail)

    def _abandon_session(self, opened: OpenedSession, why: str) -> None:
        """End a new session in the endpoint. Forget an earlier one, which continues without this login."""
        if self._control is None:
            return
        if opened.continues is None:
            self._control.end(self._number, why)
        else:
            self._control.forget(self._number)

    def keep_earlier_session(self, entered: EnteredSession) -> bool:
        """Take over an earlier session whose client has no connection, and return True.

        The endpoint has given the session to this worker, so no other one holds it. A new session ends.
        """
        if not self.is_resumable:
            return False
        if entered.opened.continues is None:
            self._abandon_session(entered.opened, _NOT_COMPLETED)
            return False
        entered.stream.abort()
        self.begin_hold(entered, entered.release, entered.opened.before)
        return True

    def take_over(
        self, entered: EnteredSession, start: Callable[[Callable[[SessionResult], None]], Tunnel]
    ) -> None:
        """Take the session over. `start` starts the relay, and is given what to call at its end."""
        before = entered.opened.before
        self.begin_hold(entered, entered.release, before, start(self._relay_ended))

    def _relay_ended(self, ended: SessionResult) -> None:
        """Record that this connection of the client has ended. Called in the relay's thread."""
        if ended.end is EndReason.DRAINED:
            self.request_end(ended.end, ended.detail)


class Adopter:
    """Adopts sessions whose worker ended while their client is away, so that a revocation reaches them."""

    def __init__(self, flow: Flow, endpoints: ResumeEndpoints) -> None:
        self._flow = flow
        self._endpoints = endpoints
        self._control = endpoints.local
        self._tasks = Tasks("a session was not adopted because of an internal fault")

    def start(self) -> None:
        """Adopt sessions from now on."""
        self._control.adopt_orphans(self._start_adopting)

    async def connect_endpoints(self) -> None:
        """Connect to endpoints that have started since. Call it from time to time."""
        await self._control.connect_endpoints()

    def stop(self) -> None:
        """Adopt no more sessions."""
        self._control.adopt_orphans(None)

    def _start_adopting(self, control: EndpointControl, orphan: Orphan) -> None:
        self._tasks.start(self._adopt(control, orphan))

    async def _adopt(self, control: EndpointControl, orphan: Orphan) -> None:
        target = parse_target(orphan.owner.rpartition(" ")[2])
        note = read_note(orphan.note)
        if isinstance(target, Denial) or note is None:
            return  # it was opened by another version
        (source, identity), earlier = note, orphan.earlier
        link = SessionLink(self._endpoints.find_away_limit)
        try:
            number = await control.adopt(earlier.id, link)
        except OSError:
            return
        if number is None:
            return
        link.set_session(control, number)
        origin = LoginOrigin(AccessMethod.CONNECT, source)
        try:
            opened = await self._flow.adopt(identity, target, origin, earlier)
        except BaseException:
            control.make_orphan(number)
            raise
        if isinstance(opened, OpenedSession):
            link.begin_hold(
                partial(self._flow.close_session, opened),
                partial(self._flow.release, opened),
                opened.before,
            )
            self._flow.attach(opened, link)
        elif opened.reason in UNDECIDED:
            control.make_orphan(number)  # another worker may judge it, or this one later
        else:
            control.end(number, opened.line)


def _find_larger(counted: Counts | None, before: Counts) -> Counts:
    """Return what the endpoint has counted, but not less than `before`: it may have forgotten the session."""
    if counted is None:
        return before
    return Counts(max(counted.sent, before.sent), max(counted.received, before.received))


def _cannot_resume(error: OSError) -> Denial:
    return Denial(
        Reason.SHELL_UNAVAILABLE,
        f"the session cannot be resumed now: {error.strerror or str(error) or 'no answer'}",
    )
