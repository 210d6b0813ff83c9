"""A load of round trips of one byte, as a terminal's keystrokes and their echo."""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

from load.greeting import ECHO, greet
from load.tunnel import TIMEOUT_S, LoadError, expect_mark, open_tunnel
from peers import Door


@contextlib.contextmanager
def terminal(door: Door) -> Iterator[socket.socket]:
    """Open a tunnel whose upstream echoes. Raises LoadError."""
    with open_tunnel(door) as sock:
        sock.sendall(greet(ECHO))
        expect_mark(sock)
        # The kernel's timeout, since Python's would cost a poll() in each direction of each trip.
        limit = struct.pack("ll", int(TIMEOUT_S), 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        sock.settimeout(None)
        yield sock


def keystrokes(sock: socket.socket, count: int) -> list[float]:
    """Return the seconds of each of `count` round trips. Raises LoadError."""
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        sock.send(b"k")
        try:
            read = sock.recv(1)
        except BlockingIOError:
            raise LoadError(f"a keystroke did not come back within {TIMEOUT_S:.0f} s") from None
        times.append(time.perf_counter() - begin)
        if not read:
            raise LoadError("hung up between two keystrokes")
    return times
