"""How a listener logs in to a shell: an SSH connection for as long as a block lasts.

    async with shell_session(entered, login) as session:
        ...                      # session.shell is the connection

Whatever happens in the block or to it, the connection is closed then, and the session is over in the
flow, once, with the reason that fits.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

import anyio
import asyncssh

from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.permission import Permissions
from stagedoor.model.session import Counts, End, Ended, Opened
from stagedoor.net.tcp import TcpStream
from stagedoor.recording.channel_audit import ChannelAudit, ChannelRequest, Note
from stagedoor.recording.recorder import Recording
from stagedoor.session.entered import Entered
from stagedoor.upstream.connection import hung_up
from stagedoor.upstream.login import UnreachedError, Upstream

STOPPING = "the gateway is stopping"
FAULT = Denial.internal().message


@dataclass(frozen=True, slots=True)
class ShellLogin:
    """How to log in: `extensions` are what the certificate permits besides commands
    (OpenSSH's PROTOCOL.certkeys), `client` sees what asyncssh tells of the connection."""

    upstream: Upstream
    note: Note
    extensions: Sequence[str] = ()
    client: Callable[[], asyncssh.SSHClient] = asyncssh.SSHClient


class SessionEndedError(Exception):
    """The flow has ended this session: revoked, expired, closed by an administrator, drained."""

    def __init__(self, end: End, detail: str) -> None:
        super().__init__(detail or end.value)
        self.end = end
        self.detail = detail


class ShellSession:
    """Satisfies `session.ports.Link`. Made by `shell_session` only; belongs to one event loop.

    The code that moves bytes adds them to `sent` and `received`.
    """

    def __init__(self, opened: Opened, note: Note, scope: anyio.CancelScope) -> None:
        self.opened = opened
        self.permissions: Permissions = opened.ready.grant.permissions
        """What may be done in this session, as the policy is now."""
        self.on_granted: Callable[[], None] = lambda: None
        """Called when `permissions` have changed."""
        self.sent = 0
        self.received = 0
        self.ended_by_flow: tuple[End, str] | None = None
        """Why the flow has asked for the end; None as long as it has not."""
        self._note = note
        self._scope = scope
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._ended: tuple[End, str] | None = None
        self._shell: asyncssh.SSHClientConnection | None = None

    @property
    def shell(self) -> asyncssh.SSHClientConnection:
        """The SSH connection to the shell."""
        assert self._shell is not None, "a session is handed out with its shell"
        return self._shell

    @property
    def _shell_name(self) -> str:
        return self.opened.ready.grant.target.shell_name

    def next_channel(self) -> int:
        """The number of the next channel of this session, from 1."""
        return next(self._numbers)

    def audit_channel(
        self,
        asked: ChannelRequest,
        number: int | None = None,
        recording: Recording | None = None,
        *,
        record_input: bool = False,
    ) -> ChannelAudit:
        """Write down that a channel is opened; the caller writes down its end (`ended`)."""
        return ChannelAudit(
            self._note,
            self.opened,
            self.next_channel() if number is None else number,
            asked,
            recording,
            record_input=record_input,
        )

    @contextmanager
    def channel(self, asked: ChannelRequest) -> Iterator[ChannelAudit]:
        """The session's only channel: unless the block writes down its end, it hung up."""
        channel = self.audit_channel(asked)
        try:
            yield channel
        finally:
            channel.ended(None, self.sent, self.received)

    def end_as(self, end: End, detail: str = "") -> None:
        """What the audit says of how the block ended, whatever it raises. The first call counts."""
        if self._ended is None:
            self._ended = (end, detail)

    # What the flow asks for.

    def counts(self) -> Counts:
        return Counts(self.sent, self.received)

    def change_grant(self, grant: Grant) -> None:
        """From any thread: what may be done has changed."""
        with suppress(RuntimeError):  # as below
            self._loop.call_soon_threadsafe(self._granted, grant.permissions)

    def _granted(self, permissions: Permissions) -> None:
        self.permissions = permissions
        self.on_granted()

    def close(self, end: End, detail: str = "") -> None:
        """From any thread: cancel the block, which then raises SessionEndedError."""
        with suppress(RuntimeError):  # the loop is closed, and everything with it
            self._loop.call_soon_threadsafe(self.close_soon, end, detail)

    def close_soon(self, end: End, detail: str = "") -> None:
        """The same in the event loop."""
        if self.ended_by_flow is None:
            self.ended_by_flow = (end, detail)
            self._scope.cancel()

    # What `shell_session` asks for.

    def _outcome(self, error: BaseException | None) -> Ended:
        end, detail = self._ended or self._ended_by(error)
        return Ended(end, self.counts(), detail)

    def _ended_by(self, error: BaseException | None) -> tuple[End, str]:
        match error:
            case None:
                return End.CLOSED, ""
            case SessionEndedError(end=End.DRAINED) | asyncio.CancelledError() if not self._shell:
                return End.UNREACHED, "the gateway stopped"  # before anybody was in
            case SessionEndedError(end=end, detail=detail):
                return end, detail
            case UnreachedError():
                return End.UNREACHED, str(error)
            case asyncio.CancelledError():
                return End.DRAINED, STOPPING
            case TimeoutError():
                return End.UPSTREAM_LOST, f"the shell {self._shell_name} did not answer in time"
            case asyncssh.Error() | OSError():
                return End.UPSTREAM_LOST, hung_up(self._shell_name, error)
        return End.FAULT, FAULT


@asynccontextmanager
async def shell_session(entered: Entered, login: ShellLogin) -> AsyncIterator[ShellSession]:
    """Log in to the shell, for as long as the block lasts.

    Raises UnreachedError if the shell cannot be logged in to, SessionEndedError when the flow has
    ended the session; both also while the login goes on.
    """
    scope = anyio.CancelScope()
    session = ShellSession(entered.opened, login.note, scope)
    with entered.carried_by(session, session._outcome):
        try:
            with scope:
                await _log_in(session, entered, login)
                yield session
            if session.ended_by_flow is not None:
                raise SessionEndedError(*session.ended_by_flow)
        finally:
            if session._shell is not None:
                session._shell.close()


async def _log_in(session: ShellSession, entered: Entered, login: ShellLogin) -> None:
    grant, stream, ready = entered.grant, entered.stream, entered.opened.ready
    assert isinstance(stream, TcpStream), "shells are reached by plain TCP"
    session._shell = await login.upstream.connect(
        stream,
        grant.target,
        grant.identity,
        login.extensions,
        login.client,
        grant.login,
        ready.trace_id,
    )
