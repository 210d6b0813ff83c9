"""Peers that send whatever they like: both ends refuse the same, and sanitizers watch the one in C."""

import random

import pytest

from stagedoor.wire.tunnel.frames import (
    ACK,
    DATA,
    END,
    FIN,
    HELLO,
    MAX_NUMBER,
    OPEN,
    PING,
    PONG,
    encode,
)
from stagedoor.wire.tunnel.stream import WINDOW
from tests.tunnel.ends import KitEnd, PythonEnd, State

ROUNDS = 400


def some_frame(chance: random.Random, received: int, sent: int) -> bytes:
    number = chance.choice(
        (0, 1, received, received + 1, sent, sent + 1, MAX_NUMBER, MAX_NUMBER + 1, 2**64 - 1)
    )
    body = chance.randbytes(chance.choice((0, 1, 1, 5, 32, 64, 500, 501, 65536, 65537)))
    kind = chance.choice((OPEN, HELLO, DATA, DATA, DATA, FIN, ACK, ACK, PING, PONG, END, 0, 9, 255))
    if chance.random() < 0.7:  # a frame that is well-formed
        body = {HELLO: b"\x01", DATA: body or b"x", END: body[:500], OPEN: bytes(32)}.get(kind, b"")
        if kind == DATA:
            number = received
    return encode(kind, number, body)


def mutated(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        at = chance.randrange(len(changed))
        match chance.randrange(3):
            case 0:
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                changed[at:at] = chance.randbytes(chance.randrange(10))
            case 2:
                del changed[at + 1 : at + chance.randrange(20)]
    return bytes(changed)


@pytest.mark.continuity(16)
@pytest.mark.parametrize("seed", range(4))
def test_both_refuse_the_same_and_are_left_in_the_same_state(kit_end: KitEnd, seed: int) -> None:
    chance = random.Random(seed)
    ends = (PythonEnd(), kit_end)
    faults = 0
    for _ in range(ROUNDS):
        for end in ends:
            end.new(watches=False)
            end.take(b"these bytes were sent")
        now = received = 0
        for _ in range(chance.randrange(1, 4)):
            for end in ends:
                end.cut()
                end.connect(now)
            stream = encode(HELLO, 0, b"\x01") if chance.random() < 0.8 else b""
            for _ in range(chance.randrange(1, 12)):
                frame = some_frame(chance, received, 21)
                received += max(0, len(frame) - 13) if frame[0] == DATA else 0
                stream += mutated(chance, frame)
            while stream:
                piece = chance.choice((1, 7, 4096, len(stream)))
                now += chance.choice((0, 1, 400, 6000))
                verdicts = [end.receive(now, stream[:piece]) for end in ends]
                assert verdicts[0] == verdicts[1]
                if not verdicts[0]:
                    faults += 1
                    break
                stream = stream[piece:]
                assert alike(ends, now)
                if chance.random() < 0.3:
                    assert ends[0].output(now, 10**6) == ends[1].output(now, 10**6)
                if chance.random() < 0.2:
                    assert ends[0].deliver(now, 500) == ends[1].deliver(now, 500)
            received -= min(received, chance.choice((0, 0, received)))
    assert faults > ROUNDS / 4


def alike(ends: tuple[PythonEnd, KitEnd], now: int) -> State:
    first, second = (end.state(now) for end in ends)
    assert first == second
    return first


@pytest.mark.continuity(16)
def test_pings_that_are_not_read_cost_no_memory() -> None:
    end = PythonEnd()
    end.connect(0)
    end.receive(0, encode(HELLO, 0, b"\x01"))
    end.output(0, 10)
    for number in range(10_000):
        assert end.receive(0, encode(PING, number))
    assert len(end.output(0, 10**6)) < 64


@pytest.mark.continuity(10)
def test_the_window_bounds_what_is_kept() -> None:
    end = PythonEnd()
    end.connect(0)
    end.receive(0, encode(HELLO, 0, b"\x01"))
    at = 0
    while end.receive(0, encode(DATA, at, bytes(65536))):
        at += 65536
    assert at == WINDOW
    assert len(end.deliver(0, 2 * WINDOW)) == WINDOW
