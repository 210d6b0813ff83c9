"""One session of a direct login: all channels of a developer's connection share it."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import asyncssh

from stagedoor.listeners.shell_session import ShellSession
from stagedoor.listeners.ssh.seam import Login
from stagedoor.model.permission import Permission, Permissions
from stagedoor.model.session import End
from stagedoor.upstream.connection import hung_up


class RefusedError(Exception):
    """This person does not get in, or not now; one line that says why."""


class SessionChannel(Protocol):
    """A channel of the session, which is told of what happens to it."""

    forwards: bool
    """Whether it is a forwarded port."""

    def say(self, line: str) -> None: ...

    def abort(self) -> None:
        """Close it at once."""
        ...


class DirectSession:
    """Made inside a `shell_session`. It ends when the developer's connection, or the shell's, or the
    flow ends it, whichever comes first."""

    def __init__(self, login: Login, shell_session: ShellSession, granted: Permissions) -> None:
        """`granted` is what the certificate says by which the shell was entered: what is granted later
        holds from the next login on."""
        self.login = login
        self.shell_session = shell_session
        self._granted = granted
        self._before = granted & shell_session.permissions
        shell_session.on_granted = self._on_granted
        self.channels: set[SessionChannel] = set()
        self.downstream_lost = False
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._moved_at = self._loop.time()
        self._idle: asyncio.TimerHandle | None = None

    @property
    def shell(self) -> asyncssh.SSHClientConnection:
        """The SSH connection to the shell."""
        return self.shell_session.shell

    def may(self, permission: Permission) -> bool:
        """Whether this may be done now."""
        return permission in self._granted & self.shell_session.permissions

    def _on_granted(self) -> None:
        """What is not granted any more stops; the terminals go on."""
        now = self._granted & self.shell_session.permissions
        lost, self._before = self._before - now, now
        target = self.shell_session.opened.ready.grant.target
        if Permission.FORWARD in lost:
            forwards = [channel for channel in self.channels if channel.forwards]
            for channel in forwards:
                channel.abort()
            self._say(f"port forwarding into {target} is not granted any more")
        if Permission.AGENT in lost:
            # First the way to it, then what is open: the shell cannot ask for another in between.
            self.shell._agent_forward_path = None
            self.login.stop_agent()
            self._say(f"agent forwarding into {target} is not granted any more")

    def _say(self, line: str) -> None:
        for channel in tuple(self.channels):
            channel.say(f"stagedoor: {line}")

    @property
    def over(self) -> bool:
        return self._over.is_set()

    async def until_over(self) -> None:
        """Returns once the session is over. Cancelled by the flow: the person is told why, and the
        developer's connection ends too."""
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            if self.shell_session.ended_by_flow is not None:
                end, detail = self.shell_session.ended_by_flow
                self.put_out(end, detail)
                self.login.hang_up(detail or f"this session is {end.value}")
            raise
        finally:
            if self._idle is not None:
                self._idle.cancel()

    def moved(self, *, sent: int = 0, received: int = 0) -> None:
        """Bytes of a channel came."""
        self._moved_at = self._loop.time()
        self.shell_session.sent += sent
        self.shell_session.received += received

    def watch_idle(self, timeout_s: float) -> None:
        """Close once no channel has moved a byte for `timeout_s`."""
        left_s = self._moved_at + timeout_s - self._loop.time()
        if left_s <= 0:
            self.shell_session.close_soon(End.IDLE, f"nothing came or went for {timeout_s:g} s")
        elif not self.over:
            self._idle = self._loop.call_later(left_s, self.watch_idle, timeout_s)

    def put_out(self, end: End, detail: str) -> None:
        """Tell the channels, and end; the developer's connection is ended by the caller."""
        if self.over:
            return
        self._say(detail or end.value)
        self.finish(end, detail)

    def finish(self, end: End, detail: str = "") -> None:
        """It is over; the first call counts."""
        self.shell_session.end_as(end, detail)
        self._over.set()

    def shell_lost(self, error: Exception | None) -> None:
        """The shell's connection is gone; the developer's may go on, and enter again."""
        if isinstance(error, ConnectionResetError):
            self.finish(End.UPSTREAM_RESET, "the shell reset the connection")
        else:
            name = self.shell_session.opened.ready.grant.target.shell_name
            self.finish(End.UPSTREAM_LOST, hung_up(name, error))


class ShellWatch(asyncssh.SSHClient):
    """Sees how the shell's connection ends. asyncssh refuses what a shell may ask of us by itself
    (forwarded ports, X11)."""

    def __init__(self) -> None:
        self._told: Callable[[Exception | None], None] | None = None
        self._lost: tuple[Exception | None] | None = None

    def tell(self, told: Callable[[Exception | None], None]) -> None:
        """Call `told` once the connection is lost; at once if it is already."""
        self._told = told
        if self._lost is not None:
            told(*self._lost)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = (exc,)
        if self._told is not None:
            self._told(exc)
