"""The share of the web listener that an anonymous client can hold, and for how long."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from stagedoor.listeners.limits import ClientLimits
from stagedoor.listeners.web.bodies import BODY_S
from stagedoor.wire.terminal.codec import decode
from stagedoor.wire.terminal.frames import MAX_FRAME_BYTES, Notice
from tests.fixtures.gateway import Gateway
from tests.fixtures.terminal import BOUND_S, WebTerminal, basic, post, ticket
from tests.fixtures.worker import open_limited
from tests.web.conftest import SETTINGS

HEADER_S = 3.0
HURRIED = ClientLimits(header_timeout_s=HEADER_S, max_pending=8)


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with open_limited(tmp_path_factory.mktemp("hurried"), SETTINGS, HURRIED, "app01") as gateway:
        yield gateway


def line(gateway: Gateway) -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", gateway.port("web")), BOUND_S)
    opened.settimeout(BOUND_S)
    return opened


def source_of(connection: socket.socket) -> str:
    """Return the name in the gateway's log for a client at this end."""
    host, port = connection.getsockname()
    return f"{host}:{port}"


def drip(connection: socket.socket, data: bytes) -> tuple[bytes, float]:
    """Send it a byte at a time until the other side has had enough: its answer, and how long it took."""
    began = time.monotonic()
    connection.settimeout(0.1)
    for at in range(len(data)):
        with suppress(OSError):  # what it said before it hung up is still to be read
            connection.send(data[at : at + 1])
        try:
            return connection.recv(4096), time.monotonic() - began
        except TimeoutError:
            continue
        except OSError:
            break
    return b"", time.monotonic() - began


def test_a_header_that_drips_in_is_cut_off_and_written_down(hurried: Gateway) -> None:
    at = len(hurried.lines)
    with line(hurried) as slow:
        source = source_of(slow)
        answer, took_s = drip(slow, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"x" * 600)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert took_s < 20
    session = hurried.wait_for_session(source, after=at)
    assert (session["outcome"], session["reason"]) == ("denied", "header_timeout")
    assert session["way"] == "web"


def test_so_is_the_second_one_on_a_connection(hurried: Gateway) -> None:
    with line(hurried) as slow:
        slow.sendall(b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = slow.recv(65536)
        while b"</html>" not in answer:
            answer += slow.recv(65536)
        answer, _ = drip(slow, b"GET /sign-in HTTP/1.1\r\nX-Slow: " + b"x" * 600)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_drips_in_is_cut_off(hurried: Gateway) -> None:
    with line(hurried) as slow:
        head = b"POST /api/ticket HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n"
        slow.sendall(head)
        answer, took_s = drip(slow, b"{" + b" " * 600)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert BODY_S / 2 < took_s < 4 * BODY_S


EARLY = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
"""A request that is answered before its body."""


def test_a_body_that_is_complete_after_the_answer_leaves_the_connection_open(
    hurried: Gateway,
) -> None:
    with line(hurried) as early:
        early.sendall(EARLY)
        assert early.recv(65536).startswith(b"HTTP/1.1 4")
        early.sendall(b"xx")
        early.settimeout(HEADER_S + 1)
        with suppress(TimeoutError):
            while True:
                assert early.recv(65536), "it was closed"
        early.sendall(b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert early.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_is_never_complete_after_the_answer_is_cut_off_as_such(
    hurried: Gateway,
) -> None:
    at = len(hurried.lines)
    with line(hurried) as early:
        source = source_of(early)
        early.sendall(EARLY + b"x")
        while early.recv(65536):
            pass
    hurried.wait_for_session(source, after=at)
    texts = [str(record) for record in hurried.lines[at:] if record.get("source") == source]
    assert any(
        "the rest of the request's body was not complete after 3 s" in text for text in texts
    )


def test_one_who_says_nothing_is_closed_without_a_word(hurried: Gateway) -> None:
    at = len(hurried.lines)
    with line(hurried) as silent:
        source = source_of(silent)
        assert silent.recv(100) == b""
    assert not [record for record in hurried.lines[at:] if record.get("source") == source]


def test_a_websocket_that_says_no_hello_is_told_so_and_closed(hurried: Gateway) -> None:
    client = WebTerminal(hurried.port("web")).open()
    assert client.socket is not None
    frame = decode(client.socket.recv(BOUND_S))
    assert isinstance(frame, Notice)
    assert frame.text.startswith("no HELLO came within ")
    with pytest.raises(ConnectionClosed):
        client.socket.recv(BOUND_S)
    client.close()


def test_many_who_say_nothing_keep_nobody_out(hurried: Gateway) -> None:
    port = hurried.port("web")
    waiting = [line(hurried) for _ in range(40)]
    try:
        # Far more than there is room for, and all before the first of them is late.
        assert waiting[0].recv(100) == b""
        client = WebTerminal(port).hello(ticket(port), "printf he''re", terminal="crowd")
        client.shows(b"here")
        client.close()
    finally:
        for entry in waiting:
            entry.close()


def test_a_message_beyond_the_limit_ends_it_with_the_code_for_that(hurried: Gateway) -> None:
    port = hurried.port("web")
    for greeted in (False, True):
        # The ticket first: who has opened it has no longer for their hello than for a header.
        given = ticket(port)
        client = WebTerminal(port).open()
        if greeted:
            client.hello(given, terminal="big")
        assert client.socket is not None
        client.socket.send(b"\x02" + b"x" * MAX_FRAME_BYTES)
        while not client.ended:
            client.read(BOUND_S)
        assert client.socket.close_code == CloseCode.MESSAGE_TOO_BIG
        client.close()


def test_compression_keeps_nothing_from_one_message_to_the_next(hurried: Gateway) -> None:
    with line(hurried) as browser:
        browser.sendall(
            b"GET /terminal HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Protocol: stagedoor.terminal.v2\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += browser.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101 ")
    agreed = (
        b"permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        b"client_max_window_bits=10\r\n"
    )
    assert b"sec-websocket-extensions: " + agreed in answer.lower()


def test_an_open_terminal_is_not_bound_by_any_of_it(hurried: Gateway) -> None:
    port = hurried.port("web")
    client = WebTerminal(port).hello(ticket(port), "cat", terminal="stays")
    until = time.monotonic() + 2 * HEADER_S
    while time.monotonic() < until:
        assert post(port, "/api/ticket", b'{"target": "app01"}', basic())[0] == 200
        time.sleep(0.2)  # a few of them say as much as thousands
    client.type(b"still here\r")
    client.shows(b"still here")
    client.close()


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, SETTINGS.replace("[web]", "[web]\nsession_s = 0"))
    done = gateway.command("user", "list", check=False)
    assert done.returncode != 0
    assert "session_s" in done.stderr


@pytest.mark.parametrize("path", ["/api/ticket", "/api/terminals"])
@pytest.mark.parametrize(
    "body", [b"[" * 4000, b'{"a":' * 800, b"[]", b"7", b"\xff", b"", b'{"target": 1e999}']
)
def test_what_is_no_request_is_told_so_and_is_no_fault(
    hurried: Gateway, path: str, body: bytes
) -> None:
    at = len(hurried.lines)
    status, answer, _ = post(hurried.port("web"), path, body, basic())
    assert (status, answer["reason"]) == (400, "bad_request")
    assert not [line for line in hurried.lines[at:] if "exception" in line]
