"""Fuzz target: frames of the terminal protocol. Any bytes are a frame or one error, whole or in pieces."""

from stagedoor.wire.terminal.codec import FrameBuffer, decode, encode
from stagedoor.wire.terminal.frames import TerminalError

MAX_BYTES = 4096


def check(received: bytes) -> None:
    try:
        frame = decode(received)
    except TerminalError:
        pass
    else:
        assert encode(frame) == received
    whole, split = FrameBuffer(), FrameBuffer()
    try:
        expected = whole.feed(received)
    except TerminalError:
        return
    found = [frame for at in range(len(received)) for frame in split.feed(received[at : at + 1])]
    assert found == expected
