"""Large messages of a terminal are compressed for clients that offer it (RFC 7692)."""

import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import CloseCode, Frame, Opcode

from stagedoor.listeners.web.terminal.relay import MAX_MESSAGES, SLOW_FOR_S, SLOW_S, LineRate
from stagedoor.listeners.web.websocket import MIN_BYTES, Compression, DeflateExtension
from stagedoor.wire.terminal.frames import MAX_FRAME_BYTES
from tests.fixtures.gateway import Gateway
from tests.fixtures.terminal import BOUND_S, WebTerminal, ticket

ALONE = (True, True, 15, 15)


MESSAGES = st.binary(max_size=3 * MIN_BYTES) | st.just(b"a line\r\n" * MIN_BYTES)


@given(st.lists(st.tuples(MESSAGES, st.booleans())))
def test_every_message_arrives_as_it_was_and_short_ones_go_as_they_are(
    sent: list[tuple[bytes, bool]],
) -> None:
    compression = Compression()
    ours = DeflateExtension(compression, *ALONE, {"level": 1})
    theirs = PerMessageDeflate(*ALONE)
    for data, compression.on in sent:
        frame = ours.encode(Frame(Opcode.BINARY, data))
        assert frame.rsv1 == (compression.on and len(data) >= MIN_BYTES)
        assert len(frame.data) <= len(data) + 16
        assert bytes(theirs.decode(frame).data) == data
        assert not hasattr(ours, "encoder"), "nothing is kept from one message to the next"


def test_a_line_is_slow_for_a_while_once_an_answer_was_late_and_until_one_was_not() -> None:
    rate, at = LineRate(), 0
    for now, took, slow in (
        (0.0, None, True),
        (1.0, SLOW_S / 2, False),
        (2.0, SLOW_S * 2, True),
        (3.0, SLOW_S / 2, True),
        (3.0 + SLOW_FOR_S, SLOW_S / 2, False),
    ):
        if took is not None:
            rate.note_sent(at + MIN_BYTES, MIN_BYTES, now)
            rate.note_sent(at + MIN_BYTES + 1, 1, now)  # what is short says nothing
            at += MIN_BYTES + 1
            rate.note_acknowledged(at, now + took)
        assert rate.is_slow == slow, (now, took)


@pytest.mark.parametrize("size", [1, MIN_BYTES])
def test_of_one_who_acknowledges_nothing_little_is_kept(size: int) -> None:
    rate = LineRate()
    for number in range(4 * MAX_MESSAGES):
        rate.note_sent(number * size, size, 0.0)
    assert len(rate._sent) <= MAX_MESSAGES
    rate.note_acknowledged(4 * MAX_MESSAGES * size, SLOW_S / 2)
    assert not rate._sent


def test_a_terminal_is_the_same_with_and_without(gateway: Gateway, port: int) -> None:
    seen = []
    for name, compression in (("plain", None), ("packed", "deflate")):
        client = (
            WebTerminal(port)
            .open(compression=compression)
            .hello(ticket(port), "stty -onlcr; seq 9000", terminal=name)
        )
        client.until(lambda client=client: client.exit)
        assert client.socket is not None
        assert bool(client.socket.protocol.extensions) == (compression is not None)
        seen.append(bytes(client.output))
        client.close()
    assert seen == ["".join(f"{number}\n" for number in range(1, 9001)).encode()] * 2


@pytest.mark.parametrize("times", [2, 1000])
def test_a_message_that_is_too_large_once_it_is_unpacked_ends_the_line(
    gateway: Gateway, port: int, times: int
) -> None:
    client = WebTerminal(port).open(compression="deflate")
    assert client.socket is not None
    packed = len(zlib.compress(bytes(times * MAX_FRAME_BYTES)))
    assert packed < 2 * MAX_FRAME_BYTES, "it is small on the line"
    with suppress(ConnectionClosed):
        client.socket.send(bytes(times * MAX_FRAME_BYTES))
    while not client.ended:
        client.read(BOUND_S)
    assert client.socket.close_code == CloseCode.MESSAGE_TOO_BIG
    client.close()
