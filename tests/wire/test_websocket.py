"""The client's half of a WebSocket, held to the websockets library as the other half."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from stagedoor.client.attach.web import WebSocket, WebSocketError

PROTOCOL = "stagedoor.terminal.v2"
LIMIT = 70_000


def client(max_bytes: int = LIMIT) -> WebSocket:
    return WebSocket("app01.shell.example.com", 443, "/terminal", PROTOCOL, max_bytes)


def server(received: bytes) -> ServerProtocol:
    """The library's server, when it has taken our opening and answered it."""
    protocol = ServerProtocol(subprotocols=[PROTOCOL])  # type: ignore[list-item]
    protocol.receive_data(received)
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    assert request.path == "/terminal"
    assert request.headers["Host"] == "app01.shell.example.com"
    assert "Sec-WebSocket-Extensions" not in request.headers
    protocol.send_response(protocol.accept(request))
    return protocol


def both(max_bytes: int = LIMIT) -> tuple[WebSocket, ServerProtocol]:
    """A WebSocket that is open, and its other half."""
    ours = client(max_bytes)
    theirs = server(ours.take_unsent())
    assert theirs.state is State.OPEN
    assert not ours.is_open
    assert ours.feed(b"".join(theirs.data_to_send())) == []
    assert ours.is_open
    return ours, theirs


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("accept", "AAAA", "does not speak the WebSocket protocol"),
        ("protocol", "", "too old"),
        ("protocol", "tty", "not offered"),
        ("extensions", "permessage-deflate", "extension"),
    ],
)
def test_another_answer_is_refused(field: str, value: str, why: str) -> None:
    ours = client()
    head, *lines = b"".join(server(ours.take_unsent()).data_to_send()).decode().split("\r\n")
    name = f"Sec-WebSocket-{field.title()}"
    kept = [line for line in lines if not line.startswith(f"{name}:")]
    changed = [f"{name}: {value}"] if value else []
    with pytest.raises(WebSocketError, match=why):
        ours.feed("\r\n".join((head, *changed, *kept)).encode())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "answered 403"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak the WebSocket protocol"),
        (
            b"HTTP/1.1 101 \x1b]0;x\x07\r\nUpgrade: \x9b2J\r\n\r\n",
            "does not speak the WebSocket protocol",
        ),
    ],
)
def test_what_is_no_websocket_is_told_without_its_own_words(answer: bytes, why: str) -> None:
    with pytest.raises(WebSocketError, match=why) as error:
        client().feed(answer)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("size", [0, 1, 3, 125, 126, 127, 65_535, 65_536, 65_600])
def test_the_librarys_server_reads_what_we_frame(size: int) -> None:
    ours, theirs = both()
    data = os.urandom(size)
    ours.send(data)
    theirs.receive_data(ours.take_unsent())
    (read,) = theirs.events_received()
    assert isinstance(read, Frame)
    assert (read.opcode, bytes(read.data)) == (Opcode.BINARY, data)


@given(st.lists(st.binary(max_size=300), max_size=6), st.data())
def test_we_read_what_the_librarys_server_sends_however_it_is_cut(
    sent: list[bytes], data: st.DataObject
) -> None:
    ours, theirs = both()
    for frame in sent:
        theirs.send_binary(frame[: len(frame) // 2], fin=False)
        theirs.send_ping(b"?")
        theirs.send_continuation(frame[len(frame) // 2 :], fin=True)
    stream = b"".join(theirs.data_to_send())
    read: list[bytes] = []
    at = 0
    while at < len(stream):
        step = data.draw(st.integers(1, 90))
        read += ours.feed(stream[at : at + step])
        at += step
    assert read == sent
    theirs.receive_data(ours.take_unsent())
    pongs = theirs.events_received()
    assert [(pong.opcode, pong.data) for pong in pongs] == [(Opcode.PONG, b"?")] * len(sent)


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_one_error_whole_or_in_pieces(received: bytes) -> None:
    def read(*pieces: bytes) -> list[bytes] | str:
        ours, _ = both(100)
        events = []
        try:
            for piece in pieces:
                events += ours.feed(piece)
        except WebSocketError as error:
            return str(error)
        return events

    assert read(received) == read(*(received[i : i + 1] for i in range(len(received))))


@pytest.mark.parametrize(
    ("received", "why"),
    [
        (b"\xc2\x00", "reserved bits"),
        (b"\x82\x80", "masking"),
        (b"\x83\x00", "invalid opcode"),
        (b"\x09\x00", "control frame"),
        (b"\x89\x7e\x00\x7e" + bytes(126), "control frame"),
        (b"\x80\x00", "unexpected continuation"),
        (b"\x02\x01x\x82\x01y", "expected a continuation"),
        (b"\x88\x02\x03\xe8", "hung up"),
        (b"\x82\x7f" + (LIMIT + 1).to_bytes(8, "big"), "exceeds limit"),
        (b"\x02\x7e\xff\xff" + bytes(65_535) + b"\x80\x7e\xff\xff", "exceeds limit"),
    ],
)
def test_what_breaks_the_protocol_is_refused_at_once(received: bytes, why: str) -> None:
    ours, _ = both()
    with pytest.raises(WebSocketError, match=why):
        ours.feed(received)
    with pytest.raises(WebSocketError, match="closed"):
        ours.send(b"x")


def test_a_text_message_is_refused() -> None:
    ours, _ = both()
    with pytest.raises(WebSocketError, match="text message"):
        ours.feed(b"\x81\x01x")


def test_pieces_without_end_cost_nothing_each() -> None:
    """Each was kept, and all were counted again for the next: a hundred thousand took minutes."""
    ours, _ = both()
    began = time.monotonic()
    assert ours.feed(Frame(Opcode.BINARY, b"", fin=False).serialize(mask=False)) == []
    piece = Frame(Opcode.CONT, b"x", fin=False).serialize(mask=False)
    assert ours.feed(piece * (LIMIT - 1)) == []
    assert time.monotonic() - began < 10
    (message,) = ours.feed(Frame(Opcode.CONT, b"", fin=True).serialize(mask=False))
    assert len(message) == LIMIT - 1
    with pytest.raises(WebSocketError):
        ours.feed(Frame(Opcode.BINARY, b"", fin=False).serialize(mask=False) + piece * (LIMIT + 1))
