"""The client's own senses: sleep, a stop, a new network, an old gateway, and systems without these."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stagedoor.laptop.tunnel import enter, resume
from stagedoor.laptop.tunnel.address import parse_gateway
from stagedoor.laptop.tunnel.enter import TunnelKey
from stagedoor.laptop.tunnel.errors import LOST, TunnelError
from stagedoor.laptop.tunnel.options import Options
from stagedoor.laptop.tunnel.relay import Local
from stagedoor.laptop.tunnel.resume import ConnectionLostError, ResumableTunnel
from stagedoor.laptop.tunnel.route import RouteWatch, has_moved
from stagedoor.laptop.tunnel.secret import Secret
from stagedoor.laptop.tunnel.wire import TcpWire
from tests.laptop.conftest import PATIENCE_S
from tests.laptop.scripted_gateway import ScriptedGateway, answering, echoing, refusing
from tests.laptop.test_tunnel_credentials import shown
from tests.missing import missing

OPTIONS = Options({"--gateway": "gw:1", "--user": "anna"}, ["app01.ssh"], {})


class Clock:
    def __init__(self) -> None:
        self.jumps = [0.0]
        self.real = resume.read_clock

    def __call__(self) -> float:
        return self.real() + (self.jumps.pop(0) if len(self.jumps) > 1 else self.jumps[0])


RESUMED = answering(b"HTTP/1.1 200 OK\r\nStagedoor-Resume: 1\r\n\r\n")


@contextmanager
def returning(folder: Path, meanwhile: Callable[[], object]) -> Iterator[ResumableTunnel]:
    """Yield a tunnel that comes back to a gateway, whose first answer never comes.

    `meanwhile` is called once the client waits for that.
    """

    def say_nothing(conn: socket.socket, _target: str) -> None:
        meanwhile()
        conn.recv(1)

    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text("secret")
    with carried() as (tunnel, _), ScriptedGateway([say_nothing, RESUMED]) as gateway:
        given = {"--gateway": gateway.address, "--user": "anna", "--token-file": str(token)}
        tunnel.options = Options(given, ["app01.ssh"], {})
        yield tunnel


@contextmanager
def carried() -> Iterator[tuple[ResumableTunnel, TcpWire]]:
    """Yield a tunnel, and a connection to a gateway that says nothing."""
    inside, outside = os.pipe(), os.pipe()
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        tunnel = ResumableTunnel(OPTIONS, TunnelKey(), Local(inside[0], outside[1]))
        tunnel.signal_fd, woken = os.pipe()
        try:
            yield tunnel, TcpWire(near, "the gateway gw:1")
        finally:
            tunnel.routes.stop()
            for fd in (*inside, *outside, tunnel.signal_fd, woken):
                os.close(fd)


@pytest.mark.continuity(7)
@pytest.mark.parametrize("slept_s", [1800.0, resume.STOP_THRESHOLD_S + 1])
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
        monkeypatch.setattr(tunnel.routes, "take_changes", lambda: True)
        monkeypatch.setattr(resume, "has_moved", lambda sock: sock is wire.sock)
        with pytest.raises(ConnectionLostError, match="network"):
            tunnel.carry(wire)


def comes_back(tunnel: ResumableTunnel) -> bool:
    """Return whether the tunnel came back by its second connection."""
    wire = tunnel.reconnect()
    if wire is None:
        return False
    wire.sock.close()
    assert tunnel.key.attempt == 2
    return wire.is_resumable


@pytest.mark.continuity(5)
def test_a_return_that_gets_no_answer_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(enter, "RETURN_TIMEOUT_S", 0.2)
    with returning(tmp_path, lambda: None) as tunnel:
        assert comes_back(tunnel)


@pytest.mark.continuity(7)
def test_a_sleep_ends_the_wait_for_an_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = Clock()
    monkeypatch.setattr(resume, "read_clock", clock)
    monkeypatch.setattr(enter, "RETURN_TIMEOUT_S", PATIENCE_S)
    with returning(tmp_path, lambda: clock.jumps.insert(0, 1800.0)) as tunnel:
        clock.jumps = [0.0]
        assert comes_back(tunnel)


@pytest.mark.continuity(7)
def test_another_network_ends_the_wait_for_an_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changes: list[bool] = []
    monkeypatch.setattr(resume, "has_moved", lambda _sock: bool(changes and changes.pop()))
    monkeypatch.setattr(enter, "RETURN_TIMEOUT_S", PATIENCE_S)
    with returning(tmp_path, lambda: changes.append(True)) as tunnel:
        monkeypatch.setattr(tunnel.routes, "take_changes", lambda: bool(changes))
        assert comes_back(tunnel)


def test_an_ssh_that_ends_has_its_session_ended_by_another_connection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(enter, "RETURN_TIMEOUT_S", PATIENCE_S)
    with returning(tmp_path, lambda: tunnel.hang_up()) as tunnel:
        assert comes_back(tunnel)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_ends_ssh_has_its_session_ended(
    signals: None, number: signal.Signals
) -> None:
    """Without a terminal in raw mode, Ctrl-C signals ssh and its ProxyCommand."""
    with carried() as (tunnel, _):
        os.close(tunnel.signal_fd)
        tunnel.listen_for_hangup()
        os.kill(os.getpid(), number)
        assert tunnel.ssh_ended_at is not None


def test_a_ctrl_c_that_ssh_ignores_is_not_its_end(signals: None) -> None:
    """As below sftp, where it only cancels a transfer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with carried() as (tunnel, _):
        os.close(tunnel.signal_fd)
        tunnel.listen_for_hangup()
        os.kill(os.getpid(), signal.SIGINT)
        assert tunnel.ssh_ended_at is None


@pytest.fixture
def signals() -> Iterator[None]:
    """Restore the handlers of this process."""
    numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    handlers = [signal.getsignal(number) for number in numbers]
    wakeup_fd = signal.set_wakeup_fd(-1)
    yield
    os.close(signal.set_wakeup_fd(wakeup_fd))
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("is_new", [False, True])
def test_a_reconnect_uses_the_secret_that_was_accepted(tmp_path: Path, is_new: bool) -> None:
    """A helper may need the network. It is asked again only if the gateway refuses the secret."""
    helper = tmp_path / "helper"
    helper.write_text(f"#!/bin/sh\n{'echo new' if is_new else 'exit 1'}\n")
    helper.chmod(0o755)
    answers = [refusing(407, "expired"), RESUMED] if is_new else [RESUMED]
    with carried() as (tunnel, _), ScriptedGateway(answers) as gateway:
        given = {"--gateway": gateway.address, "--credential-helper": str(helper)}
        tunnel.options = Options(given, ["app01.ssh"], {"HOME": str(tmp_path), "USER": "anna"})
        tunnel.key.secret = Secret("old", "the helper", "")
        wire = tunnel.reconnect()
        assert wire is not None
        wire.sock.close()
    secrets = [shown(request) for request in gateway.requests]
    assert secrets == ["anna:old", "anna:new"][: len(answers)]


def test_an_ssh_that_has_ended_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(resume, "GONE_TIMEOUT_S", 0.2)
    with returning(tmp_path, lambda: None) as tunnel:
        tunnel.hang_up()
        assert tunnel.reconnect() is None


def test_the_title_counts_while_an_answer_is_awaited(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(resume, "show", shown.append)
    monkeypatch.setattr("os.isatty", lambda _fd: True)
    monkeypatch.setattr(enter, "RETURN_TIMEOUT_S", 2.5)
    with returning(tmp_path, lambda: None) as tunnel:
        assert comes_back(tunnel)
        tunnel.title.restore()
    save, *titles, restore = shown
    assert (save, restore) == ("\x1b[22;2t", "\x1b[23;2t")
    assert titles[0] == "\x1b]2;app01.ssh: reconnecting 0 s\x07"
    assert len({*titles}) >= 2


@pytest.mark.continuity(15)
def test_a_gateway_that_cannot_resume_ends_the_tunnel_with_the_reason(tmp_path: Path) -> None:
    with returning(tmp_path, lambda: None) as tunnel, ScriptedGateway([echoing]) as gateway:
        tunnel.options.gateway = parse_gateway(gateway.address, "--gateway")
        with pytest.raises(
            TunnelError, match="cannot resume the session; it is too old"
        ) as refusal:
            tunnel.reconnect()
    assert refusal.value.code == LOST
    assert tunnel.key.attempt == 1


def test_a_busy_gateway_is_asked_again_when_it_says(tmp_path: Path) -> None:
    """The client waits where it hears the network and ssh."""
    pauses: list[float] = []
    with returning(tmp_path, lambda: None) as tunnel, ScriptedGateway(
        [refusing(503, "full", "Retry-After: 7"), RESUMED]
    ) as gateway:  # fmt: skip
        tunnel.options.gateway = parse_gateway(gateway.address, "--gateway")
        tunnel.pause = pauses.append  # type: ignore[method-assign,assignment]
        assert comes_back(tunnel)
    (pause_s,) = pauses
    assert 7 < pause_s < 8


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
assert not routes.take_changes()
print(routes.fd, flush=True)
poller = select.poll()
poller.register(routes.fd, select.POLLIN)
print(bool(poller.poll(60_000)) and routes.take_changes(), flush=True)
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
    assert not routes.take_changes()
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
        tunnel.routes.take_changes = lambda: bool(os.read(news, 1))  # type: ignore[method-assign]
        assert tunnel.pause(PATIENCE_S)
        poller = select.poll()
        poller.register(news, select.POLLIN)
        assert not poller.poll(0)
        tunnel.routes.fd = -1
        for fd in (news, sent):
            os.close(fd)
