"""The endpoint as a process: who gets a ticket, who may return, and what ends a session."""

import asyncio
import fcntl
import os
import signal
import socket
import stat
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from stagedoor.holder.folder import make_address
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.session import Counts, ResumedSession
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.ports import Stream
from stagedoor.resume.control import EndpointControl
from stagedoor.resume.messages import DATA, stop_endpoint
from stagedoor.resume.requests import Orphan, SessionRequest, StreamTicket
from stagedoor.wire.tunnel.frames import END, HELLO, OPEN, encode
from stagedoor.wire.tunnel.stream import TunnelStream

KEY = "0123456789abcdef" * 2
PATIENCE_S = 20.0
LAST_OUTPUT = bytes(range(256)) * 6000
LINKS: list[Stream] = []
"""The connections of a test's clients, which are closed at its end."""


class Watched:
    """A watcher that remembers what it heard."""

    def __init__(self) -> None:
        self.news: asyncio.Queue[object] = asyncio.Queue()

    def note_move(self) -> None:
        self.news.put_nowait("moved")

    def note_end(self, code: int, why: str, counts: Counts | None) -> None:
        self.counts = counts
        self.news.put_nowait((code, why))


class Client:
    """A client's end: a stream, and its connection by way of a worker."""

    def __init__(self) -> None:
        self.stream = TunnelStream(watches=True)
        self.now = 0.0

    def connect(self, link: Stream) -> None:
        self.link = link
        LINKS.append(link)
        self.stream.connect(self.now)

    async def flush(self) -> None:
        while output := self.stream.peek_output(self.now):
            await aio.write_all(self.link, bytes(output))
            self.stream.note_sent(len(output))

    async def turn(self) -> bool:
        """Write all output, and receive once. Return False at the end of the connection."""
        await self.flush()
        data = await aio.read(self.link, 1 << 16)
        self.stream.receive(data, self.now)
        return bool(data)

    async def says(self, data: bytes, wanted: bytes) -> None:
        """Send to the sshd, and wait for what it answers."""
        self.stream.take(data)
        await self.hears(wanted)

    async def hears(self, wanted: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while wanted:
                if part := bytes(self.stream.deliverable[: len(wanted)]):
                    assert wanted.startswith(part)
                    self.stream.note_delivered(len(part), self.now)
                    wanted = wanted[len(part) :]
                else:
                    assert await self.turn(), "the endpoint hung up"

    def cut(self) -> None:
        self.link.abort()
        self.stream.cut()


@asynccontextmanager
async def sshd() -> AsyncIterator[tuple[Callable[[], Awaitable[TcpStream]], asyncio.Queue[str]]]:
    """Yield a function that connects to an echo server, and what happens to its connections."""
    events: asyncio.Queue[str] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if data == b"write and hang up":
                writer.transport.set_write_buffer_limits(0)
                writer.write(LAST_OUTPUT)
                await writer.drain()
                sock = writer.get_extra_info("socket")
                while int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder):
                    await asyncio.sleep(0)
                break
            writer.write(data.upper())
        events.put_nowait("hung up")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()

    async def connect() -> TcpStream:
        sock = socket.create_connection(address)
        sock.setblocking(False)
        return TcpStream(sock)

    try:
        yield connect, events
    finally:
        server.close()  # since Python 3.12 `async with` would wait for the sessions that the endpoint keeps


FOLDER = "resume" + 20 * "-long"
"""Longer than the address of a Unix socket may be (unix(7))."""


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[EndpointControl]:
    control = EndpointControl(tmp_path / FOLDER, 60.0)
    yield control
    control._hang_up()
    while LINKS:
        LINKS.pop().abort()
    await asyncio.to_thread(stop_endpoint, tmp_path / FOLDER)
    assert (tmp_path / FOLDER / "faults").read_text() == ""


async def opened(
    control: EndpointControl, shell: TcpStream, watcher: Watched | None = None
) -> Client:
    """Open a session of alice's."""
    ticket = await open_session(control, shell, watcher or Watched())
    assert ticket.earlier in (ResumedSession("s1"), ResumedSession("s1", None))
    client = Client()
    client.connect(await control.connect_data(ticket.secret))
    return client


async def open_session(
    control: EndpointControl, shell: TcpStream, watcher: Watched, away_s: float = 60.0
) -> StreamTicket:
    kept = SessionRequest("s1", "alice app01.ssh", "note", away_s)
    ticket = await control.open(KEY, kept, shell, watcher)
    assert isinstance(ticket, StreamTicket)
    shell.close()
    return ticket


@asynccontextmanager
async def entered(
    control: EndpointControl, watcher: Watched | None = None
) -> AsyncIterator[Client]:
    """Yield the client of a session of alice's at an echo server."""
    async with sshd() as (connect, _):
        yield await opened(control, await connect(), watcher)


@asynccontextmanager
async def talking(
    control: EndpointControl, watcher: Watched | None = None
) -> AsyncIterator[Client]:
    """Yield the client of a session in which something was said."""
    async with entered(control, watcher) as client:
        await client.says(b"x", b"X")
        yield client


async def returned(control: EndpointControl, client: Client, attempt: int) -> None:
    ticket = await control.resume(KEY, attempt, "alice app01.ssh", Watched())
    assert isinstance(ticket, StreamTicket), ticket
    assert ticket.earlier.id == "s1"
    client.connect(await control.connect_data(ticket.secret))


async def test_a_session_goes_on_over_another_connection(control: EndpointControl) -> None:
    first = Watched()
    async with entered(control, first) as client:
        await client.says(b"before", b"BEFORE")
        client.cut()
        client.stream.take(b"while away")
        await returned(control, client, 1)
        await client.hears(b"WHILE AWAY")
        assert await first.news.get() == "moved"


async def test_bytes_on_their_way_survive_the_cut(control: EndpointControl) -> None:
    async with talking(control) as client:
        client.stream.take(b"y" * 300_000)
        output = client.stream.peek_output(0.0)
        half = bytes(output[: len(output) // 2])
        await aio.write_all(client.link, half)
        client.cut()
        await returned(control, client, 1)
        await client.hears(b"Y" * 300_000)


async def test_each_direction_ends_by_itself_and_then_the_session(control: EndpointControl) -> None:
    watcher = Watched()
    async with sshd() as (connect, events):
        client = await opened(control, await connect(), watcher)
        await client.says(b"last", b"LAST")
        client.stream.take_end()
        async with asyncio.timeout(PATIENCE_S):
            while not client.stream.end_is_deliverable:
                assert await client.turn()
            client.stream.note_delivered_end(0.0)
            while client.stream.ended is None:
                assert await client.turn()
            assert client.stream.ended == (0, "")
            assert await watcher.news.get() == (0, "")
            assert await events.get() == "hung up"


async def test_a_shell_s_last_output_arrives_though_it_reads_no_more(
    control: EndpointControl,
) -> None:
    async with sshd() as (connect, events):
        client = await opened(control, await connect())
        await client.says(b"x", b"X")
        client.stream.take(b"write and hang up")
        await client.flush()
        async with asyncio.timeout(PATIENCE_S):
            assert await events.get() == "hung up"
            for _ in range(5):  # the second one is answered by RST (tcp(7))
                client.stream.take(b"not read any more")
                await client.flush()
                await asyncio.sleep(0.01)  # apart, or they might be one write
        await client.hears(LAST_OUTPUT)
        async with asyncio.timeout(PATIENCE_S):
            while client.stream.ended is None:
                if client.stream.end_is_deliverable:
                    client.stream.note_delivered_end(0.0)
                assert await client.turn()


@pytest.mark.continuity(8)
async def test_the_gateway_ends_a_session_and_the_client_reads_why(
    control: EndpointControl,
) -> None:
    watcher = Watched()
    async with sshd() as (connect, events):
        ticket = await open_session(control, await connect(), watcher)
        client = Client()
        client.connect(await control.connect_data(ticket.secret))
        await client.says(b"x", b"X")
        control.end(ticket.number, "your grant was removed")
        async with asyncio.timeout(PATIENCE_S):
            while client.stream.ended is None:
                assert await client.turn()
            assert client.stream.ended == (2, "your grant was removed")
            assert await watcher.news.get() == (2, "your grant was removed")
            assert await events.get() == "hung up"


@pytest.mark.continuity(8)
async def test_the_gateway_ends_a_session_whose_client_is_away(control: EndpointControl) -> None:
    watcher = Watched()
    async with sshd() as (connect, events):
        ticket = await open_session(control, await connect(), watcher)
        (await control.connect_data(ticket.secret)).abort()
        control.end(ticket.number, "closed by an administrator")
        async with asyncio.timeout(PATIENCE_S):
            assert await watcher.news.get() == (2, "closed by an administrator")
            assert await events.get() == "hung up"
        gone = await control.resume(KEY, 1, "alice app01.ssh", Watched())
        assert isinstance(gone, Denial)
        assert gone.reason is Reason.SESSION_OVER


@pytest.mark.continuity(9)
@pytest.mark.parametrize(
    ("key", "owner"),
    [(KEY, "bob app01.ssh"), (KEY, "alice app02.ssh"), ("f" * 32, "alice app01.ssh")],
)
async def test_a_stranger_gets_no_ticket_and_learns_nothing(
    control: EndpointControl, key: str, owner: str
) -> None:
    async with entered(control) as client:
        denial = await control.resume(key, 1, owner, Watched())
        assert denial == Denial(Reason.SESSION_OVER, "the session has ended")
        await client.says(b"still here", b"STILL HERE")


@pytest.mark.continuity(9)
async def test_no_other_account_reaches_the_sockets(
    control: EndpointControl, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        async with talking(control):
            assert stat.S_IMODE((tmp_path / FOLDER).stat().st_mode) == 0o700
    finally:
        os.umask(before)


async def test_an_older_connection_cannot_displace_a_newer_one(control: EndpointControl) -> None:
    async with entered(control) as client:
        client.cut()
        await returned(control, client, 2)
        await client.says(b"new", b"NEW")
        for attempt in (1, 2):
            denial = await control.resume(KEY, attempt, "alice app01.ssh", Watched())
            assert isinstance(denial, Denial)
        await client.says(b"stays", b"STAYS")


async def test_a_key_opens_one_session(control: EndpointControl) -> None:
    async with sshd() as (connect, _):
        client = await opened(control, await connect())
        second = await connect()
        kept = SessionRequest("s2", "bob app01.ssh", "note", 60.0)
        assert isinstance(await control.open(KEY, kept, second, Watched()), Denial)
        second.close()
        await client.says(b"one", b"ONE")


@pytest.mark.continuity(9)
@pytest.mark.parametrize(
    "first",
    [encode(OPEN, 0, bytes(32)), encode(HELLO, 0, b"\x01"), b"\xff" * 45, b"SSH-2.0-x\r\n" * 9],
)
async def test_a_connection_without_a_ticket_is_cut(
    control: EndpointControl, tmp_path: Path, first: bytes
) -> None:
    async with entered(control) as client:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.setblocking(False)
            with make_address(tmp_path / FOLDER / DATA) as address:
                await loop.sock_connect(stranger, address)
            await loop.sock_sendall(stranger, first.ljust(45, b"\0"))
            async with asyncio.timeout(PATIENCE_S):
                with suppress(ConnectionResetError):  # it had not read all
                    assert await loop.sock_recv(stranger, 10) == b""
        await client.says(b"x", b"X")


@pytest.mark.continuity(9)
async def test_a_ticket_is_good_for_one_connection(
    control: EndpointControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[bytes] = []
    connect_data = control.connect_data

    def remember(ticket: bytes) -> Awaitable[Stream]:
        shown.append(ticket)
        return connect_data(ticket)

    monkeypatch.setattr(control, "connect_data", remember)
    async with talking(control) as client:
        replayed = await connect_data(shown[0])
        async with asyncio.timeout(PATIENCE_S):
            assert await aio.read(replayed, 10) == b""
        replayed.close()
        await client.says(b"y", b"Y")


async def test_a_fault_ends_the_connection_and_not_the_session(control: EndpointControl) -> None:
    async with talking(control) as client:
        await aio.write_all(client.link, b"\xff" * 13)
        async with asyncio.timeout(PATIENCE_S):
            while await aio.read(client.link, 1000):
                pass
        client.cut()
        await returned(control, client, 1)
        await client.says(b"y", b"Y")


async def test_a_client_that_leaves_ends_the_session(control: EndpointControl) -> None:
    watcher = Watched()
    async with sshd() as (connect, events):
        client = await opened(control, await connect(), watcher)
        await client.says(b"x", b"X")
        await aio.write_all(client.link, encode(END, 0))
        async with asyncio.timeout(PATIENCE_S):
            assert await watcher.news.get() == (0, "")
            assert await events.get() == "hung up"


async def test_a_session_that_moves_no_byte_ends(control: EndpointControl) -> None:
    control._idle_s = 1
    watcher = Watched()
    async with sshd() as (connect, events):
        client = await opened(control, await connect(), watcher)
        await client.says(b"x", b"X")
        async with asyncio.timeout(PATIENCE_S):
            assert await watcher.news.get() == (4, "no byte moved for 1 s")
            assert await events.get() == "hung up"


async def test_a_client_that_stays_away_loses_the_session(control: EndpointControl) -> None:
    watcher = Watched()
    async with sshd() as (connect, events):
        ticket = await open_session(control, await connect(), watcher, away_s=1)
        client = Client()
        client.connect(await control.connect_data(ticket.secret))
        await client.says(b"x", b"X")
        client.cut()
        async with asyncio.timeout(PATIENCE_S):
            assert await watcher.news.get() == (3, "no client came back within 1 s")
            assert await events.get() == "hung up"


async def test_a_worker_that_dies_leaves_its_sessions_to_another(
    control: EndpointControl, tmp_path: Path
) -> None:
    async with talking(control) as client:
        control._hang_up()
        other = EndpointControl(tmp_path / FOLDER, 60.0)
        await returned(other, client, 1)
        await client.says(b"y", b"Y")
        other._hang_up()


@pytest.mark.continuity(8)
async def test_a_session_of_a_dead_worker_is_adopted_and_can_be_ended(
    control: EndpointControl, tmp_path: Path
) -> None:
    offers: asyncio.Queue[Orphan] = asyncio.Queue()
    watcher = Watched()
    async with sshd() as (connect, events):
        client = await opened(control, await connect())
        await client.says(b"12345", b"12345")
        client.cut()
        others = [EndpointControl(tmp_path / FOLDER, 60.0) for _ in range(2)]
        for other in others:
            other.adopt_orphans(lambda _, orphan: offers.put_nowait(orphan))
            await other.connect_endpoints()
        control._hang_up()
        async with asyncio.timeout(PATIENCE_S):
            orphan = await offers.get()
        assert (orphan.note, orphan.owner) == ("note", "alice app01.ssh")
        assert orphan.earlier.counts == Counts(5, 5)
        assert orphan.earlier.is_adopted
        assert await others[0].adopt("s2", Watched()) is None
        number = await others[0].adopt("s1", watcher)
        assert number is not None
        assert await others[1].adopt("s1", Watched()) is None, "it is no orphan any more"
        others[0].end(number, "your grant was removed")
        async with asyncio.timeout(PATIENCE_S):
            assert await watcher.news.get() == (2, "your grant was removed")
            assert await events.get() == "hung up"
        assert watcher.counts == Counts(5, 5)
        for other in others:
            other._hang_up()


async def test_a_session_that_no_worker_can_judge_is_offered_again(
    control: EndpointControl, tmp_path: Path
) -> None:
    offers: asyncio.Queue[Orphan] = asyncio.Queue()
    async with talking(control) as client:
        client.cut()
        other = EndpointControl(tmp_path / FOLDER, 60.0)
        other.adopt_orphans(lambda _, orphan: offers.put_nowait(orphan))
        await other.connect_endpoints()
        control._hang_up()
        async with asyncio.timeout(PATIENCE_S):
            await offers.get()
            number = await other.adopt("s1", Watched())
            assert number is not None
            other.make_orphan(number)
            await offers.get()
        await returned(other, client, 1)
        await client.says(b"y", b"Y")
        other._hang_up()


async def test_an_adopted_session_goes_on_with_its_client(
    control: EndpointControl, tmp_path: Path
) -> None:
    offers: asyncio.Queue[Orphan] = asyncio.Queue()
    adopter, watcher = EndpointControl(tmp_path / FOLDER, 60.0), Watched()
    async with entered(control) as client:
        client.cut()
        adopter.adopt_orphans(lambda _, orphan: offers.put_nowait(orphan))
        await adopter.connect_endpoints()
        control._hang_up()
        async with asyncio.timeout(PATIENCE_S):
            await offers.get()
            assert await adopter.adopt("s1", watcher) is not None
            await returned(adopter, client, 1)
            assert await watcher.news.get() == "moved"
        await client.says(b"y", b"Y")
        adopter._hang_up()


async def test_an_endpoint_that_dies_ends_its_sessions(
    control: EndpointControl, tmp_path: Path
) -> None:
    watcher = Watched()
    async with sshd() as (connect, _):
        client = await opened(control, await connect(), watcher)
        await client.says(b"x", b"X")
        os.kill(endpoint_pid(tmp_path / FOLDER), signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_S):
            code, _why = await watcher.news.get()  # type: ignore[misc]
        assert code == 1
        client.cut()
        again = await opened(control, await connect())  # another one is started
        await again.says(b"y", b"Y")


def endpoint_pid(folder: Path) -> int:
    """Return the process that listens in `folder`."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"stagedoor.resume" in words and str(folder).encode() in words:
                return int(process.name)
    raise AssertionError("no endpoint runs")
