"""Too many clients, slow ones, and no descriptors left: who is honest still gets in."""

import contextlib
import resource
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stagedoor.listeners.limits import ClientLimits
from tests.fixtures.gateway import static
from tests.listeners.wire import Upstream, eventually, head
from tests.listeners.worker import entered, open_worker
from tests.net.peers import PATIENCE_S, Peer
from tests.path.faulty import serving

SLOW = 1000


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * SLOW:
        pytest.fail(f"this machine allows {hard} open files; the test needs {2 * SLOW}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * SLOW), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def slow_client(
    port: int, stack: contextlib.ExitStack, source: str = "127.0.0.1", preface: bytes = b""
) -> socket.socket:
    """Send `preface` and half a header from the address `source`, and no more."""
    address = ("127.0.0.1", port)
    sock = stack.enter_context(socket.create_connection(address, PATIENCE_S, (source, 0)))
    sock.sendall(preface + head("app01-ssh:22")[:20])
    return sock


def limits(most: int) -> ClientLimits:
    """Return limits by which so many may wait, for as long as a test takes."""
    return ClientLimits(max_pending=most, header_timeout_s=600)


def is_relayed(near: Peer, far: Peer) -> None:
    """Check that the session relays bytes."""
    near.send(b"ping")
    assert far.read(4) == b"ping"


def cut(sock: socket.socket) -> bool:
    """Return whether the gateway has closed it."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


@pytest.mark.line(12)
def test_a_thousand_slow_clients_keep_no_other_out_and_the_oldest_go_first(
    tmp_path: Path, many_files: None
) -> None:
    with (
        contextlib.closing(Upstream()) as upstream,
        open_worker(tmp_path, static("app01", upstream.port), limits(SLOW)) as worker,
        contextlib.ExitStack() as stack,
    ):
        slow = [slow_client(worker.port, stack) for _ in range(SLOW)]
        with entered(worker, upstream) as ends:  # it waits no longer than PATIENCE_S for each step
            is_relayed(*ends)
            # We took no place: our request came with the connection, or soon after.
            slow += [slow_client(worker.port, stack) for _ in range(100)]
            eventually("the next oldest are closed", lambda: all(cut(s) for s in slow[:100]))
            assert not any(cut(sock) for sock in slow[101:])  # one for us, if we had to wait
            is_relayed(*ends)

        def overloaded() -> list[dict[str, Any]]:
            return [line for line in tuple(worker.lines) if line.get("reason") == "overloaded"]

        eventually("all are in the log", lambda: len(overloaded()) >= 100)
        assert len(overloaded()) <= 101


@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "behind a load balancer"])
def test_a_source_that_floods_pushes_out_its_own_and_no_slow_client_of_another(
    tmp_path: Path, *, proxied: bool
) -> None:
    settings = '[listen]\nproxy_protocol_from = ["127.0.0.1/32"]\n' if proxied else ""

    def come(source: str) -> socket.socket:
        if proxied:
            preface = f"PROXY TCP4 {source} 127.0.0.1 1024 8022\r\n".encode()
            return slow_client(worker.port, stack, preface=preface)
        return slow_client(worker.port, stack, source)

    with open_worker(tmp_path, settings, limits(20)) as worker, contextlib.ExitStack() as stack:
        slow = come("127.0.0.2")
        next_ = come("127.0.0.4")
        next_.sendall(head("app01-ssh:22")[20:])
        assert next_.recv(12) == b"HTTP/1.1 407", "so the gateway knows the one before too"
        flood = [come("127.0.0.3") for _ in range(60)]
        eventually("there is room again", lambda: sum(map(cut, flood)) >= 41)
        assert not cut(slow), "it came first, and has one connection"
        slow.sendall(head("app01-ssh:22")[20:])
        assert slow.recv(12) == b"HTTP/1.1 407"


def test_an_ipv6_48_pushes_out_its_own_and_no_slow_client_of_another(tmp_path: Path) -> None:
    """Each connection of the flood is of an IPv6 /64 of its own, and so is the only one in it."""
    settings = '[listen]\nproxy_protocol_from = ["127.0.0.1/32"]\nnetworks = ["2001:db8::/32"]\n'

    def come(source: str) -> socket.socket:
        preface = f"PROXY TCP6 {source} 2001:db8::1 1024 8022\r\n".encode()
        return slow_client(worker.port, stack, preface=preface)

    with open_worker(tmp_path, settings, limits(20)) as worker, contextlib.ExitStack() as stack:
        slow, neighbour = come("2001:db8:1::1"), come("2001:db8:2:ff01::1")
        next_ = come("2001:db8:3::1")
        next_.sendall(head("app01-ssh:22")[20:])
        assert next_.recv(12) == b"HTTP/1.1 407", "so the gateway knows those before too"
        flood = [come(f"2001:db8:2:{number:x}::1") for number in range(60)]
        eventually("there is room again", lambda: sum(map(cut, flood)) >= 42)
        for honest in (slow, neighbour):
            assert not cut(honest)
            honest.sendall(head("app01-ssh:22")[20:])
            assert honest.recv(12) == b"HTTP/1.1 407"


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_without_descriptors_accepting_pauses_says_so_once_and_recovers(tmp_path: Path) -> None:
    with serving(tmp_path) as gateway:
        [worker] = gateway.worker_pids()
        with gateway.entered() as inside, contextlib.ExitStack() as stack:
            assert gateway.ask() == 200  # whatever is opened once is open now
            _, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (open_files(worker) + 20, hard))
            for _ in range(60):
                slow_client(gateway.own_port, stack)
            paused = gateway.wait_for(lambda line: line["event"].startswith("accepting pauses"))
            assert paused["reason"] == "Too many open files"
            inside.works()
            stack.close()
            assert gateway.ask() == 200, "by itself, as soon as there are some again"
            inside.works()
            again = [line for line in gateway.lines if line["event"].startswith("accepting")]
            assert len(again) == 1, "not once for each try"
