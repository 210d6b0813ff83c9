"""Memory and descriptors of a relay in a process of its own."""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.model.units import KIB, MIB
from stagedoor.net.tls import make_client_context
from tests.net.peers import PATIENCE_S, Peer, TlsPeer

PUSHED = {"splice": 600 * MIB, "tls": 100 * MIB}
"""Several times what all that lies between the ends can hold; TLS copies and enciphers each byte."""
ROOT = Path(__file__).resolve().parent.parent.parent


class Gateway:
    """The process, and tunnels through it."""

    def __init__(self, kind: str, certificate: tuple[Path, Path]) -> None:
        self._kind = kind
        self._context = make_client_context(certificate[0])
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listening.settimeout(PATIENCE_S)
        port = self._listening.getsockname()[1]
        command = [sys.executable, "-m", "tests.relay.process", kind, str(port)]
        self._process = subprocess.Popen(
            [*command, *map(str, certificate)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def open(self) -> tuple[Peer, Peer]:
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(sock)
        if self._kind == "tls":
            peer = TlsPeer(sock, self._context)
            peer.handshake()
        upstream, _ = self._listening.accept()
        return peer, Peer(upstream)

    def ended(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def resident(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match
        return int(match[1]) * KIB

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def half_dead(self) -> list[str]:
        """Return its sockets in CLOSE_WAIT (state 08), by local address."""
        mine = {str(fd.readlink()) for fd in Path(f"/proc/{self._process.pid}/fd").iterdir()}
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return [row[1] for row in rows if row[3] == "08" and f"socket:[{row[9]}]" in mine]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._listening.close()


@pytest.fixture
def gateway(kind: str, certificate: tuple[Path, Path]) -> Iterator[Gateway]:
    gateway = Gateway(kind, certificate)
    yield gateway
    gateway.close()


@pytest.mark.line(32)
@pytest.mark.parametrize("reader", ["upstream", "downstream"])
def test_a_slow_reader_costs_the_gateway_no_memory(
    gateway: Gateway, kind: str, reader: str
) -> None:
    downstream, upstream = gateway.open()
    source, sink = (downstream, upstream) if reader == "upstream" else (upstream, downstream)
    source.send(bytes(MIB))
    sink.read_exactly(MIB)
    before = gateway.resident()
    pushed = threading.Event()
    size = PUSHED[kind]

    def push() -> None:
        piece = bytes(256 * KIB)
        for _ in range(size // len(piece)):
            source.send(piece)
        pushed.set()

    pusher = threading.Thread(target=push)
    pusher.start()
    assert not pushed.wait(1.0), "nobody has read, so not all can have been taken"
    most = gateway.resident()
    left = size
    while left:
        left -= len(sink.read(min(left, MIB)))
        if left % (16 * MIB) < MIB:
            most = max(most, gateway.resident())
    pusher.join()
    assert most - before < 2 * MIB
    source.close()
    sink.close()


@pytest.mark.line(35)
def test_thousands_of_tunnels_that_come_and_go_leave_nothing(gateway: Gateway, kind: str) -> None:
    rounds = {"splice": 4_000, "tls": 500}[kind]

    def pass_through(count: int) -> None:
        for number in range(count):
            downstream, upstream = gateway.open()
            downstream.send(b"x")
            upstream.read_exactly(1)
            match number % 4:
                case 0:
                    downstream.half_close()
                    upstream.read_to_end()
                    upstream.half_close()
                    downstream.read_to_end()
                case 1:
                    downstream.reset()
                case 2:
                    upstream.reset()
                case 3:
                    upstream.half_close()
                    downstream.read_to_end()
                    downstream.half_close()
            assert gateway.ended()
            downstream.close()
            upstream.close()

    pass_through(500)
    memory, descriptors = gateway.resident(), gateway.descriptors()
    pass_through(rounds)
    assert gateway.descriptors() == descriptors
    assert gateway.half_dead() == []
    assert gateway.resident() - memory < MIB
