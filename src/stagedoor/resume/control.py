"""A worker's side of the endpoint: it starts the endpoint, asks for tickets, and hears how sessions end."""

import asyncio
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stagedoor.model.denial import Denial
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.ports import Stream
from stagedoor.resume.messages import (
    CONTROL,
    DATA,
    GREETING,
    LOCK,
    address,
    open_control_socket,
    receive,
    send,
)
from stagedoor.resume.requests import Requests, Watcher
from stagedoor.wire.tunnel.frames import OPEN, encode

START_TIMEOUT_S = 10.0
FAULTS = "faults"
"""The file in the endpoint's folder that gets its tracebacks."""


class EndpointControl:
    """The connection of one worker to the endpoint in `folder`. Belongs to one event loop.

    A session ends after `away_s` seconds without a client, and after `idle_s` seconds without a byte (None:
    never).
    """

    def __init__(self, folder: Path, away_s: float, idle_s: float | None = None) -> None:
        self._folder = folder
        self._limits = f"{away_s:g} {idle_s or 0:g}"
        self._sock: socket.socket | None = None
        self._connecting = asyncio.Lock()
        self._requests = Requests()

    async def open(
        self, key: str, owner: str, sshd: TcpStream, watcher: Watcher
    ) -> tuple[int, Stream] | Denial:
        """Open a session over a connection to an sshd, which belongs to the endpoint from now on.

        Return the number of the session's connection, and the stream to the endpoint. Raises OSError if there
        is no endpoint; then `sshd` is still the caller's.
        """
        return await self._enter("open", f"{key} {self._limits} {owner}", watcher, sshd.fileno())

    async def resume(
        self, key: str, attempt: int, owner: str, watcher: Watcher
    ) -> tuple[int, Stream] | Denial:
        """Return to a session, as `open`. The denial says that it has ended. Raises OSError."""
        return await self._enter("back", f"{key} {attempt} {owner}", watcher)

    def end(self, number: int, why: str) -> None:
        """End a session, with the reason for its client."""
        if self._sock is not None and number in self._requests:
            with suppress(OSError):
                send(self._sock, f"end {number} {why}")

    def forget(self, number: int) -> None:
        """Hear no more of a connection."""
        self._requests.forget(number)

    async def _enter(
        self, word: str, what: str, watcher: Watcher, *fds: int
    ) -> tuple[int, Stream] | Denial:
        try:
            return await self._request(word, what, watcher, *fds)
        except ConnectionError:  # it may have been about to end: another one is started then
            return await self._request(word, what, watcher, *fds)

    async def _request(
        self, word: str, what: str, watcher: Watcher, *fds: int
    ) -> tuple[int, Stream] | Denial:
        sock = await self._connected()
        result = await self._requests.ask(lambda line: send(sock, line, fds), word, what, watcher)
        if isinstance(result, Denial):
            return result
        number, ticket = result
        try:
            return number, await self._connect_data(ticket)
        except BaseException:
            self.forget(number)
            raise

    async def _connect_data(self, ticket: bytes) -> Stream:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, address(self._folder, DATA))
            await loop.sock_sendall(sock, encode(OPEN, 0, ticket))
        except BaseException:
            sock.close()
            raise
        return TcpStream(sock)

    async def _connected(self) -> socket.socket:
        async with self._connecting:
            if self._sock is None:
                sock = await asyncio.to_thread(_connect_or_start, self._folder)
                try:
                    sock.setblocking(False)
                    send(sock, GREETING)
                except OSError:
                    sock.close()
                    raise
                self._sock = sock
                asyncio.get_running_loop().add_reader(sock.fileno(), self._readable)
            return self._sock

    def _readable(self) -> None:
        assert self._sock is not None
        try:
            line, _ = receive(self._sock)
        except BlockingIOError:
            return
        except OSError:
            line = ""
        if line == GREETING:
            return
        if line:
            self._requests.heard(line)
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        asyncio.get_running_loop().remove_reader(sock.fileno())
        sock.close()
        self._requests.report_loss()


def stop_endpoint(folder: Path) -> None:
    """Stop the endpoint in `folder`, if it runs, with all its sessions. Blocks until it has ended."""
    with suppress(OSError), open_control_socket() as sock:
        sock.settimeout(START_TIMEOUT_S)
        sock.connect(address(folder, CONTROL))
        send(sock, GREETING)
        send(sock, "stop")
        while receive(sock)[0]:
            pass


def _connect_or_start(folder: Path) -> socket.socket:
    """Return a connection to the endpoint, after its start if it does not run. Blocks. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sock = open_control_socket()
    try:
        sock.settimeout(START_TIMEOUT_S)
        with suppress(FileNotFoundError, ConnectionRefusedError):
            sock.connect(address(folder, CONTROL))
            return sock
        with _locked(folder):
            with suppress(FileNotFoundError, ConnectionRefusedError):
                sock.connect(address(folder, CONTROL))  # another worker has just started it
                return sock
            _start(folder)
            sock.connect(address(folder, CONTROL))
            return sock
    except BaseException:
        sock.close()
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


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
