"""The bound on what a transport holds for a peer that does not read, or reads too slowly."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from stagedoor.model.source import Source
from stagedoor.net.tcp import TcpStream
from stagedoor.net.transport import HIGH_WATER_BYTES, StreamTransport
from tests.waiting import BOUND_S

SMALL = 4096
BIG = bytes(4 * 1024 * 1024)
HURRY_S = 0.3


class Echo(asyncio.Protocol):
    """Answers each byte with one, whatever is unsent: as a WebSocket answers PINGs."""

    def __init__(self) -> None:
        self.received = 0
        self.paused = self.resumed = 0
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.transport: StreamTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, StreamTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.resumed += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours and the peer's, with small buffers in the kernel."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        peer.connect(listening.getsockname())
        ours, _ = listening.accept()
        ours.setblocking(False)
        peer.settimeout(BOUND_S)
        with peer:
            yield ours, peer


def started(ours: socket.socket, rate_every_s: float = HURRY_S) -> tuple[StreamTransport, Echo]:
    transport = StreamTransport(
        TcpStream(ours), Source.of("127.0.0.1", 1), rate_every_s=rate_every_s
    )
    protocol = Echo()
    transport.start(protocol)
    return transport, protocol


def send_all_that_fits(peer: socket.socket) -> int:
    peer.setblocking(False)
    sent = 0
    try:
        while sent < len(BIG):
            sent += peer.send(BIG[: 64 * 1024])
    except BlockingIOError:
        pass
    peer.settimeout(BOUND_S)
    return sent


def read_to_end(peer: socket.socket) -> int:
    got = 0
    while data := peer.recv(65536):
        got += len(data)
    return got


async def test_a_peer_that_does_not_read_is_not_read_from(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, peer = ends
    transport, protocol = started(ours, rate_every_s=BOUND_S)
    held = 0
    for _ in range(50):
        send_all_that_fits(peer)
        await asyncio.sleep(0.01)
        held = max(held, transport.get_write_buffer_size())
    assert 0 < held <= 32 * 1024
    transport.abort()
    await protocol.lost


async def test_what_a_peer_takes_no_byte_of_is_dropped_and_the_line_reset(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, peer = ends
    transport, protocol = started(ours)
    transport.write(BIG)
    assert protocol.paused == 1
    async with asyncio.timeout(BOUND_S):
        await protocol.lost
    assert transport.get_write_buffer_size() == 0
    with pytest.raises(ConnectionResetError):
        read_to_end(peer)


async def test_one_that_reads_fast_enough_gets_all_of_it(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, peer = ends
    # Long enough for a thread on a busy machine to read the least.
    transport, protocol = started(ours, rate_every_s=10 * HURRY_S)
    transport.write(BIG)
    transport.close()
    async with asyncio.timeout(BOUND_S):
        assert await asyncio.to_thread(read_to_end, peer) == len(BIG)
        assert await protocol.lost is None


async def test_one_that_has_proved_itself_may_take_its_time_but_not_after_a_close(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, _peer = ends
    transport, protocol = started(ours)
    transport.trust()
    transport.write(BIG)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(4 * HURRY_S):
            await asyncio.shield(protocol.lost)
    transport.close()
    async with asyncio.timeout(BOUND_S):
        await protocol.lost


async def test_the_protocol_is_asked_to_pause_and_to_go_on(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, peer = ends
    transport, protocol = started(ours, rate_every_s=BOUND_S)
    transport.write(bytes(16 * HIGH_WATER_BYTES))
    assert (protocol.paused, protocol.resumed) == (1, 0)
    async with asyncio.timeout(BOUND_S):
        while not protocol.resumed:
            await asyncio.to_thread(peer.recv, 65536)
    transport.abort()
    await protocol.lost


async def test_bytes_are_kept_by_reference(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = ends
    transport, protocol = started(ours)
    transport.write(BIG)
    assert all(view.obj is BIG for view in transport._unsent)
    transport.abort()
    await protocol.lost


async def test_an_end_and_a_reset_of_the_peer_end_it(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, peer = ends
    gone = asyncio.Event()
    transport, protocol = started(ours)
    transport.on_lost = gone.set
    peer.close()
    async with asyncio.timeout(BOUND_S):
        await protocol.lost
        await gone.wait()
    transport.close()
    transport.abort()
    transport.write(b"nobody is there")
