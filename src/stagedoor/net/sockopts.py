"""The options of every TCP socket that a tunnel runs over."""

import socket
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The limits after which a peer is considered dead.

    They are set as TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT and TCP_USER_TIMEOUT, tcp(7). Probes start
    after `idle_s` of silence; 60 s is shorter than the memory of middleboxes. `probes` of them are
    sent, one every `interval_s`; together with `idle_s` that takes five minutes. Bytes may stay
    unacknowledged for `user_timeout_s`; where the system supports it, this limit also decides for the
    probes. Since Linux 5.11 it counts for a peer that is alive but reads nothing (an ssh stopped by
    Ctrl-Z while output waits), hence five minutes and not one. None leaves it to the kernel: about 15
    minutes for data in flight.
    """

    idle_s: int = 60
    interval_s: int = 30
    probes: int = 8
    user_timeout_s: float | None = 300.0


DEFAULT = KeepAlive()


def apply(sock: socket.socket, keep_alive: KeepAlive) -> None:
    """Set the options. Raises OSError.

    Accepted sockets inherit them from the listening socket (Linux, the BSDs), so it is enough to set
    them there.
    """
    for level, option, value in _options(keep_alive):
        sock.setsockopt(level, option, value)


@cache
def _options(keep_alive: KeepAlive) -> tuple[tuple[int, int, int], ...]:
    """Return the level, option and value of each option that this system has."""
    timeout_s = keep_alive.user_timeout_s
    by_name: dict[str, int] = {
        # A keystroke must not wait for the last one's acknowledgement (Nagle, RFC 896).
        "TCP_NODELAY": 1,
        "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE": keep_alive.idle_s,
        "TCP_KEEPINTVL": keep_alive.interval_s,
        "TCP_KEEPCNT": keep_alive.probes,
    }
    if timeout_s is not None:
        by_name["TCP_USER_TIMEOUT"] = int(timeout_s * 1000)
    return (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *(
            (socket.IPPROTO_TCP, getattr(socket, name), value)
            for name, value in by_name.items()
            if hasattr(socket, name)
        ),
    )
