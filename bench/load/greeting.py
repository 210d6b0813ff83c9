"""What the downstream asks the upstream for: its first 16 bytes."""

import struct

_FORM = struct.Struct("!8sQ")
SIZE = _FORM.size

SINK = b"sink"  # take `count` bytes, then answer one
FLOW = b"flow"  # send `count` bytes
ECHO = b"echo"  # answer one byte, then send back what comes
HOLD = b"hold"  # answer one byte, then keep still
READY = b"ready"  # answer one byte, then await the next greeting


def greet(what: bytes, count: int = 0) -> bytes:
    return _FORM.pack(what, count)


def understand(greeting: bytes) -> tuple[bytes, int]:
    what, count = _FORM.unpack(greeting)
    return what.rstrip(b"\0"), count
