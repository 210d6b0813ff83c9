"""The client's half of a WebSocket, held to the websockets library as the other half."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.frames import Opcode as Theirs
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from stagedoor.wire.websocket import (
    Message,
    Opcode,
    Reader,
    WebSocketError,
    frame,
    opened,
    opening,
)

NONCE = bytes(range(16))
PROTOCOL = "stagedoor.terminal.v1"
LIMIT = 70_000


def server(received: bytes) -> ServerProtocol:
    """The library's server, when it has taken our opening and answered it."""
    found = ServerProtocol(subprotocols=[PROTOCOL])  # type: ignore[list-item]
    found.receive_data(received)
    (request,) = found.events_received()
    assert isinstance(request, Request)
    found.send_response(found.accept(request))
    return found


def answer_of(server: ServerProtocol) -> tuple[int, dict[str, str]]:
    head, *lines = b"".join(server.data_to_send()).decode().split("\r\n\r\n")[0].split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    return int(head.split()[1]), fields


def test_the_librarys_server_takes_our_opening_and_we_take_its_answer() -> None:
    found = server(opening("app01.shell.example.com", "/terminal", NONCE, PROTOCOL))
    assert found.state is State.OPEN
    opened(*answer_of(found), NONCE, PROTOCOL)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sec-websocket-accept": "AAAA"}, "does not know"),
        ({"sec-websocket-protocol": ""}, "too old"),
        ({"sec-websocket-extensions": "permessage-deflate"}, "extension"),
    ],
)
def test_another_answer_is_refused(change: dict[str, str], why: str) -> None:
    status, fields = answer_of(server(opening("h", "/", NONCE, PROTOCOL)))
    with pytest.raises(WebSocketError, match=why):
        opened(status, fields | change, NONCE, PROTOCOL)
    with pytest.raises(WebSocketError, match="answers 403"):
        opened(403, fields, NONCE, PROTOCOL)


@pytest.mark.parametrize("size", [0, 1, 3, 125, 126, 127, 65_535, 65_536, 65_600])
def test_the_librarys_server_reads_what_we_frame(size: int) -> None:
    found = server(opening("h", "/", NONCE, PROTOCOL))
    data = os.urandom(size)
    found.receive_data(frame(Opcode.BINARY, data, os.urandom(4)))
    (read,) = found.events_received()
    assert isinstance(read, Frame)
    assert (read.opcode, bytes(read.data)) == (Theirs.BINARY, data)


@given(st.lists(st.binary(max_size=300), max_size=6), st.data())
def test_we_read_what_the_librarys_server_sends_however_it_is_cut(
    sent: list[bytes], data: st.DataObject
) -> None:
    found = server(opening("h", "/", NONCE, PROTOCOL))
    found.data_to_send()
    for each in sent:
        found.send_binary(each[: len(each) // 2], fin=False)
        found.send_ping(b"?")
        found.send_continuation(each[len(each) // 2 :], fin=True)
    stream = b"".join(found.data_to_send())
    reader, read, at = Reader(LIMIT), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, 90))
        read += reader.feed(stream[at : at + step])
        at += step
    assert [each.data for each in read if each.opcode is Opcode.BINARY] == sent
    assert read.count(Message(Opcode.PING, b"?")) == len(sent)


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_one_error_whole_or_in_pieces(received: bytes) -> None:
    def read(*pieces: bytes) -> list[Message] | str:
        reader, found = Reader(100), []
        try:
            for piece in pieces:
                found += reader.feed(piece)
        except WebSocketError as error:
            return str(error)
        return found

    assert read(received) == read(*(received[i : i + 1] for i in range(len(received))))


@pytest.mark.parametrize(
    ("received", "why"),
    [
        (b"\xc2\x00", "extension"),
        (b"\x82\x80", "masked"),
        (b"\x83\x00", "unknown kind"),
        (b"\x09\x00", "control frame"),
        (b"\x89\x7e\x00\x7e", "control frame"),
        (b"\x80\x00", "out of order"),
        (b"\x02\x01x\x82\x01y", "out of order"),
        (b"\x82\x7f" + (LIMIT + 1).to_bytes(8, "big"), "more than"),
        (b"\x02\x7e\xff\xff" + bytes(65_535) + b"\x80\x7e\xff\xff", "more than"),
    ],
)
def test_what_breaks_the_protocol_is_refused_at_once(received: bytes, why: str) -> None:
    with pytest.raises(WebSocketError, match=why):
        Reader(LIMIT).feed(received)


def test_pieces_without_end_cost_nothing_each() -> None:
    """Each was kept, and all were counted again for the next: a hundred thousand took minutes."""
    reader = Reader(LIMIT)
    began = time.monotonic()
    assert reader.feed(Frame(Theirs.BINARY, b"", fin=False).serialize(mask=False)) == []
    piece = Frame(Theirs.CONT, b"x", fin=False).serialize(mask=False)
    assert reader.feed(piece * (LIMIT - 1)) == []
    assert time.monotonic() - began < 10
    (message,) = reader.feed(Frame(Theirs.CONT, b"", fin=True).serialize(mask=False))
    assert len(message.data) == LIMIT - 1
    with pytest.raises(WebSocketError):
        reader.feed(
            Frame(Theirs.BINARY, b"", fin=False).serialize(mask=False) + piece * (LIMIT + 1)
        )
