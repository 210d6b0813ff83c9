"""Frames of resumable tunnels: any bytes leave an end in one state, whole or in pieces, or are one fault."""

from stagedoor.wire.tunnel.frames import StreamError
from stagedoor.wire.tunnel.stream import WINDOW, TunnelStream

MAX_BYTES = 4096


def state_after(pieces: list[bytes]) -> tuple[object, ...]:
    stream = TunnelStream(watches=True)
    stream.take(b"sent")
    stream.connect(0.0)
    fault = ""
    try:
        for piece in pieces:
            stream.receive(piece, 1.0)
            if stream.is_greeted:
                stream.note_sent(len(stream.peek_output(1.0)))
    except StreamError as error:
        fault = str(error)
    assert len(stream.deliverable) <= WINDOW
    assert 0 <= stream.unacknowledged <= 4
    return fault, bytes(stream.deliverable), stream.ended, stream.is_greeted


def check(received: bytes) -> None:
    split = [received[at : at + 1] for at in range(len(received))]
    whole = state_after([received])
    if not whole[0]:
        # What is written in between can be acknowledged, so the split stream has no other fault.
        assert state_after(split) == whole
