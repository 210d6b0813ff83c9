"""The frames of a resumable tunnel, as bytes and back (docs/reference/tunnel-protocol.md).

A frame is a head (kind u8, number u64, length of the body u32, in network byte order) and its body. This
module is part of the one-file client: standard library only, Python 3.8 or later, and nothing that is slow
to import.
"""

from __future__ import annotations

from struct import Struct

VERSION = 1
"""The version in HELLO. A later version adds to HELLO's body, and both ends use the lower one."""
OPEN, HELLO, DATA, FIN, ACK, PING, PONG, END = range(1, 9)
HEAD = Struct("!BQI")
MAX_DATA_BYTES = 64 * 1024
MAX_NUMBER = 2**62
TICKET_BYTES = 32
MAX_END_BYTES = 500


_BODY_BYTES = {
    OPEN: (TICKET_BYTES, TICKET_BYTES),
    HELLO: (1, 64),
    DATA: (1, MAX_DATA_BYTES),
    FIN: (0, 0),
    ACK: (0, 0),
    PING: (0, 0),
    PONG: (0, 0),
    END: (0, MAX_END_BYTES),
}
"""The fewest and the most bytes in the body of each kind."""


class StreamError(ValueError):
    """Bytes that are no frame, or a frame that the state forbids. Its text is one line for the log."""


def encode(kind: int, number: int, body: bytes = b"") -> bytes:
    """Return the bytes of a frame."""
    return HEAD.pack(kind, number, len(body)) + body


def decode_head(head: bytearray) -> tuple[int, int, int]:
    """Return the kind, the number and the length of the body in a head of `HEAD.size` bytes.

    Raises StreamError if no frame can have this head.
    """
    kind, number, length = HEAD.unpack_from(head)
    if kind not in _BODY_BYTES:
        raise StreamError(f"an unknown frame, 0x{kind:02x}")
    if number > MAX_NUMBER:
        raise StreamError(f"a number of {number}; {MAX_NUMBER} is the last")
    fewest, most = _BODY_BYTES[kind]
    if not fewest <= length <= most:
        raise StreamError(f"frame 0x{kind:02x} with a body of {length} bytes")
    return kind, number, length
