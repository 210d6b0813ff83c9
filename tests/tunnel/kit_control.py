"""A worker's side of the kit's endpoint, without an sshd between them: the interface of `EndpointControl`."""

import asyncio
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from stagedoor.model.denial import Denial
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.ports import Stream
from stagedoor.resume.requests import SessionRequest, StreamTicket, Watcher
from stagedoor.upstream.shell_endpoint import ShellControl
from stagedoor.wire.tunnel.frames import OPEN, encode
from tests.ports import free_port
from tests.waiting import BOUND_S


class KitEndpoint:
    """The endpoint as a process. It is started with the first session, at whose sshd it knocks."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.address = folder / "control.terminal"
        self.faults = folder.with_suffix(".faults")

    def start(self, sshd_port: int) -> None:
        words = [str(self.program), str(self.folder), str(self.port), str(sshd_port)]
        with self.faults.open("wb") as faults:
            self.process = subprocess.Popen(words, stderr=faults)

    def stop(self) -> None:
        """Stop it, and fail if a sanitizer has found something."""
        if self.process is not None:
            assert self.process.poll() is None, self.faults.read_text()
            self.process.terminate()
            self.process.wait(BOUND_S)
            assert self.faults.read_text() == ""

    def pass_time(self, number: signal.Signals) -> None:
        """Put its clock forward: SIGUSR1 by 20 s, SIGUSR2 by two minutes."""
        assert self.process is not None
        self.process.send_signal(number)

    def private_memory(self) -> int:
        """Return its private bytes, those of the sanitizers included."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


class KitControl:
    """What `EndpointControl` is for the endpoint in Python."""

    def __init__(self, endpoint: KitEndpoint) -> None:
        self.endpoint = endpoint
        self._idle_s: float | None = None
        self._control: ShellControl | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._shells: list[socket.socket] = []

    async def open(
        self, key: str, session: SessionRequest, sshd: TcpStream, watcher: Watcher
    ) -> StreamTicket | Denial:
        # It stays open, so that an sshd does not count its end.
        self._shells.append(sshd.detach())
        if self.endpoint.process is None:
            self.endpoint.start(self._shells[-1].getpeername()[1])
        return await self._enter("open", session.make_words(key, self._idle_s), watcher)

    async def resume(
        self, key: str, attempt: int, owner: str, watcher: Watcher
    ) -> StreamTicket | Denial:
        return await self._enter("back", f"{key} {attempt} {owner}", watcher)

    def end(self, number: int, why: str) -> None:
        assert self._control is not None
        self._control.end(number, why)

    def set_limit(self, number: int, away_s: float) -> None:
        assert self._control is not None
        self._control.set_limit(number, away_s)

    async def _enter(self, word: str, what: str, watcher: Watcher) -> StreamTicket | Denial:
        control = await self.connected()
        return await control.ask(word, what, watcher)

    async def connect_data(self, ticket: bytes) -> Stream:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", self.endpoint.port))
        await loop.sock_sendall(sock, encode(OPEN, 0, ticket))
        return TcpStream(sock)

    async def connected(self) -> ShellControl:
        """Return the connection to the private socket."""
        async with asyncio.timeout(BOUND_S):
            while self._control is None or self._control.is_lost:
                await self._connect()
        return self._control

    async def _no_data(self) -> Denial:
        raise NotImplementedError

    async def _connect(self) -> None:
        try:
            reader, writer = await asyncio.open_unix_connection(self.endpoint.address)
        except OSError:  # it starts
            await asyncio.sleep(0.01)
            return
        greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writer, self._control = writer, ShellControl(lambda: None, self._no_data)
        self._reading = asyncio.create_task(self._read(reader, writer, self._control, greeted))
        channel: Any = Channel(writer)
        self._control.connection_made(channel)
        self._control.session_started()
        await greeted

    async def _read(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        control: ShellControl,
        greeted: asyncio.Future[None],
    ) -> None:
        while data := await reader.read(1 << 16):
            control.data_received(data, None)
            if not greeted.done():
                greeted.set_result(None)
        writer.close()
        control.connection_lost(None)
        if not greeted.done():
            greeted.set_result(None)

    async def stop(self) -> None:
        """End the connection, as a gateway that dies does."""
        if self._writer is not None and self._reading is not None:
            self._writer.close()
            await self._reading
        while self._shells:
            self._shells.pop().close()


class Channel:
    """What an SSH channel is for the control."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def abort(self) -> None:
        self.writer.close()
