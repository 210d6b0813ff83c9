"""Listening and accepting, running out of descriptors included."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from stagedoor.model.errors import StagedoorError
from stagedoor.model.source import Source
from stagedoor.net.listen import Acceptor, ListeningGroup, adopt, bind
from stagedoor.net.tcp import TcpStream
from tests.net.peers import HAS_IPV6
from tests.waiting import BOUND_S


@contextlib.contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    """Leave room for `more` descriptors at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Accepted:
    """The streams that an acceptor passed to its callback, and their sources."""

    def __init__(self) -> None:
        self.streams: list[tuple[TcpStream, Source]] = []
        self.pauses: list[str] = []
        self._changed = asyncio.Event()

    def accepted(self, stream: TcpStream, source: Source) -> None:
        self.streams.append((stream, source))
        self._changed.set()

    def paused(self, why: str) -> None:
        self.pauses.append(why)
        self._changed.set()

    async def until(self, *, streams: int = 0, pauses: int = 0) -> None:
        async with asyncio.timeout(BOUND_S):
            while len(self.streams) < streams or len(self.pauses) < pauses:
                self._changed.clear()
                await self._changed.wait()

    def close(self) -> None:
        for stream, _ in self.streams:
            stream.close()


def taken_over(listening: ListeningGroup) -> socket.socket:
    """Return the listening socket as a worker inherits it."""
    return adopt(os.dup(listening.list_descriptors()[0]))


async def test_each_downstream_comes_with_its_source_and_does_not_block() -> None:
    listening = bind("127.0.0.1", 0)
    seen = Accepted()
    acceptor = Acceptor(taken_over(listening), seen.accepted, seen.paused)
    with socket.create_connection(listening.list_addresses()[0]) as peer:
        await seen.until(streams=1)
        stream, source = seen.streams[0]
        assert str(source) == f"127.0.0.1:{peer.getsockname()[1]}"
        assert stream.recv(1) is None
        assert not os.get_blocking(stream.fileno())
    acceptor.stop_accepting()
    listening.close_sockets()
    seen.close()


async def test_an_accepted_socket_has_the_options_of_a_tunnel() -> None:
    listening = bind("127.0.0.1", 0)
    seen = Accepted()
    acceptor = Acceptor(taken_over(listening), seen.accepted, seen.paused)
    with socket.create_connection(listening.list_addresses()[0]):
        await seen.until(streams=1)
        sock = socket.socket(fileno=os.dup(seen.streams[0][0].fileno()))
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 30
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 8
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 300_000
        sock.close()
    acceptor.stop_accepting()
    listening.close_sockets()
    seen.close()


async def test_without_descriptors_accepting_pauses_and_goes_on_by_itself() -> None:
    listening = bind("127.0.0.1", 0)
    seen = Accepted()
    acceptor = Acceptor(taken_over(listening), seen.accepted, seen.paused)
    # Many more than there is room for: a thread of another test's may open or close some meanwhile.
    peers = [socket.socket() for _ in range(40)]
    with few_descriptors(2):
        for peer in peers:
            peer.connect(listening.list_addresses()[0])
        await seen.until(pauses=1)
        await asyncio.sleep(0.3)  # several tries: one word is enough
        assert len(seen.streams) < len(peers)
        assert seen.pauses == ["Too many open files"]
    await seen.until(streams=len(peers))
    assert seen.pauses == ["Too many open files"]
    acceptor.stop_accepting()
    listening.close_sockets()
    seen.close()
    for peer in peers:
        peer.close()


async def test_who_waits_when_one_worker_stops_is_let_in_by_the_next() -> None:
    listening = bind("127.0.0.1", 0)
    first = Accepted()
    acceptor = Acceptor(taken_over(listening), first.accepted, first.paused)
    acceptor.stop_accepting()
    with socket.create_connection(listening.list_addresses()[0]):
        second = Accepted()
        acceptor = Acceptor(taken_over(listening), second.accepted, second.paused)
        await second.until(streams=1)
    assert first.streams == []
    acceptor.stop_accepting()
    listening.close_sockets()
    second.close()


async def test_a_connection_that_has_failed_does_not_end_the_emptying_of_the_backlog() -> None:
    class FailsFirst(socket.socket):
        has_failed = False

        def accept(self) -> tuple[socket.socket, Any]:
            if not self.has_failed:
                self.has_failed = True
                raise ConnectionAbortedError(errno.ECONNABORTED, "aborted")
            return super().accept()

    listening, seen = bind("127.0.0.1", 0), Accepted()
    sock = FailsFirst(fileno=os.dup(listening.list_descriptors()[0]))
    sock.setblocking(False)
    acceptor = Acceptor(sock, seen.accepted, seen.paused)
    with socket.create_connection(listening.list_addresses()[0]):
        acceptor.stop_accepting()
    assert len(seen.streams) == 1
    listening.close_sockets()
    seen.close()


def test_a_second_worker_shares_the_port() -> None:
    first = bind("127.0.0.1", 0)
    second = bind("127.0.0.1", 0, names=first.list_addresses())
    assert second.list_addresses() == first.list_addresses()
    assert second.list_descriptors() != first.list_descriptors()
    first.close_sockets()
    second.close_sockets()


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")
def test_every_interface_means_both_families_on_one_port() -> None:
    listening = bind("", 0)
    names = listening.list_addresses()
    assert [host for host, _ in names] == ["0.0.0.0", "::"]
    assert len({port for _, port in names}) == 1
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, names[0][1])).close()
    listening.close_sockets()


def test_a_taken_port_is_reported_with_the_address_and_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StagedoorError) as caught:
            bind("127.0.0.1", port, setting="tunnel.addresses")
    message = str(caught.value)
    assert f"127.0.0.1:{port}" in message
    assert "in use" in message
    assert "tunnel.addresses" in message


def test_a_second_gateway_on_the_port_is_refused_though_ports_can_be_shared() -> None:
    first = bind("127.0.0.1", 0)
    with pytest.raises(StagedoorError, match="in use"):
        bind("127.0.0.1", first.list_addresses()[0][1])
    first.close_sockets()


def test_an_address_of_another_machine_is_reported() -> None:
    with pytest.raises(StagedoorError, match=r"192\.0\.2\.1:8022.*tunnel\.addresses"):
        bind("192.0.2.1", 8022, setting="tunnel.addresses")


def test_a_host_name_that_does_not_exist_is_reported() -> None:
    with pytest.raises(StagedoorError, match=r"no-such-host\.invalid:8022"):
        bind("no-such-host.invalid", 8022, setting="tunnel.addresses")
