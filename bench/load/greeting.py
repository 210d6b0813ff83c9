"""The greeting: the downstream's first 16 bytes, with a request to the upstream."""

import struct

_FORM = struct.Struct("!8sQ")
SIZE = _FORM.size

SINK = b"sink"  # read `count` bytes, then answer one
FLOW = b"flow"  # send `count` bytes
ECHO = b"echo"  # answer one byte, then echo
HOLD = b"hold"  # answer one byte, then stay silent
READY = b"ready"  # answer one byte, then wait for the next greeting


def greet(what: bytes, count: int = 0) -> bytes:
    """Return a greeting."""
    return _FORM.pack(what, count)


def understand(greeting: bytes) -> tuple[bytes, int]:
    """Return the request of a greeting and its count."""
    what, count = _FORM.unpack(greeting)
    return what.rstrip(b"\0"), count
