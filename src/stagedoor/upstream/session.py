"""A session in a shell: an SSH connection that lasts as long as a block.

    async with open_shell_session(entered, upstream) as session:
        ...                      # session.shell is the connection

However the block ends, the connection is closed, and the session is ended in the flow exactly once, with the
right reason.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import anyio
import asyncssh

from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.permission import Permission, Permissions
from stagedoor.model.session import (
    STOPPED,
    STOPPING,
    Counts,
    EndReason,
    OpenedSession,
    SessionResult,
    explain_cancellation,
)
from stagedoor.net.tcp import TcpStream
from stagedoor.recording.channel_audit import (
    ChannelAudit,
    ChannelRequest,
    Note,
    RecordingPlan,
    make_header,
)
from stagedoor.recording.recorder import RecordingError
from stagedoor.session.entered import EnteredSession
from stagedoor.upstream.connection import explain_hang_up
from stagedoor.upstream.login import GatewayLogin, ShellLoginError


class IdleTimer:
    """A timer that expires if `restart` is not called for `timeout_s` (None: never).

    `restart` only stores the time, so that moving bytes creates no timers.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._moved_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, on_idle: Callable[[float], None]) -> None:
        """Begin to count. `on_idle` is called with `timeout_s` when the timer expires."""
        self.restart()
        if self._timeout_s is not None:
            self._check(self._timeout_s, on_idle)

    def restart(self) -> None:
        """Restart the time."""
        self._moved_at = self._loop.time()

    def cancel(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _check(self, timeout_s: float, on_idle: Callable[[float], None]) -> None:
        left_s = self._moved_at + timeout_s - self._loop.time()
        if left_s <= 0:
            on_idle(timeout_s)
        else:
            self._timer = self._loop.call_later(left_s, self._check, timeout_s, on_idle)


class SessionEndedError(Exception):
    """Raised when the gateway ends a session: revoked, expired, idle, closed by an administrator, drained."""

    def __init__(self, end: EndReason, detail: str) -> None:
        super().__init__(detail or end.value)
        self.end = end
        self.detail = detail


class ShellSession:
    """A session in a shell, as `session.ports.RelayHandle`. Only `open_shell_session` creates one.

    Belongs to one event loop. The code that moves bytes counts them with `count`. Bytes of sessions that
    have no idle timeout may be added to `sent` and `received` directly.
    """

    def __init__(
        self,
        opened: OpenedSession,
        note: Note,
        scope: anyio.CancelScope,
        idle_timeout_s: float | None,
    ) -> None:
        self.opened = opened
        self.permissions: Permissions = opened.ready.grant.permissions
        """The permissions of this session by the current policy."""
        self.grant = opened.ready.grant
        """The grant that covers this session now."""
        self.on_grant: Callable[[Grant], None] = lambda grant: None
        """Called with the new grant after `grant` and `permissions` have changed. It may not refer to this
        session: a cycle keeps the memory of a closed session until the garbage collector looks."""
        self.sent = 0
        self.received = 0
        self.requested_end: tuple[EndReason, str] | None = None
        """The end that the gateway has requested, or None."""
        self._note = note
        self._scope = scope
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._end: tuple[EndReason, str] | None = None
        self._shell: asyncssh.SSHClientConnection | None = None
        self._idle = IdleTimer(idle_timeout_s)

    @property
    def shell(self) -> asyncssh.SSHClientConnection:
        """Return the SSH connection to the shell."""
        assert self._shell is not None, "a session is handed out with its shell"
        return self._shell

    @property
    def _shell_name(self) -> str:
        return self.opened.ready.grant.target.shell_name

    def count(self, sent: int, received: int) -> None:
        """Count bytes that were moved."""
        self._idle.restart()
        self.sent += sent
        self.received += received

    def _close_idle(self, timeout_s: float) -> None:
        self.request_end_here(EndReason.IDLE, f"no data passed for {timeout_s:g} s")

    def audit_channel(self, request: ChannelRequest) -> ChannelAudit:
        """Record in the audit that a channel was opened. The caller records its end (`record_end`)."""
        return ChannelAudit(self._note, self.opened, next(self._numbers), request, None)

    async def audit_program(
        self,
        plan: RecordingPlan,
        request: ChannelRequest,
        now: float,
        on_recorded: Callable[[], None],
        on_room: Callable[[], None],
        what: str = "this session",
    ) -> ChannelAudit:
        """Record a program as `audit_channel` does, and its output if the user must be recorded.

        `on_recorded` is called if the output is recorded, and `on_room` when the recording has room again;
        `now` is seconds since the epoch. Raises RecordingError if the user must be recorded and cannot be. If
        the recording fails later, the session is closed. With `RecordingPlan.continues_unrecorded` it
        continues in both cases.
        """
        number, recording = next(self._numbers), None

        def on_failure(why: str) -> None:
            # The recorder has written the failure to the audit and the log.
            on_room()
            if not plan.continues_unrecorded:
                self.request_end_here(
                    EndReason.UNRECORDED, f"{what} cannot be recorded any more ({why})"
                )

        if Permission.RECORD in self.permissions and request.is_interactive:
            header = make_header(self.opened, number, request, now)
            try:
                recording = await plan.recorder.begin(
                    self.opened, number, header, on_room=on_room, on_failure=on_failure
                )
                on_recorded()
            except RecordingError:
                if not plan.continues_unrecorded:
                    raise
        return ChannelAudit(
            self._note, self.opened, number, request, recording, keeps_input=plan.record_input
        )

    @contextmanager
    def audit_only_channel(self, request: ChannelRequest) -> Iterator[ChannelAudit]:
        """Audit the session's only channel. Unless the block records its end, the channel hung up."""
        channel = self.audit_channel(request)
        try:
            yield channel
        finally:
            channel.record_end(None, self.sent, self.received)

    def set_end(self, end: EndReason, detail: str = "") -> None:
        """Set the end for the audit, whatever the block raises. Only the first call counts."""
        if self._end is None:
            self._end = (end, detail)

    # For the flow (`session.ports.RelayHandle`).

    def read_counts(self) -> Counts:
        """Return the bytes relayed so far."""
        return Counts(self.sent, self.received)

    def change_grant(self, grant: Grant) -> None:
        """Apply `grant` and its permissions. May be called from any thread."""
        with suppress(RuntimeError):  # as below
            self._loop.call_soon_threadsafe(self._change_grant, grant)

    def _change_grant(self, grant: Grant) -> None:
        self.grant, self.permissions = grant, grant.permissions
        self.on_grant(grant)

    def request_end(self, end: EndReason, detail: str = "") -> None:
        """Cancel the block, which then raises SessionEndedError. May be called from any thread."""
        with suppress(RuntimeError):  # the loop and everything in it are closed
            self._loop.call_soon_threadsafe(self.request_end_here, end, detail)

    def request_end_here(self, end: EndReason, detail: str = "") -> None:
        """Do the same as `request_end`, in the event loop."""
        if self.requested_end is None:
            self.requested_end = (end, detail)
            self._scope.cancel()

    # For `open_shell_session`.

    def _outcome(self, error: BaseException | None) -> SessionResult:
        end, detail = self._end or self._end_for(error)
        return SessionResult(end, self.read_counts(), detail)

    def _end_for(self, error: BaseException | None) -> tuple[EndReason, str]:
        match error:
            case None:
                return EndReason.CLOSED, ""
            case SessionEndedError(end=EndReason.DRAINED) if not self._shell:
                return EndReason.UNREACHED, STOPPED  # before the login to the shell
            case asyncio.CancelledError() if not self._shell:
                return EndReason.UNREACHED, explain_cancellation(error)
            case SessionEndedError(end=end, detail=detail):
                return end, detail
            case ShellLoginError():
                return EndReason.UNREACHED, str(error)
            case asyncio.CancelledError():
                return EndReason.DRAINED, STOPPING
            case TimeoutError():
                return (
                    EndReason.UPSTREAM_LOST,
                    f"the shell {self._shell_name} did not answer in time",
                )
            case asyncssh.Error() | OSError():
                return EndReason.UPSTREAM_LOST, explain_hang_up(self._shell_name, error)
        return EndReason.FAULT, Denial.of_fault().message


@asynccontextmanager
async def open_shell_session(
    entered: EnteredSession,
    upstream: GatewayLogin,
    extensions: Sequence[str] = (),
    make_client: Callable[[], asyncssh.SSHClient] = asyncssh.SSHClient,
    idle_timeout_s: float | None = None,
) -> AsyncIterator[ShellSession]:
    """Log in to the shell for the length of the block.

    `extensions` are the extensions of the certificate, which permit more than commands (OpenSSH's
    PROTOCOL.certkeys). `make_client` makes the object that receives asyncssh's events of the connection. A
    session that counts no bytes for `idle_timeout_s` is ended. Raises ShellLoginError if the login to the
    shell fails and SessionEndedError if the gateway has ended the session, during the login or in the block.
    """
    scope, opened, stream = anyio.CancelScope(), entered.opened, entered.stream
    assert isinstance(stream, TcpStream), "shells are reached by plain TCP"
    session = ShellSession(opened, upstream.note, scope, idle_timeout_s)
    with entered.carry(session, session._outcome):
        try:
            with scope:
                session._shell = await upstream.connect(
                    stream, opened.ready, extensions, make_client
                )
                session._idle.start(session._close_idle)
                yield session
            if session.requested_end is not None:
                raise SessionEndedError(*session.requested_end)
        finally:
            session._idle.cancel()
            if session._shell is not None:
                session._shell.close()
