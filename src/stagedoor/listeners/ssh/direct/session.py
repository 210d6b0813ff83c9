"""The session of a direct login, which all channels of a developer's connection share."""

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
    """Raised when a login is refused. The message is one line for the developer."""


class SessionChannel(Protocol):
    """A channel of the session, for messages to the developer and for closing it."""

    forwards: bool
    """Whether it is a forwarded port."""

    def say(self, line: str) -> None:
        """Show a line to the developer, if the channel can."""
        ...

    def abort(self) -> None:
        """Close it at once."""
        ...


class DirectSession:
    """A session of direct login, inside a `shell_session`.

    It is over when the developer's connection or the shell's is closed, or when the flow ends it.
    """

    def __init__(self, login: Login, shell_session: ShellSession, granted: Permissions) -> None:
        """Begin with the permissions in the certificate for the shell, `granted`.

        Permissions that are granted later apply from the next login on.
        """
        self.login = login
        self.shell_session = shell_session
        self._granted = granted
        self._before = granted & shell_session.permissions
        shell_session.on_permissions = self._revoke_lost
        self.channels: set[SessionChannel] = set()
        self.downstream_lost = False
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._moved_at = self._loop.time()
        self._idle: asyncio.TimerHandle | None = None

    @property
    def shell(self) -> asyncssh.SSHClientConnection:
        """Return the SSH connection to the shell."""
        return self.shell_session.shell

    def may(self, permission: Permission) -> bool:
        """Return whether this is permitted now."""
        return permission in self._granted & self.shell_session.permissions

    def _revoke_lost(self) -> None:
        """Stop the forwards that are not granted any more. The terminals go on."""
        now = self._granted & self.shell_session.permissions
        lost, self._before = self._before - now, now
        target = self.shell_session.opened.ready.grant.target
        if Permission.FORWARD in lost:
            forwards = [channel for channel in self.channels if channel.forwards]
            for channel in forwards:
                channel.abort()
            self._say(f"port forwarding into {target} is not granted any more")
        if Permission.AGENT in lost:
            # The socket first, then the open channels: the shell cannot open another one in between.
            self.shell._agent_forward_path = None
            self.login.stop_agent()
            self._say(f"agent forwarding into {target} is not granted any more")

    def _say(self, line: str) -> None:
        for channel in tuple(self.channels):
            channel.say(f"stagedoor: {line}")

    @property
    def over(self) -> bool:
        """Return whether the session is over."""
        return self._over.is_set()

    async def wait_until_over(self) -> None:
        """Wait until the session is over.

        If the flow cancels this, show the developer the reason and close their connection too.
        """
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            if self.shell_session.ended_by_flow is not None:
                end, detail = self.shell_session.ended_by_flow
                self.notify_and_finish(end, detail)
                self.login.hang_up(detail or f"this session is {end.value}")
            raise
        finally:
            if self._idle is not None:
                self._idle.cancel()

    def moved(self, *, sent: int = 0, received: int = 0) -> None:
        """Count bytes that a channel has moved."""
        self._moved_at = self._loop.time()
        self.shell_session.sent += sent
        self.shell_session.received += received

    def watch_idle(self, timeout_s: float) -> None:
        """Close the session once no channel has moved a byte for `timeout_s`."""
        left_s = self._moved_at + timeout_s - self._loop.time()
        if left_s <= 0:
            self.shell_session.close_soon(End.IDLE, f"nothing came or went for {timeout_s:g} s")
        elif not self.over:
            self._idle = self._loop.call_later(left_s, self.watch_idle, timeout_s)

    def notify_and_finish(self, end: End, detail: str) -> None:
        """Show the reason in all channels, and finish. The caller closes the developer's connection."""
        if self.over:
            return
        self._say(detail or end.value)
        self.finish(end, detail)

    def finish(self, end: End, detail: str = "") -> None:
        """End the session. Only the first call counts."""
        self.shell_session.end_as(end, detail)
        self._over.set()

    def shell_lost(self, error: Exception | None) -> None:
        """End the session, because the shell's connection is lost. The developer's may enter again."""
        if isinstance(error, ConnectionResetError):
            self.finish(End.UPSTREAM_RESET, "the shell reset the connection")
        else:
            name = self.shell_session.opened.ready.grant.target.shell_name
            self.finish(End.UPSTREAM_LOST, hung_up(name, error))


class ShellWatch(asyncssh.SSHClient):
    """An observer of the end of the shell's connection.

    asyncssh itself refuses the shell's requests (forwarded ports, X11).
    """

    def __init__(self) -> None:
        self._on_lost: Callable[[Exception | None], None] | None = None
        self._lost: tuple[Exception | None] | None = None

    def observe(self, on_lost: Callable[[Exception | None], None]) -> None:
        """Call `on_lost` once the connection is lost, or at once if it is lost already."""
        self._on_lost = on_lost
        if self._lost is not None:
            on_lost(*self._lost)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the loss of the connection, now or to a later `observe`."""
        self._lost = (exc,)
        if self._on_lost is not None:
            self._on_lost(exc)
