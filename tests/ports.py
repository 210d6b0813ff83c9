"""Ports that a test has to name before somebody listens on them."""

import contextlib
import random
import socket
from pathlib import Path

FIRST_NODE_PORT = 30000
"""From here on the test cluster's node gives ports to services, without listening on them."""

_held: list[int] = []
"""Of each port that was given out its name as a socket's descriptor, which is closed when this process ends:
the tests of another process get another port, though nobody listens yet."""


def free_port() -> int:
    """A port on which nobody listens, at any address.

    One that the kernel picked and that was given back, the kernel may give to the next who asks or
    connects. So this one lies below those that it picks from, and is given out once on this machine.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(first // 3, min(first, FIRST_NODE_PORT))
        name = socket.socket(socket.AF_UNIX)
        # The name first: its holder may be about to listen, and is not to find us there for a moment.
        with contextlib.suppress(OSError):
            name.bind(f"\0stagedoor-tests-port-{port}")  # unix(7): abstract, and free when we end
            socket.create_server(("", port)).close()
            _held.append(name.detach())
            return port
        name.close()
