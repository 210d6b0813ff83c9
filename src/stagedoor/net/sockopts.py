"""The options of every TCP socket that a tunnel runs over."""

import socket
from functools import cache

IDLE_S, INTERVAL_S, PROBES = 60, 30, 8
"""Probes of a silent peer (tcp(7)): the first after a minute, which is less than the memory of middleboxes.
After five minutes without an answer the peer is considered dead."""
USER_TIMEOUT_S = 300
"""The longest that bytes may stay unacknowledged (TCP_USER_TIMEOUT); the kernel alone allows some 15 minutes.
Since Linux 5.11 it counts for a peer that is alive but reads nothing (an ssh stopped by Ctrl-Z while output
waits), hence five minutes and not one."""


def tune(sock: socket.socket) -> None:
    """Set the options. Raises OSError.

    Accepted sockets inherit them from the listening socket (Linux, the BSDs), so it is enough to set
    them there.
    """
    for level, option, value in _options():
        sock.setsockopt(level, option, value)


@cache
def _options() -> tuple[tuple[int, int, int], ...]:
    """Return the level, option and value of each option that this system has."""
    by_name: dict[str, int] = {
        # A keystroke must not wait for the last one's acknowledgement (Nagle, RFC 896).
        "TCP_NODELAY": 1,
        "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE": IDLE_S,
        "TCP_KEEPINTVL": INTERVAL_S,
        "TCP_KEEPCNT": PROBES,
        "TCP_USER_TIMEOUT": USER_TIMEOUT_S * 1000,
    }
    return (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *(
            (socket.IPPROTO_TCP, getattr(socket, name), value)
            for name, value in by_name.items()
            if hasattr(socket, name)
        ),
    )
