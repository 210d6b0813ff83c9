"""The endpoints of resumable tunnels in shells on Kubernetes, beside each shell's sshd.

The gateway logs in to sshd with a certificate for the user, as for a terminal. There a command of the kit
joins it to the endpoint's private socket, on which it asks for a ticket. Then it dials the endpoint's port
and shows the ticket; frames follow. One login serves all tunnels of a user to a shell at a worker. It stays
for as long as one of them is open, so that a revocation reaches the endpoint.
docs/decisions/0043-resumable-tunnels.md has the reasons.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import asyncssh

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.session import Opened
from stagedoor.model.shell import Shell
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.ports import Stream
from stagedoor.resume.messages import GREETING
from stagedoor.resume.requests import EndpointTunnel, Requests, Watcher
from stagedoor.upstream.login import GatewayLogin, UnreachedError
from stagedoor.wire.oneline import one_line
from stagedoor.wire.tunnel.frames import MAX_END_BYTES, OPEN, encode

COMMAND = "/kit/bin/tunnel control"
UNREACHED_S = 60.0
"""How long no endpoint is looked for in a shell that had none.

Its kit is older, or a NetworkPolicy forbids the port.
"""
LINGER_S = 120.0
"""How long a login stays without a tunnel: ssh, scp and git often follow each other."""
MAX_LINE_BYTES = 4096

Dial = Callable[[Opened], Awaitable[Stream | Denial]]
_Place = tuple[str, int, str]
"""A shell's address and port, and the owner of its tunnels."""


class ShellControl(asyncssh.SSHClientSession[bytes]):
    """The connection to the private socket of a shell's endpoint. `on_end` is called once it is lost.

    The shell is hostile: whatever is no message, or does not end, ends the connection.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self.requests = Requests()
        self._on_end = on_end
        self._received = b""
        self._is_greeted = False
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._closing: asyncio.TimerHandle | None = None
        self.is_lost = False

    # For asyncssh.

    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        """Keep the channel."""
        self._channel = chan

    def session_started(self) -> None:
        """Greet the endpoint."""
        with suppress(OSError):
            self._send(GREETING)
        self._close_if_unused()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Take messages."""
        if datatype is not None:
            return
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
            self.requests.heard(line)
        elif line != GREETING:
            raise ValueError("an endpoint of another version")
        self._is_greeted = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the sessions that have tunnels here."""
        if not self.is_lost:
            self.is_lost = True
            self.requests.report_loss()
            self._on_end()

    # For `ShellEndpoints`, and for the session that has a tunnel here.

    async def ask(self, word: str, what: str, watcher: Watcher) -> tuple[int, bytes] | Denial:
        """Ask for a ticket. Raises OSError, and ValueError for an answer that is none."""
        try:
            return await self.requests.ask(self._send, word, what, watcher)
        except (TimeoutError, ValueError):
            self.close_control()
            raise
        finally:
            self._close_if_unused()

    def end(self, number: int, why: str) -> None:
        """End a session, with the reason for its client."""
        if number in self.requests:
            with suppress(OSError):
                self._send(f"end {number} {why[:MAX_END_BYTES]}")

    def forget(self, number: int) -> None:
        """Hear no more of a connection."""
        self.requests.forget(number)
        self._close_if_unused()

    def close_control(self) -> None:
        """Close the connection, which no other tunnel can use from now on."""
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
            self._closing = asyncio.get_running_loop().call_later(LINGER_S, self._close_unused)

    def _close_unused(self) -> None:
        if not self.requests:  # no tunnel has been asked for meanwhile
            self.close_control()


class ShellEndpoints:
    """The endpoints in shells, as one worker reaches them. Belongs to one event loop.

    `dial_endpoint` connects to the port of a shell's endpoint. A session ends after `away_s` seconds without
    a client, and after `idle_s` seconds without a byte (None: never).
    """

    def __init__(
        self,
        login: GatewayLogin,
        dial_endpoint: Callable[[Shell], Awaitable[Stream | Denial]],
        away_s: float,
        idle_s: float | None,
    ) -> None:
        self._login = login
        self._dial_endpoint = dial_endpoint
        self._limits = f"{away_s:g} {idle_s or 0:g}"
        self._controls: dict[_Place, asyncio.Task[ShellControl | Denial]] = {}
        self._unreached: dict[_Place, float] = {}
        """Until when no endpoint is looked for."""

    async def enter(
        self, opened: Opened, dial: Dial, key: str, attempt: int, owner: str, watcher: Watcher
    ) -> EndpointTunnel | Denial | None:
        """Open a tunnel (`attempt` 0), or return to one. `dial` connects to the shell's sshd.

        The denial says that sshd cannot be reached, or that there is no such session. None: there is no
        endpoint that can be reached.
        """
        shell, now = opened.ready.shell, asyncio.get_running_loop().time()
        place = (shell.host, shell.port, owner)
        if shell.resume_port is None or (not attempt and self._unreached.get(place, 0.0) > now):
            return None
        word, more = ("back", str(attempt)) if attempt else ("open", self._limits)
        try:
            control = await self._control_of(opened, dial, place)
            if isinstance(control, Denial):
                return control
            answer = await control.ask(word, f"{key} {more} {owner}", watcher)
            if isinstance(answer, Denial):
                return answer
            return await self._show_ticket(control, shell, *answer)
        except (OSError, ValueError, UnreachedError, asyncssh.Error) as error:
            self._unreached = {at: end for at, end in self._unreached.items() if end > now}
            self._unreached[place] = now + UNREACHED_S
            if not attempt:
                return None
            return Denial(
                Reason.SHELL_UNAVAILABLE,
                f"the session cannot be resumed now: {one_line(str(error), 200)}",
            )

    async def _show_ticket(
        self, control: ShellControl, shell: Shell, number: int, ticket: bytes
    ) -> EndpointTunnel:
        """Connect to the endpoint's port. Raises OSError."""
        try:
            stream = await self._dial_endpoint(shell)
            if isinstance(stream, Denial):
                raise ConnectionError(stream.message)
            try:
                await aio.write_all(stream, encode(OPEN, 0, ticket))
            except BaseException:
                stream.abort()
                raise
        except BaseException:
            control.end(number, "the gateway does not reach the endpoint's port")
            control.forget(number)
            raise
        return EndpointTunnel(control, number, stream)

    async def _control_of(self, opened: Opened, dial: Dial, place: _Place) -> ShellControl | Denial:
        """Return the connection to the endpoint's private socket, shared by all tunnels of an owner."""
        task = self._controls.get(place)
        if task is None:
            task = asyncio.create_task(self._connect(opened, dial, place))
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._controls[place] = task
        return await asyncio.shield(task)

    async def _connect(self, opened: Opened, dial: Dial, place: _Place) -> ShellControl | Denial:
        """Log in to the shell, and start the command there.

        Raises UnreachedError, asyncssh.Error and OSError.
        """
        is_up = False
        try:
            stream = await dial(opened)
            if isinstance(stream, Denial):
                return stream
            assert isinstance(stream, TcpStream), "shells are reached by plain TCP"
            shell = await self._login.connect(stream, opened.ready, (), asyncssh.SSHClient)
            control = ShellControl(partial(self._ended, place, shell))
            try:
                await shell.create_session(lambda: control, COMMAND, encoding=None)
            except BaseException:
                shell.abort()
                raise
            is_up = True
            return control
        finally:
            if not is_up:
                self._controls.pop(place, None)

    def _ended(self, place: _Place, shell: asyncssh.SSHClientConnection) -> None:
        self._controls.pop(place, None)
        shell.close()
