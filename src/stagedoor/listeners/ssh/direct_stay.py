"""One session of a direct login: let in by the flow, it holds the connection to the shell."""

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import asyncssh

from stagedoor.listeners.ssh.direct_rights import Rights, RightsOf, certificate_extensions
from stagedoor.listeners.ssh.seam import Login
from stagedoor.model.denial import Denial
from stagedoor.model.session import Counts, End, Ended, Opened, Way
from stagedoor.model.shell import StartStep
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.ports import Stream
from stagedoor.session.ports import Link, OnEnd
from stagedoor.upstream.connection import hung_up
from stagedoor.upstream.login import UnreachedError, Upstream


class RefusedError(Exception):
    """This person does not get in, or not now; one line that says why."""


class Told(Protocol):
    """Whoever is told something while a session lasts: its channels."""

    def say(self, line: str) -> None: ...


class Stay:
    """Satisfies `session.ports.Link`. Made by `StayDoor` only, once the shell let us in.

    It ends when the developer's connection, or the shell's, or the flow ends it, whichever comes
    first; `on_end` is called then, once, in the event loop.
    """

    def __init__(self, login: Login, opened: Opened, rights: Rights, on_end: OnEnd) -> None:
        self.opened = opened
        self.rights = rights
        self.login = login
        self.channels: set[Told] = set()
        self.downstream_lost = False
        self.over = False
        self._loop = asyncio.get_running_loop()
        self._on_end = on_end
        self._sent = 0
        self._received = 0
        self._numbers = itertools.count(1)
        self._moved_at = self._loop.time()
        self._idle: asyncio.TimerHandle | None = None
        self._shell: asyncssh.SSHClientConnection | None = None
        self._lost = False

    @property
    def shell(self) -> asyncssh.SSHClientConnection:
        """The SSH connection to the shell."""
        assert self._shell is not None, "a stay is handed out with its shell"
        return self._shell

    def reached(self, shell: asyncssh.SSHClientConnection) -> None:
        self._shell = shell
        if self._lost:
            self.shell_lost(None)

    def moved(self, *, sent: int = 0, received: int = 0) -> None:
        """Bytes of a channel came."""
        self._moved_at = self._loop.time()
        self._sent += sent
        self._received += received

    def next_channel(self) -> int:
        """The number of the next channel in this session, from 1."""
        return next(self._numbers)

    def watch_idle(self, timeout_s: float) -> None:
        """Close once no channel has moved a byte for `timeout_s`."""
        left_s = self._moved_at + timeout_s - self._loop.time()
        if left_s <= 0:
            self._close(End.IDLE, f"nothing came or went for {timeout_s:g} s")
        elif not self.over:
            self._idle = self._loop.call_later(left_s, self.watch_idle, timeout_s)

    def counts(self) -> Counts:
        return Counts(self._sent, self._received)

    def close(self, end: End, detail: str = "") -> None:
        """From any thread. The person is told `detail`, and the developer's connection ends too."""
        with suppress(RuntimeError):  # the loop is closed, and everything with it
            self._loop.call_soon_threadsafe(self._close, end, detail)

    def put_out(self, end: End, detail: str) -> None:
        """In the event loop: as `close`, but the developer's connection is ended by the caller."""
        if self.over:
            return
        for channel in tuple(self.channels):
            channel.say(f"stagedoor: {detail or end.value}")
        self.finish(end, detail)

    def _close(self, end: End, detail: str) -> None:
        if self.over:
            return
        self.put_out(end, detail)
        self.login.disconnect(detail or f"this session is {end.value}")

    def finish(self, end: End, detail: str = "") -> None:
        """It is over, whoever found out. May be called again."""
        if self.over:
            return
        self.over = True
        if self._idle is not None:
            self._idle.cancel()
        if self._shell is not None:
            self._shell.close()
        self._on_end(Ended(end, self.counts(), detail))

    def shell_lost(self, error: Exception | None) -> None:
        """The shell's connection is gone; the developer's may go on, and enter again."""
        self._lost = True
        if self._shell is None:
            return  # still logging in: `Upstream.connect` says what went wrong
        if isinstance(error, ConnectionResetError):
            self.finish(End.UPSTREAM_RESET, "the shell reset the connection")
        else:
            name = self.opened.ready.grant.target.shell_name
            self.finish(End.UPSTREAM_LOST, hung_up(name, error))


class _ShellWatch(asyncssh.SSHClient):
    """Sees how the shell's connection ends. asyncssh refuses what a shell may ask of us by itself
    (forwarded ports, X11)."""

    def __init__(self, stay: Stay) -> None:
        self._stay = stay

    def connection_lost(self, exc: Exception | None) -> None:
        self._stay.shell_lost(exc)


class StayDoor:
    """Satisfies `session.ports.Door` for a direct login."""

    way = Way.DIRECT

    def __init__(
        self,
        login: Login,
        upstream: Upstream,
        rights_of: RightsOf,
        is_gone: Callable[[], bool],
        on_progress: Callable[[StartStep], None],
    ) -> None:
        self.source = login.source
        self.stay: Stay | None = None
        self.refusal = "the gateway let nobody in, and did not say why; its log has more"
        self._login = login
        self._upstream = upstream
        self._rights_of = rights_of
        self._is_gone = is_gone
        self._on_progress = on_progress

    async def refuse(self, denial: Denial) -> None:
        self.refusal = denial.message

    def progress(self, step: StartStep) -> None:
        self._on_progress(step)

    async def open(self, opened: Opened, upstream: Stream, on_end: OnEnd) -> Link:
        if self._is_gone():
            raise ConnectionResetError("the developer's side hung up")
        grant = opened.ready.grant
        rights = self._rights_of(grant)
        stay = Stay(self._login, opened, rights, on_end)
        assert isinstance(upstream, TcpStream), "shells are reached by plain TCP"
        try:
            shell = await self._upstream.connect(
                upstream,
                grant.target,
                grant.identity,
                certificate_extensions(rights, self._login.permits),
                lambda: _ShellWatch(stay),
            )
        except UnreachedError as error:
            self.refusal = str(error)
            stay.finish(End.UNREACHED, str(error))
            return stay
        if self._is_gone():
            # asyncssh closes it in a moment; the flow writes down that nobody was let in.
            stay.over = True
            shell.abort()
            raise ConnectionResetError("the developer's side hung up")
        stay.reached(shell)
        self.stay = stay
        return stay
