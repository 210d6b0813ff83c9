"""The endpoints of resumable tunnels in shells on Kubernetes, beside each shell's sshd.

The gateway logs in to sshd with a certificate for the user, as for a terminal, and has sshd forward it to the
endpoint's private socket, where it requests a ticket. Then it dials the endpoint's port and presents the
ticket; frames follow. In each worker, one login serves all tunnels of a user to a shell. It stays open as
long as one of them, so that a revocation reaches the endpoint. docs/decisions/0043-resumable-tunnels.md has
the reasons.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import asyncssh

from stagedoor.model.certificate import PORT_FORWARDING
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.session import OpenedSession, ReadyShell
from stagedoor.model.shell import Shell
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.ports import Stream
from stagedoor.resume.messages import GREETING, check_greeting
from stagedoor.resume.requests import Requests, SessionRequest, StreamTicket, Watcher
from stagedoor.upstream.login import GatewayLogin, ShellLoginError
from stagedoor.wire.oneline import to_one_line
from stagedoor.wire.tunnel.frames import MAX_END_BYTES, OPEN, encode

SOCKET = "/run/stagedoor/tunnels/control.terminal"
UNREACHED_S = 60.0
"""How long a shell without an endpoint is not tried again. Its kit is older, or a NetworkPolicy forbids the
port."""
KEEP_UNUSED_S = 120.0
"""How long a login stays open without a tunnel, since ssh, scp and git often follow each other."""
ALIVE_S = 30.0
"""The interval of the messages that show that the gateway is alive."""
MAX_LINE_BYTES = 4096

DialShell = Callable[[ReadyShell], Awaitable[Stream | Denial]]


class _DialEndpoint(Protocol):
    """Connects to the port of a shell's endpoint, or returns why not."""

    def __call__(self, shell: Shell, *, is_required: bool) -> Awaitable[Stream | Denial]:
        """Connect. `is_required` means that the tunnel cannot do without the endpoint."""
        ...


_Place = tuple[str, int, str]
"""A shell's address and port, and the owner of its tunnels."""


class ShellControl(asyncssh.SSHUNIXSession[bytes]):
    """The connection to the private socket of a shell's endpoint. `on_end` is called once it is lost.

    `dial_data` connects to the endpoint's port. The shell may be hostile: an invalid or endless line closes
    the connection.
    """

    def __init__(
        self, on_end: Callable[[], None], dial_data: Callable[..., Awaitable[Stream | Denial]]
    ) -> None:
        self.requests = Requests()
        self._on_end = on_end
        self._dial_data = dial_data
        self._received = b""
        self._is_greeted = False
        self._channel: asyncssh.SSHUNIXChannel[bytes] | None = None
        self._closing: asyncio.TimerHandle | None = None
        self.is_lost = False

    # For asyncssh.

    def connection_made(self, chan: "asyncssh.SSHUNIXChannel[bytes]") -> None:
        """Keep the channel."""
        self._channel = chan

    def session_started(self) -> None:
        """Greet the endpoint."""
        self._say_alive(GREETING)
        self._close_if_unused()

    def _say_alive(self, line: str = "alive") -> None:
        with suppress(OSError):
            self._send(line)
            asyncio.get_running_loop().call_later(ALIVE_S, self._say_alive)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Take messages."""
        *lines, self._received = (self._received + data).split(b"\n")
        try:
            for line in lines:
                self._take(line.decode(errors="replace"))
            if len(self._received) > MAX_LINE_BYTES:
                raise ValueError("a line without an end")
        except ValueError:
            self.close_control()
        self._close_if_unused()

    def _take(self, line: str) -> None:
        if self._is_greeted:
            self.requests.take(line)
        elif not check_greeting(line):
            raise ValueError("no endpoint, or one of an earlier version")
        self._is_greeted = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the sessions that have tunnels here."""
        if not self.is_lost:
            self.is_lost = True
            self.requests.fail_all()
            self._on_end()

    # For `ShellEndpoints`, and for the session that has a tunnel here.

    async def ask(self, word: str, what: str, watcher: Watcher) -> StreamTicket | Denial:
        """Request a ticket. Raises OSError, and ValueError for an invalid answer."""
        try:
            number, answer = await self.requests.ask(self._send, word, what, watcher)
            return self.requests.read_ticket(self, number, answer)
        except (TimeoutError, ValueError):
            self.close_control()
            raise
        finally:
            self._close_if_unused()

    async def connect_data(self, ticket: bytes, *, is_required: bool = True) -> Stream:
        """Return a connection to the session of a ticket. Raises OSError."""
        stream = await self._dial_data(is_required=is_required)
        if isinstance(stream, Denial):
            raise ConnectionError(stream.message)
        try:
            await aio.write_all(stream, encode(OPEN, 0, ticket))
        except BaseException:
            stream.abort()
            raise
        return stream

    def set_limit(self, number: int, away_limit_s: float) -> None:
        """Change how long a session waits for its client."""
        if number in self.requests:
            with suppress(OSError):
                self._send(f"limit {number} {away_limit_s:g}")

    def end(self, number: int, why: str) -> None:
        """End a session, with the reason for its client."""
        if number in self.requests:
            with suppress(OSError):
                self._send(f"end {number} {why[:MAX_END_BYTES]}")

    def forget(self, number: int) -> None:
        """Forget a session; its messages are ignored."""
        self.requests.forget(number)
        self._close_if_unused()

    def close_control(self) -> None:
        """Close the connection, so that no further tunnel uses it."""
        self.connection_lost(None)
        if self._channel is not None:
            self._channel.abort()

    def _send(self, line: str) -> None:
        if self.is_lost or self._channel is None:
            raise ConnectionResetError("the endpoint has hung up")
        self._channel.write(f"{' '.join(line.splitlines())}\n".encode())

    def _close_if_unused(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
        self._closing = None
        if not self.requests and not self.is_lost:
            self._closing = asyncio.get_running_loop().call_later(KEEP_UNUSED_S, self._close_unused)

    def _close_unused(self) -> None:
        if not self.requests:  # no tunnel was requested meanwhile
            self.close_control()


class ShellEndpoints:
    """The endpoints in shells, as one worker reaches them. Belongs to one event loop.

    `dial` connects to a shell's sshd, and `dial_endpoint` to the port of its endpoint. A session that moves
    no bytes for `idle_s` seconds ends (None: never).
    """

    def __init__(
        self,
        login: GatewayLogin,
        dial: DialShell,
        dial_endpoint: _DialEndpoint,
        idle_s: float | None,
    ) -> None:
        self._login = login
        self._dial = dial
        self._dial_endpoint = dial_endpoint
        self._idle_s = idle_s
        self._controls: dict[_Place, asyncio.Task[ShellControl | Denial]] = {}
        self._unreached: dict[_Place, float] = {}
        """When to try each place again."""

    async def open(
        self, opened: OpenedSession, key: str, session: SessionRequest, watcher: Watcher
    ) -> StreamTicket | Denial | None:
        """Open a session, with the connection to it.

        A denial means that sshd cannot be reached or that the endpoint refuses; None, that no endpoint can be
        reached.
        """
        shell, now = opened.ready.shell, asyncio.get_running_loop().time()
        place = (shell.host, shell.port, session.owner)
        if shell.resume_port is None or self._unreached.get(place, 0.0) > now:
            return None
        try:
            words = session.make_words(key, self._idle_s)
            ticket = await self._ask(opened.ready, place, "open", words, watcher)
            return await _connect_ticket(ticket) if isinstance(ticket, StreamTicket) else ticket
        except (OSError, ValueError, ShellLoginError, asyncssh.Error):
            self._unreached = {at: end for at, end in self._unreached.items() if end > now}
            self._unreached[place] = now + UNREACHED_S
            return None

    async def resume(
        self, ready: ReadyShell, key: str, attempt: int, owner: str, watcher: Watcher
    ) -> StreamTicket | Denial | None:
        """Return a ticket for a session that its client resumes, without connecting to it.

        A denial means that sshd or the endpoint cannot be reached, or that the endpoint refuses; None, that
        the shell has no endpoint.
        """
        shell = ready.shell
        if shell.resume_port is None:
            return None
        place = (shell.host, shell.port, owner)
        try:
            return await self._ask(ready, place, "back", f"{key} {attempt} {owner}", watcher)
        except (OSError, ValueError, ShellLoginError, asyncssh.Error) as error:
            return Denial(
                Reason.SHELL_UNAVAILABLE,
                f"the session cannot be resumed now: {to_one_line(str(error), 200)}",
            )

    async def _ask(
        self, ready: ReadyShell, place: _Place, word: str, what: str, watcher: Watcher
    ) -> StreamTicket | Denial:
        control = await self._control_of(ready, place)
        return control if isinstance(control, Denial) else await control.ask(word, what, watcher)

    async def _control_of(self, ready: ReadyShell, place: _Place) -> ShellControl | Denial:
        """Return the connection to the endpoint's private socket, shared by all tunnels of an owner."""
        task = self._controls.get(place)
        if task is None:
            task = asyncio.create_task(self._open_control(ready, place))
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._controls[place] = task
        return await asyncio.shield(task)

    async def _open_control(self, ready: ReadyShell, place: _Place) -> ShellControl | Denial:
        """Log in to the shell, and connect to the socket there.

        Raises ShellLoginError, asyncssh.Error and OSError.
        """
        is_up, task = False, asyncio.current_task()
        try:
            stream = await self._dial(ready)
            if isinstance(stream, Denial):
                return stream
            assert isinstance(stream, TcpStream), "shells are reached by plain TCP"
            shell = await self._login.connect(stream, ready, (PORT_FORWARDING,), asyncssh.SSHClient)
            dial_data = partial(self._dial_endpoint, ready.shell)
            control = ShellControl(partial(self._forget_control, place, task, shell), dial_data)
            try:
                await shell.create_unix_connection(lambda: control, SOCKET)
            except BaseException:
                shell.abort()
                raise
            is_up = True
            return control
        finally:
            if not is_up:
                self._forget_login(place, task)

    def _forget_control(
        self, place: _Place, task: asyncio.Task[Any] | None, shell: asyncssh.SSHClientConnection
    ) -> None:
        self._forget_login(place, task)
        shell.close()

    def _forget_login(self, place: _Place, task: asyncio.Task[Any] | None) -> None:
        """Forget a login that has failed or ended, unless another one has already taken its place."""
        if self._controls.get(place) is task:
            del self._controls[place]


async def _connect_ticket(ticket: StreamTicket) -> StreamTicket:
    """Return the ticket of a new session with its connection. Raises OSError."""
    try:
        assert isinstance(ticket.control, ShellControl), "the ticket came from it"
        stream = await ticket.control.connect_data(ticket.secret, is_required=False)
        return replace(ticket, stream=stream)
    except BaseException:
        ticket.control.end(ticket.number, "the gateway does not reach the endpoint's port")
        ticket.control.forget(ticket.number)
        raise
