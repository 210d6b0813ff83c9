"""The client's own senses: sleep, a stop, a new network, an old gateway, and systems without these."""

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stagedoor.laptop.tunnel import resume
from stagedoor.laptop.tunnel.enter import TunnelKey
from stagedoor.laptop.tunnel.options import Options
from stagedoor.laptop.tunnel.relay import Local
from stagedoor.laptop.tunnel.resume import ConnectionLostError, ResumableTunnel
from stagedoor.laptop.tunnel.route import RouteWatch, has_moved
from stagedoor.laptop.tunnel.wire import TcpWire
from tests.laptop.conftest import PATIENCE_S
from tests.missing import missing

OPTIONS = Options({"--gateway": "gw:1", "--user": "anna"}, ["app01.ssh"], {})


class Clock:
    def __init__(self) -> None:
        self.jumps = [0.0]
        self.real = resume.read_clock

    def __call__(self) -> float:
        return self.real() + (self.jumps.pop(0) if len(self.jumps) > 1 else self.jumps[0])


@contextmanager
def carried() -> Iterator[tuple[ResumableTunnel, TcpWire]]:
    """Yield a tunnel, and a connection to a gateway that says nothing."""
    inside, outside = os.pipe(), os.pipe()
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        tunnel = ResumableTunnel(OPTIONS, TunnelKey(), Local(inside[0], outside[1]))
        tunnel.woken_fd, woken = os.pipe()
        try:
            yield tunnel, TcpWire(near, "the gateway gw:1")
        finally:
            tunnel.routes.stop()
            for fd in (*inside, *outside, tunnel.woken_fd, woken):
                os.close(fd)


@pytest.mark.continuity(7)
@pytest.mark.parametrize("slept_s", [1800.0, resume.STOPPED_S + 1])
def test_a_client_that_slept_gives_its_connection_up_at_once(
    monkeypatch: pytest.MonkeyPatch, slept_s: float
) -> None:
    """By CLOCK_BOOTTIME, or by a turn that took too long where the system has no such clock."""
    clock = Clock()
    clock.jumps = [0.0, 0.0, slept_s]
    monkeypatch.setattr(resume, "read_clock", clock)
    with carried() as (tunnel, wire), pytest.raises(ConnectionLostError, match="slept"):
        tunnel.carry(wire)


@pytest.mark.continuity(7)
def test_a_client_whose_network_changed_gives_its_connection_up_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with carried() as (tunnel, wire):
        monkeypatch.setattr(tunnel.routes, "take_news", lambda: True)
        monkeypatch.setattr(resume, "has_moved", lambda sock: sock is wire.sock)
        with pytest.raises(ConnectionLostError, match="network"):
            tunnel.carry(wire)


def test_a_connection_has_moved_if_its_address_is_another_now() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = server.getsockname()
        with socket.create_connection(place) as stays:
            assert not has_moved(stays)
        with socket.create_connection(place, source_address=("127.0.0.2", 0)) as moved:
            assert has_moved(moved)
    with socket.socket() as unconnected:
        assert not has_moved(unconnected)


LISTEN = """
import select
from stagedoor.laptop.tunnel.route import RouteWatch
routes = RouteWatch()
assert not routes.take_news()
print(routes.fd, flush=True)
poller = select.poll()
poller.register(routes.fd, select.POLLIN)
print(bool(poller.poll(60_000)) and routes.take_news(), flush=True)
"""


@pytest.mark.continuity(7)
def test_the_kernel_reports_a_change_of_routes() -> None:
    with subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", LISTEN],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as listener:
        assert listener.stdout is not None
        if not listener.stdout.readline().strip():
            missing("unshare --net is not permitted here")
        enter = ["nsenter", "--target", str(listener.pid), "--user", "--net"]
        subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True, timeout=PATIENCE_S)
        assert listener.stdout.readline() == "True\n"


@pytest.mark.continuity(18)
def test_without_netlink_there_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS and Windows."""
    monkeypatch.delattr("_socket.AF_NETLINK")
    routes = RouteWatch()
    assert routes.fd == -1
    assert not routes.take_news()
    routes.stop()


@pytest.mark.continuity(18)
def test_without_a_clock_that_counts_sleep_the_monotonic_one_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("time.CLOCK_BOOTTIME")
    assert resume.read_clock() > 0


def test_a_change_of_routes_ends_a_pause() -> None:
    with carried() as (tunnel, _):
        news, sent = os.pipe()
        tunnel.routes.stop()
        tunnel.routes.fd = news
        os.write(sent, b"x")
        tunnel.routes.take_news = lambda: bool(os.read(news, 1))  # type: ignore[method-assign]
        assert tunnel.pause(PATIENCE_S)
        poller = select.poll()
        poller.register(news, select.POLLIN)
        assert not poller.poll(0)
        tunnel.routes.fd = -1
        for fd in (news, sent):
            os.close(fd)
