"""Ports that a test has to name before somebody listens on them."""

import contextlib
import random
import socket
from pathlib import Path

_HANDED_OUT: set[int] = set()


def free_port() -> int:
    """A port on which nobody listens, at any address.

    One that the kernel picked and that was given back, the kernel may give to the next who asks or
    connects. So this one lies below those that it picks from, and is given out once.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(first // 3, first)
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            if port not in _HANDED_OUT:
                _HANDED_OUT.add(port)
                return port
