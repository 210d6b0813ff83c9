"""Lines 30, 31, 34, 37 and 38 from outside: how a tunnel ends, and what is left of it."""

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.net import resolve
from stagedoor.net.tls import make_client_context
from tests.listeners.conftest import Spied
from tests.listeners.wire import Answer, Upstream, dialled, eventually, head, read_answer, said
from tests.listeners.worker import GatewayWorker, entered
from tests.net.peers import Peer, TlsPeer

BULK = os.urandom(1024 * 1024) * 4


@contextlib.contextmanager
def client_of(worker: GatewayWorker, certificate: Path | None) -> Iterator[Peer]:
    """Yield a developer's end that has not asked yet; over TLS where there is a certificate."""
    if certificate is None:
        with dialled(worker.port) as peer:
            yield peer
        return
    with dialled(worker.tls_port) as plain:
        peer = TlsPeer(plain.sock, make_client_context(certificate))
        peer.handshake()
        yield peer


@pytest.fixture(params=["plain", "tls"])
def secured(request: pytest.FixtureRequest, certificate: Path) -> Path | None:
    return certificate if request.param == "tls" else None


@contextlib.contextmanager
def inside(
    worker: GatewayWorker, upstream: Upstream, secured: Path | None, early: bytes = b""
) -> Iterator[tuple[Peer, Peer]]:
    with client_of(worker, secured) as client:
        client.send(head("app01-ssh:22", worker.auth) + early)
        assert read_answer(client).status == 200
        yield client, upstream.accept()


@pytest.mark.line(2, 38)
def test_early_data_over_tls_arrives_once_and_in_order(
    worker: GatewayWorker, upstream: Upstream, certificate: Path
) -> None:
    early = BULK[:300_000]
    with inside(worker, upstream, certificate, early) as (client, far):
        client.send(b"late")
        client.half_close()
        assert far.read_to_end() == early + b"late"


@pytest.mark.line(31, 38)
def test_a_reset_from_the_shell_reaches_the_developer_as_a_reset(
    worker: GatewayWorker, upstream: Upstream, secured: Path | None
) -> None:
    with inside(worker, upstream, secured) as (client, far):
        far.send(b"x")
        assert client.read(1) == b"x"
        far.reset()
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            client.read()
    worker.empty()
    assert worker.lines[-1]["outcome"] == "upstream_reset"


@pytest.mark.line(38)
def test_a_tls_stream_that_is_cut_is_not_taken_for_an_end(
    worker: GatewayWorker, upstream: Upstream, certificate: Path
) -> None:
    """FIN without close_notify may be an attacker's: the shell must not take a part for the whole."""
    with inside(worker, upstream, certificate) as (client, far):
        client.send(b"half of a fi")
        assert far.read_exactly(12) == b"half of a fi"
        client.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            far.read()


@pytest.mark.line(6, 23, 38)
def test_a_refusal_over_tls_is_read_whole_and_ends_in_order(
    worker: GatewayWorker, upstream: Upstream, certificate: Path
) -> None:
    for request, status in ((head("app01-ssh:22"), 407), (head("x.example:22", worker.auth), 403)):
        with client_of(worker, certificate) as client:
            client.send(request)
            answer = read_answer(client)
            assert answer.status == status
            assert answer.one("Content-Length") == str(len(answer.body))
    assert not upstream.dialled()


@pytest.mark.line(37)
def test_refused_no_app_no_shell_and_too_late_are_distinguished(
    worker: GatewayWorker, upstream: Upstream, spied: Spied
) -> None:
    def ask(app: str) -> Answer:
        return said(worker.port, head(f"{app}-ssh:22", worker.auth))

    spied.answers = [socket.gaierror(socket.EAI_NONAME, "Name or service not known")]
    no_name = ask("named")
    assert (ask("closed").status, ask("nowhere").status, ask("silent").status) == (502, 404, 504)
    assert no_name.status == 503
    assert no_name.one("Retry-After") is not None
    assert "named-ssh" in no_name.message


def sockets() -> int:
    """Return how many sockets this process holds, the gateway's among them."""
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(fd.readlink()).startswith("socket:")
    return count


@pytest.mark.line(34, 35)
def test_every_way_out_gives_the_slot_and_the_descriptors_back(
    worker: GatewayWorker, upstream: Upstream, certificate: Path, spied: Spied
) -> None:
    worker.empty()
    before = sockets()
    for _ in range(3):
        spied.answers = [socket.gaierror(socket.EAI_NONAME, "no name"), ["169.254.169.254"]] * 2
        for request in (
            b"GET / HTTP/1.1\r\n\r\n",
            head("app01-ssh:22"),
            head("evil.example:22", worker.auth),
            head("nowhere-ssh:22", worker.auth),
            head("closed-ssh:22", worker.auth),
            head("silent-ssh:22", worker.auth),
            head("named-ssh:22", worker.auth),
            head("named-ssh:22", worker.auth),
            head("own-ssh:22", worker.auth),
        ):
            assert said(worker.port, request).status >= 400
            with dialled(worker.port) as client:  # and who does not stay for the answer
                client.send(request)
                client.reset()
        spied.answers = []
        for cut in (0, 9, 40):
            with dialled(worker.port) as client:
                client.send(head("app01-ssh:22", worker.auth)[:cut])
        with dialled(worker.port) as client:  # gone before the 200
            client.send(head("app01-ssh:22", worker.auth))
            client.reset()
        worker.empty()
        upstream.hang_up()
        with entered(worker, upstream) as (client, far):
            client.half_close()
            far.half_close()
        with entered(worker, upstream) as (client, far):
            client.reset()
        with entered(worker, upstream) as (client, far):
            far.reset()
        with dialled(worker.tls_port) as client:
            client.send(b"GET / HTTP/1.1\r\n\r\n")
        with dialled(worker.tls_port) as client:
            client.send(b"\x16\x03\x01")
        with client_of(worker, certificate) as client:
            client.send(head("app01-ssh:22", worker.auth))
            client.reset()
        upstream.hang_up()
    worker.empty()
    eventually("the sockets are closed", lambda: sockets() == before)
    assert not worker.gateway.relay._watched.active


def test_a_fault_of_the_gateway_is_reported_as_one_and_costs_no_other_client(
    worker: GatewayWorker, upstream: Upstream, spied: Spied, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: str) -> list[str]:
        raise RuntimeError("broken")

    monkeypatch.setattr(resolve, "_look_up", broken)
    with entered(worker, upstream) as (client, far):
        answer = said(worker.port, head("named-ssh:22", worker.auth))
        assert answer.status == 500
        assert answer.message == "a fault in the gateway; its log has more"
        assert worker.line(lambda line: line.get("outcome") == "fault")["target"] == "named.ssh"
        client.send(b"still here")
        assert far.read_exactly(10) == b"still here"
