"""Dialling, resolving, and knowing one's own addresses."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.source import Address
from stagedoor.net import dial as dial_module
from stagedoor.net.dial import Dialer, _interleave, is_this_machine
from stagedoor.net.resolve import Resolver
from tests.net.peers import HAS_IPV6
from tests.ports import free_port
from tests.waiting import until

HERE = ip_address("127.0.0.1")
REFUSING = ip_address("127.0.0.2")
"""Nothing listens there, so a connection is refused at once."""


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server((str(HERE), 0)) as sock:
        yield sock


@pytest.fixture
def silent() -> Iterator[tuple[Address, int]]:
    """A listener whose backlog is full: a connect to it gets no answer."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.3", free_port()))  # so that the same is free at other addresses
        sock.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
            fillers.append(filler)
        yield ip_address("127.0.0.3"), sock.getsockname()[1]
        for filler in fillers:
            filler.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_the_one_address_is_dialled(listening: socket.socket) -> None:
    stream = await Dialer().dial((HERE,), listening.getsockname()[1], 5)
    peer, _ = listening.accept()
    assert stream.send(b"x") == 1
    assert peer.recv(1) == b"x"
    sock = socket.socket(fileno=os.dup(stream.fileno()))
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    for end in (stream, peer, sock):
        end.close()


async def test_a_refused_address_gives_way_to_the_next_at_once(listening: socket.socket) -> None:
    started = time.monotonic()
    stream = await Dialer().dial((REFUSING, HERE), listening.getsockname()[1], 5)
    assert time.monotonic() - started < 5
    stream.close()


async def test_a_silent_address_is_raced_by_the_next_and_the_loser_closed(
    silent: tuple[Address, int],
) -> None:
    address, port = silent
    with socket.create_server((str(HERE), port)) as listening:
        before = descriptors()
        stream = await Dialer().dial((address, HERE), port, 5)
        assert descriptors() == before + 1
        peer, source = listening.accept()
        assert source[0] == "127.0.0.1"
        stream.close()
        peer.close()


async def test_when_all_refuse_the_refusal_is_raised(listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    before = descriptors()
    with pytest.raises(ConnectionRefusedError):
        await Dialer().dial((REFUSING, ip_address("127.0.0.4")), port, 5)
    with pytest.raises(ConnectionRefusedError):
        await Dialer().dial((REFUSING,), port, 5)
    assert descriptors() == before


async def test_silence_is_a_timeout_and_leaves_no_descriptor(silent: tuple[Address, int]) -> None:
    address, port = silent
    before = descriptors()
    with pytest.raises(TimeoutError):
        await Dialer().dial((address,), port, 0.2)
    with pytest.raises(TimeoutError):
        await Dialer().dial((address, address), port, 0.4)
    assert descriptors() == before


async def test_the_only_address_has_the_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def attempt(_: Address, __: int, timeout_s: float) -> socket.socket:
        waits.append(timeout_s)
        raise TimeoutError

    waits: list[float] = []
    monkeypatch.setattr(dial_module, "_attempt", attempt)
    for addresses in (("192.0.2.1",), ("192.0.2.1", "192.0.2.2")):
        with pytest.raises(TimeoutError):
            await Dialer().dial(tuple(map(ip_address, addresses)), 22, 5.0)
    assert waits == [5.0, 2.0, 2.0]


async def test_a_refusal_is_raised_rather_than_a_silence(
    silent: tuple[Address, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, port = silent
    monkeypatch.setattr(dial_module, "ATTEMPT_TIMEOUT_S", 0.3)
    with pytest.raises(ConnectionRefusedError):
        await Dialer().dial((REFUSING, address), port, 5)


async def test_a_dial_that_is_cancelled_leaves_no_descriptor(silent: tuple[Address, int]) -> None:
    address, port = silent
    before = descriptors()
    task = asyncio.create_task(Dialer().dial((address, address), port, 5))
    await until(lambda: descriptors() > before)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert descriptors() == before


async def test_without_an_address_nothing_is_dialled() -> None:
    with pytest.raises(OSError, match="no address"):
        await Dialer().dial((), 22, 1)


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")
async def test_ipv6_is_dialled() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        stream = await Dialer().dial((ip_address("::1"),), listening.getsockname()[1], 5)
        stream.close()


ADDRESSES = st.lists(st.ip_addresses(), min_size=1, unique=True).map(tuple)


@given(ADDRESSES)
def test_the_families_take_turns_and_no_address_is_lost_or_added(
    addresses: tuple[Address, ...],
) -> None:
    order = _interleave(addresses)
    assert sorted(map(str, order)) == sorted(map(str, addresses))
    assert order[0] == addresses[0]
    shorter = min(sum(a.version == v for a in addresses) for v in (4, 6))
    turns = [a.version for a in order[: 2 * shorter]]
    assert all(one != other for one, other in pairwise(turns))


@pytest.mark.parametrize(
    ("literal", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
async def test_a_literal_stands_for_itself_and_is_not_looked_up(
    literal: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)
    resolver = Resolver()
    assert await resolver.resolve(literal) == (ip_address(address),)
    resolver.stop_threads()


async def test_a_name_gives_each_address_once() -> None:
    resolver = Resolver()
    addresses = await resolver.resolve("localhost")
    assert HERE in addresses
    assert len(set(addresses)) == len(addresses)
    resolver.stop_threads()


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a" * 64 + ".example", "", "x\0y"])
async def test_a_name_without_address_is_an_os_error(name: str) -> None:
    resolver = Resolver()
    with pytest.raises(OSError, match=r"."):
        await resolver.resolve(name)
    resolver.stop_threads()


async def test_a_name_server_that_is_silent_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    from stagedoor.net import resolve

    release = time.monotonic() + 0.5

    def slow(*_: object, **__: object) -> list[object]:
        time.sleep(max(0.0, release - time.monotonic()))
        return []

    monkeypatch.setattr(resolve, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(resolve.socket, "getaddrinfo", slow)
    resolver = Resolver()
    with pytest.raises(TimeoutError):
        await resolver.resolve("slow.example")
    resolver.stop_threads()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "0.0.0.0", "::1", "::"])
def test_loopback_and_unspecified_are_this_machine(address: str) -> None:
    assert is_this_machine(ip_address(address))


@pytest.mark.parametrize("address", ["192.0.2.9", "198.51.100.1", "2001:db8::9"])
def test_other_addresses_are_not_this_machine(address: str) -> None:
    assert not is_this_machine(ip_address(address))


def test_the_address_that_we_speak_from_is_this_machine() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no way out")
        assert is_this_machine(ip_address(sock.getsockname()[0]))
