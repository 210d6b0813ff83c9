"""The wait for the streams of tunnels, by edge-triggered epoll(7)."""

import select
from contextlib import suppress

from stagedoor.relay.tunnel import Direction

# The events of a descriptor.
READ = select.EPOLLIN
URGENT = select.EPOLLPRI
WRITE = select.EPOLLOUT
FAILED = select.EPOLLERR
HANG_UP = select.EPOLLHUP
PEER_SHUTDOWN = select.EPOLLRDHUP
"""The peer sent its end."""

_SOURCE = READ | URGENT | PEER_SHUTDOWN | select.EPOLLET
_BATCH = 256


class Poller:
    """An epoll descriptor for one thread. A watched descriptor is forgotten when it is closed.

    Each descriptor is registered once, not for each event. A sink is watched for being writable only after it
    has first blocked, so a tunnel that never blocks causes no such events.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, fd: int) -> None:
        """Watch `fd` for input and errors."""
        with suppress(FileExistsError):  # `watch_sink` has already added it
            self._epoll.register(fd, _SOURCE)

    def watch_sink(self, direction: Direction) -> None:
        """Watch the blocked sink of `direction` for being writable, too."""
        if direction.is_armed:
            return
        direction.is_armed = True
        fd = direction.twin.source_fd
        # EPOLL_CTL_MOD checks again, so a sink that has become writable is reported (epoll_ctl(2)).
        try:
            self._epoll.modify(fd, _SOURCE | WRITE)
        except FileNotFoundError:
            # The thread that starts the tunnel has so far added only the other descriptor.
            self.add(fd)
            self._epoll.modify(fd, _SOURCE | WRITE)

    def wait(self, timeout_s: float | None) -> list[tuple[int, int]]:
        """Return descriptors with their events, after `timeout_s` at most (None: no limit)."""
        return self._epoll.poll(timeout_s, _BATCH)

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()
