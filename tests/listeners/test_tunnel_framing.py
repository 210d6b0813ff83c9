"""Lines 1 to 14 of the conformance list, as a client at the gateway's port sees them."""

import contextlib
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stagedoor.listeners.limits import ClientLimits
from stagedoor.net.tls import make_client_context
from tests.fixtures.gateway import static
from tests.listeners.wire import (
    Upstream,
    dialled,
    head,
    read_answer,
    said,
)
from tests.listeners.worker import GatewayWorker, open_worker
from tests.net.peers import Peer, TlsPeer

PAYLOAD = b"SSH-2.0-OpenSSH_9.2\r\n\r\nCONNECT x HTTP/1.1\r\n\r\n\x00\xff"


@pytest.mark.line(1)
def test_a_request_split_at_any_byte_reaches_the_shell_as_exactly_its_payload(
    worker: GatewayWorker, upstream: Upstream
) -> None:
    request = head("app01-ssh:22", worker.auth) + PAYLOAD
    for cut in range(1, len(request)):
        with dialled(worker.port) as client:
            client.send(request[:cut])
            worker.wait_until_read(client)
            client.send(request[cut:])
            client.half_close()
            assert read_answer(client).status == 200
            with contextlib.closing(upstream.accept()) as far:
                assert far.read_to_end() == PAYLOAD, f"cut at {cut}"


@pytest.mark.line(1)
def test_a_request_that_comes_byte_by_byte_reaches_the_shell_as_exactly_its_payload(
    worker: GatewayWorker, upstream: Upstream
) -> None:
    with dialled(worker.port) as client:
        for byte in head("app01-ssh:22", worker.auth) + PAYLOAD:
            client.send(bytes([byte]))
            worker.wait_until_read(client)
        client.half_close()
        assert read_answer(client).status == 200
        with contextlib.closing(upstream.accept()) as far:
            assert far.read_to_end() == PAYLOAD


@pytest.mark.line(2)
@pytest.mark.parametrize("size", [1, 21, 16 * 1024, 1024 * 1024])
def test_early_data_arrives_once_and_in_order(
    worker: GatewayWorker, upstream: Upstream, size: int
) -> None:
    early = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    with dialled(worker.port) as client:
        client.send(head("app01-ssh:22", worker.auth) + early[: size // 2])
        client.send(early[size // 2 :])  # may come before or after the 200
        assert read_answer(client).status == 200
        client.send(b"late")
        client.half_close()
        with contextlib.closing(upstream.accept()) as far:
            assert far.read_to_end() == early + b"late"


@pytest.mark.line(3, 26)
def test_http_1_0_without_host_gets_in(worker: GatewayWorker, upstream: Upstream) -> None:
    assert said(worker.port, head("app01-ssh:22", worker.auth, version="1.0")).status == 200


@pytest.mark.line(4)
@pytest.mark.parametrize("host", ["127.0.0.1:8022", "app02-ssh:22", "", "evil.example"])
def test_nothing_is_decided_on_host(worker: GatewayWorker, upstream: Upstream, host: str) -> None:
    request = f"CONNECT app01-ssh:22 HTTP/1.1\r\nHost: {host}\r\n{worker.auth}\r\n\r\n".encode()
    assert said(worker.port, request).status == 200
    upstream.accept()
    refused = f"CONNECT evil.example:22 HTTP/1.1\r\nHost: app01-ssh:22\r\n{worker.auth}\r\n\r\n"
    assert said(worker.port, refused.encode()).status == 403
    assert not upstream.dialled()


@pytest.mark.line(5)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_200_has_no_length_and_names_the_session(
    worker: GatewayWorker, upstream: Upstream, version: str
) -> None:
    answer = said(worker.port, head("app01-ssh:22", worker.auth, version=version))
    assert answer.status == 200
    assert not answer.all("Content-Length")
    assert not answer.all("Transfer-Encoding")
    upstream.accept().close()
    session = answer.one("Stagedoor-Session")
    assert worker.line(lambda line: line.get("session") == session)["identity"] == "dev"


@pytest.mark.line(6)
@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(head("app01-ssh:22"), id="no credential"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="no CONNECT"),
        pytest.param(head("evil.example:22"), id="no target"),
    ],
)
def test_what_follows_a_refused_request_is_never_parsed(
    worker: GatewayWorker, upstream: Upstream, request_: bytes
) -> None:
    before = len(worker.lines)
    answer = said(worker.port, request_ + head("app01-ssh:22", worker.auth) + PAYLOAD)
    assert 400 <= answer.status < 500
    assert answer.one("Content-Type") == "text/plain; charset=utf-8"
    assert answer.one("Connection") == "close"
    assert answer.one("Content-Length") == str(len(answer.body))
    assert answer.body.endswith(b"\n")
    assert answer.body.count(b"\n") == 1
    assert answer.message
    worker.empty()
    assert [line["outcome"] for line in worker.lines[before:]] == ["denied"]
    assert not upstream.dialled()


@pytest.mark.line(6)
def test_a_second_request_behind_one_that_is_let_in_is_the_shells_not_ours(
    worker: GatewayWorker, upstream: Upstream
) -> None:
    second = head("closed-ssh:22", worker.auth)
    with dialled(worker.port) as client:
        client.send(head("app01-ssh:22", worker.auth) + second)
        assert read_answer(client).status == 200
        with contextlib.closing(upstream.accept()) as far:
            assert far.read_exactly(len(second)) == second


@pytest.mark.line(7)
def test_100_continue_is_never_sent(worker: GatewayWorker, upstream: Upstream) -> None:
    request = head("app01-ssh:22", worker.auth, "Expect: 100-continue")
    assert said(worker.port, request).line.startswith("HTTP/1.1 200 ")


@pytest.mark.line(8, 9)
@pytest.mark.parametrize(
    "fields",
    [
        "Content-Length: 4",
        "Transfer-Encoding: chunked",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Content-Length: 0\r\nContent-Length: 0",
        "X: a\rb",
        "X: a\x00b",
        "X: a\r\n folded",
        "X : a",
        "no colon",
    ],
)
def test_a_body_and_an_ill_formed_field_get_400(
    worker: GatewayWorker, upstream: Upstream, fields: str
) -> None:
    answer = said(worker.port, head("app01-ssh:22", worker.auth, fields))
    assert answer.status == 400
    assert not upstream.dialled()


@pytest.mark.line(9, 10)
@pytest.mark.parametrize(
    "line",
    [
        "connect app01-ssh:22 HTTP/1.1",
        "CONNECT\tapp01-ssh:22\tHTTP/1.1",
        "CONNECT  app01-ssh:22 HTTP/1.1",
        "CONNECT app01-ssh:22  HTTP/1.1",
        "CONNECT app01-ssh:22",
        "CONNECT app01-ssh:22 HTTP/0.9",
        "CONNECT app01-ssh:22 HTTP/1.2",
        "CONNECT app01-ssh:22 HTTP/2.0",
        "CONNECT app01-ssh:22 HTTP/1.1 ",
        " CONNECT app01-ssh:22 HTTP/1.1",
    ],
)
def test_an_ill_formed_request_line_gets_400(
    worker: GatewayWorker, upstream: Upstream, line: str
) -> None:
    request = f"{line}\r\nHost: app01-ssh:22\r\n{worker.auth}\r\n\r\n".encode()
    assert said(worker.port, request).status == 400
    assert not upstream.dialled()


@pytest.mark.line(10)
def test_lf_alone_ends_the_request_line_and_no_other(
    worker: GatewayWorker, upstream: Upstream
) -> None:
    corkscrew = f"CONNECT app01-ssh:22 HTTP/1.0\n{worker.auth}\r\n\r\n".encode()
    assert said(worker.port, corkscrew).status == 200
    upstream.accept()
    everywhere = head("app01-ssh:22", worker.auth).replace(b"\r\n", b"\n")
    assert said(worker.port, everywhere).status == 400
    assert not upstream.dialled()


@pytest.mark.line(11)
@pytest.mark.parametrize("fields", [["X: " + "a" * 8192], ["X: a"] * 64, ["X: " + "a" * 1000] * 9])
def test_a_header_too_large_gets_431(
    worker: GatewayWorker, upstream: Upstream, fields: list[str]
) -> None:
    assert said(worker.port, head("app01-ssh:22", worker.auth, *fields)).status == 431
    assert not upstream.dialled()


@pytest.mark.line(11)
def test_a_line_without_end_gets_431_and_is_not_kept(
    worker: GatewayWorker, upstream: Upstream
) -> None:
    with dialled(worker.port) as client:
        with contextlib.suppress(ConnectionError):  # it may be cut while we still write
            for _ in range(100):
                client.send(b"CONNECT " + b"a" * 65536)
        with contextlib.suppress(ConnectionError):
            assert read_answer(client).status == 431
    worker.empty()
    assert worker.lines[-1]["reason"] == "header_too_large"


STRANGERS = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "ssh": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "PROXY v1": b"PROXY TCP4 10.0.0.1 10.0.0.2 1000 22\r\n",
    "PROXY v2": b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12),
    "SOCKS 5": b"\x05\x01\x00",
    "rubbish": b"\x00\xff\xfe",
}


@pytest.mark.line(13)
@pytest.mark.parametrize("name", STRANGERS)
def test_another_protocol_gets_400_at_once_and_causes_no_dial(
    worker: GatewayWorker, upstream: Upstream, name: str
) -> None:
    with dialled(worker.port) as client:
        client.send(STRANGERS[name])  # and no more: waiting for it would end in 408
        answer = read_answer(client)
    assert answer.status == 400
    assert not upstream.dialled()


@pytest.mark.line(13, 14)
def test_a_proxy_line_from_a_source_that_is_not_trusted_lets_no_client_in(
    worker: GatewayWorker, upstream: Upstream
) -> None:
    line = b"PROXY TCP4 10.0.0.1 10.0.0.2 1000 22\r\n"
    answer = said(worker.port, line + head("app01-ssh:22", worker.auth))
    assert answer.status == 400
    assert "PROXY" in answer.message
    assert not upstream.dialled()


# Workers of their own: a deadline that a test can wait for, and a load balancer in front.


@pytest.mark.line(12)
def test_bytes_that_drip_in_do_not_extend_the_deadline(tmp_path: Path) -> None:
    drips = (head("app01-ssh:22") + b"X: a\r\n") * 100
    with open_worker(tmp_path, "", ClientLimits(header_timeout_s=0.5)) as worker:
        with dialled(worker.port) as client:
            client.sock.settimeout(0.02)
            answer = b""
            for byte in b"CONNECT app01-ssh:22 HTTP/1.1\r\nX: " + b"a" * len(drips):
                client.send(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    answer = client.read(12)
                    break
            assert answer == b"HTTP/1.1 408"
        with dialled(worker.port) as client:  # who says nothing at all gets the same
            assert read_answer(client).status == 408


@pytest.mark.line(12)
def test_a_tls_handshake_counts_against_the_deadline(tmp_path: Path, certificate: Path) -> None:
    settings = (
        f'[tunnel]\ncertificate_file = "{certificate}"\n'
        f'key_file = "{certificate.with_suffix(".key")}"\n'
    )
    limits = ClientLimits(header_timeout_s=0.3)
    with open_worker(tmp_path, settings, limits) as worker, dialled(worker.tls_port) as client:
        client.send(b"\x16\x03\x01")
        with contextlib.suppress(ConnectionResetError):
            client.read_to_end()
        worker.empty()
        assert worker.lines[-1]["reason"] == "header_timeout"


def v1(source: str) -> bytes:
    return f"PROXY TCP4 {source} 10.0.0.2 40000 22\r\n".encode()


def v2(source: str) -> bytes:
    octets = bytes(int(part) for part in source.split("."))
    extension = b"\x04\x00\x03abc"  # PP2_TYPE_NOOP: to be passed over
    body = octets + bytes(4) + struct.pack("!HH", 40000, 22) + extension
    return b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + struct.pack("!H", len(body)) + body


@pytest.fixture
def behind(shell: Upstream, certificate: Path, tmp_path: Path) -> Iterator[GatewayWorker]:
    """A worker behind a load balancer at 127.0.0.1; 127.0.0.2 is a source like any other."""
    settings = (
        f'[tunnel]\ncertificate_file = "{certificate}"\n'
        f'key_file = "{certificate.with_suffix(".key")}"\n'
        '[listen]\nproxy_protocol_from = ["127.0.0.1/32"]\n' + static("app01", shell.port)
    )
    with open_worker(tmp_path, settings) as worker:
        yield worker


@pytest.mark.line(14)
@pytest.mark.parametrize("header", [v1, v2])
@pytest.mark.parametrize("fused", [True, False])
def test_a_proxy_header_is_read_to_its_last_byte_and_no_further(
    behind: GatewayWorker, upstream: Upstream, header: Callable[[str], bytes], fused: bool
) -> None:
    sent = header("10.1.2.3") + head("app01-ssh:22", behind.auth) + PAYLOAD
    with dialled(behind.port) as client:
        pieces = [sent] if fused else [bytes([byte]) for byte in sent]
        for piece in pieces:
            client.send(piece)
            if not fused:
                behind.wait_until_read(client)
        client.half_close()
        answer = read_answer(client)
        assert answer.status == 200
        with contextlib.closing(upstream.accept()) as far:
            assert far.read_to_end() == PAYLOAD
    session = answer.one("Stagedoor-Session")
    assert behind.line(lambda line: line.get("session") == session)["source"] == "10.1.2.3:40000"


@pytest.mark.line(14, 38)
@pytest.mark.parametrize("header", [v1, v2])
def test_a_proxy_header_comes_before_tls_in_one_piece_with_it(
    behind: GatewayWorker, upstream: Upstream, certificate: Path, header: Callable[[str], bytes]
) -> None:
    with dialled(behind.tls_port) as plain:
        client = TlsPeer(plain.sock, make_client_context(certificate))
        with contextlib.suppress(ssl.SSLWantReadError):
            client.tls.do_handshake()
        plain.send(header("10.1.2.3") + client._out.read())
        client.handshake()
        client.send(head("app01-ssh:22", behind.auth) + PAYLOAD)
        answer = read_answer(client)
        assert answer.status == 200
        with contextlib.closing(upstream.accept()) as far:
            assert far.read_exactly(len(PAYLOAD)) == PAYLOAD
        client.half_close()
    session = answer.one("Stagedoor-Session")
    assert behind.line(lambda line: line.get("session") == session)["source"] == "10.1.2.3:40000"


@pytest.mark.line(14)
def test_the_address_that_a_load_balancer_names_is_judged_like_any_other(
    behind: GatewayWorker, upstream: Upstream
) -> None:
    answer = said(behind.port, v2("203.0.113.9") + head("app01-ssh:22", behind.auth))
    assert answer.status == 403
    assert "203.0.113.9" in answer.message
    assert not upstream.dialled()


@pytest.mark.line(14)
@pytest.mark.parametrize("header", [v1, v2])
def test_only_the_load_balancer_may_say_who_is_behind_it(
    behind: GatewayWorker, upstream: Upstream, header: Callable[[str], bytes]
) -> None:
    request = head("app01-ssh:22", behind.auth)
    forged = header("10.1.2.3") + request
    assert said(behind.port, forged, source="127.0.0.2").status == 400
    assert said(behind.port, request, source="127.0.0.1").status == 400, "it must send one"
    assert not upstream.dialled()
    assert said(behind.port, request, source="127.0.0.2").status == 200


def test_a_developer_who_hangs_up_at_any_byte_leaves_nothing_behind(
    worker: GatewayWorker, upstream: Upstream
) -> None:
    before = len(worker.lines)
    request = head("app01-ssh:22", worker.auth)
    for cut in range(0, len(request), 7):
        for leave in (Peer.close, Peer.reset):
            with dialled(worker.port) as client:
                client.send(request[:cut])
                leave(client)
    worker.empty()
    assert not [line for line in worker.lines[before:] if line.get("reason") == "header_timeout"]
    assert not upstream.dialled()
