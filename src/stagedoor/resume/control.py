"""A worker's side of the endpoint, which starts it, requests tickets, and learns how sessions end."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path

from stagedoor.holder.folder import make_address
from stagedoor.model.denial import Denial, Reason
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.ports import Stream
from stagedoor.resume.message_queue import MessageQueue
from stagedoor.resume.messages import (
    DATA,
    GREETING,
    check_greeting,
    connect_control,
    list_retired,
    lock_folder,
    receive,
)
from stagedoor.resume.requests import Orphan, Requests, SessionRequest, StreamTicket, Watcher
from stagedoor.wire.oneline import to_one_line
from stagedoor.wire.tunnel.frames import MAX_END_BYTES, OPEN, encode

FAULTS = "faults"
"""The file in the endpoint's folder that gets its tracebacks."""


class EndpointControl:
    """The connection of one worker to the endpoint in `folder`. Belongs to one event loop.

    A session ends after `away_limit_s` seconds without a client, or after `idle_s` seconds in which it moves
    no bytes (None: never). `suffix` is that of a retired endpoint, which gets no new sessions.
    """

    def __init__(
        self, folder: Path, away_limit_s: float, idle_s: float | None = None, suffix: str = ""
    ) -> None:
        self.away_limit_s = away_limit_s
        self._folder = folder
        self._idle_s = idle_s
        self._suffix = suffix
        self._retired: dict[str, EndpointControl] = {}
        """The connections to the endpoints that have retired, by their suffixes."""
        self._on_orphan: OnOrphan | None = None
        self._messages: MessageQueue | None = None
        self._connecting = asyncio.Lock()
        self._requests = Requests(is_own=True)

    def adopt_orphans(self, on_orphan: "OnOrphan | None") -> None:
        """Call `on_orphan` with the sessions that this worker should adopt. With None, adopt no more.

        This asks the running endpoints for orphans; `connect_endpoints` asks those that start later.
        """
        self._on_orphan = on_orphan
        self._requests.on_orphan = None if on_orphan is None else partial(on_orphan, self)
        self._send(f"adopts {'no' if on_orphan is None else 'yes'}")
        for retired in self._retired.values():
            retired.adopt_orphans(on_orphan)

    async def connect_endpoints(self) -> None:
        """Connect to the running endpoints, including retired ones, to be offered orphans."""
        if self._on_orphan is None:
            return
        for control in (self, *self._find_retired()):
            if control._messages is None:
                with suppress(OSError):
                    await control._connected(starts=False)

    def _find_retired(self) -> Collection["EndpointControl"]:
        """Return the connections to the endpoints that have retired. Forget those that have ended."""
        known, self._retired = self._retired, {}
        for suffix in list_retired(self._folder):
            retired = known.get(suffix)
            if retired is None:
                retired = EndpointControl(self._folder, self.away_limit_s, suffix=suffix)
                retired.adopt_orphans(self._on_orphan)
            self._retired[suffix] = retired
        return self._retired.values()

    async def open(
        self, key: str, session: SessionRequest, sshd: TcpStream, watcher: Watcher
    ) -> StreamTicket | Denial:
        """Open a session over a connection to an sshd, which the endpoint now owns.

        Raises OSError if there is no endpoint; then the caller still owns `sshd`. After a TimeoutError
        the endpoint may read from it too, so the caller only closes it.
        """
        return await self._enter(
            "open", session.make_words(key, self._idle_s), watcher, sshd.fileno()
        )

    async def resume(
        self, key: str, attempt: int, owner: str, watcher: Watcher
    ) -> StreamTicket | Denial:
        """Return a ticket for the session. A denial means that it has ended or has a newer connection.

        No endpoint is started, because a new one has no sessions. Raises OSError.
        """
        ticket: StreamTicket | Denial
        try:
            ticket = await self._enter("back", f"{key} {attempt} {owner}", watcher)
        except (FileNotFoundError, ConnectionRefusedError):  # no endpoint runs
            ticket = Denial(Reason.SESSION_OVER, "the session has ended")
        if isinstance(ticket, StreamTicket) or self._suffix:
            return ticket
        for retired in self._find_retired():
            try:
                earlier = await retired.resume(key, attempt, owner, watcher)
            except OSError:
                continue
            if isinstance(earlier, StreamTicket):
                return earlier
        return ticket

    async def adopt(self, session: str, watcher: Watcher) -> int | None:
        """Adopt an orphan. Return its number, or None if it is no longer an orphan. Raises OSError."""
        number, answer = await self._ask("adopt", session, watcher)
        return number if answer.startswith("adopted") else None

    def end(self, number: int, why: str) -> None:
        """End a session, with the reason for its client."""
        if number in self._requests:
            self._send(f"end {number} {to_one_line(why, MAX_END_BYTES)}")

    def set_limit(self, number: int, away_limit_s: float) -> None:
        """Change how long a session waits for its client."""
        if number in self._requests:
            self._send(f"limit {number} {away_limit_s:g}")

    def make_orphan(self, number: int) -> None:
        """Give up an adopted session without ending it, so that another worker can adopt it."""
        if number in self._requests:
            self._requests.forget(number)
            self._send(f"leave {number}")

    def forget(self, number: int) -> None:
        """Forget a session; its messages are ignored."""
        self._requests.forget(number)

    def _send(self, line: str) -> None:
        """Send a message. If that fails, hang up, so that other workers can adopt the sessions."""
        if self._messages is not None:
            try:
                self._messages.send(line)
            except OSError:
                self._hang_up()

    async def _enter(
        self, word: str, what: str, watcher: Watcher, *fds: int
    ) -> StreamTicket | Denial:
        try:
            number, answer = await self._ask(word, what, watcher, *fds)
        except ConnectionError:  # it may have been about to end; then start another one
            number, answer = await self._ask(word, what, watcher, *fds)
        return self._requests.read_ticket(self, number, answer)

    async def _ask(self, word: str, what: str, watcher: Watcher, *fds: int) -> tuple[int, str]:
        messages = await self._connected(starts=word == "open")

        def send(line: str) -> None:
            if line.startswith(word):
                messages.send(line, fds)
            else:
                self._send(line)

        return await self._requests.ask(send, word, what, watcher)

    async def connect_data(self, ticket: bytes) -> Stream:
        """Return a connection to the session of a ticket, its secret. Raises OSError."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            with make_address(self._folder / f"{DATA}{self._suffix}") as address:
                await loop.sock_connect(sock, address)
            await loop.sock_sendall(sock, encode(OPEN, 0, ticket))
        except BaseException:
            sock.close()
            raise
        return TcpStream(sock)

    async def _connected(self, *, starts: bool) -> MessageQueue:
        async with self._connecting:
            if self._messages is None:
                if starts and not self._suffix:
                    sock = await asyncio.to_thread(_connect_or_start, self._folder)
                else:
                    sock = await asyncio.to_thread(connect_control, self._folder, self._suffix)
                messages = MessageQueue(sock, partial(self._watch_writable, sock.fileno()))
                try:
                    sock.setblocking(False)
                    messages.send(GREETING)
                    if self._on_orphan is not None:
                        messages.send("adopts yes")
                except OSError:
                    sock.close()
                    raise
                self._messages = messages
                asyncio.get_running_loop().add_reader(sock.fileno(), self._readable)
            return self._messages

    def _watch_writable(self, fd: int, is_watched: bool) -> None:
        loop = asyncio.get_running_loop()
        if is_watched:
            loop.add_writer(fd, self._writable)
        else:
            loop.remove_writer(fd)

    def _writable(self) -> None:
        assert self._messages is not None
        try:
            self._messages.flush()
        except OSError:
            self._hang_up()

    def _readable(self) -> None:
        assert self._messages is not None
        try:
            line, _ = receive(self._messages.sock)
        except BlockingIOError:
            return
        except OSError:
            line = ""
        if check_greeting(line):
            return
        if line:
            self._requests.take(line)
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        messages, self._messages = self._messages, None
        if messages is None:
            return
        loop, sock = asyncio.get_running_loop(), messages.sock
        loop.remove_reader(sock.fileno())
        loop.remove_writer(sock.fileno())
        sock.close()
        self._requests.fail_all()


OnOrphan = Callable[[EndpointControl, Orphan], None]
"""Called with a session that a worker should adopt, and the connection to its endpoint."""


def _connect_or_start(folder: Path) -> socket.socket:
    """Return a connection to the endpoint, which is started if it does not run. Blocks. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError, ConnectionRefusedError):
        return connect_control(folder)
    with lock_folder(folder) as runs_already:  # another worker may have just started it
        if not runs_already:
            _start(folder)
        return connect_control(folder)


def _start(folder: Path) -> None:
    """Start the endpoint and wait until it listens. Raises OSError."""
    with (folder / FAULTS).open("wb") as faults:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "stagedoor.resume", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=faults,
            cwd="/",
            start_new_session=True,
        )
    with process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise OSError(f"the endpoint of resumable tunnels did not start; see {folder / FAULTS}")
