"""The wait for the ends of tunnels, by epoll(7), edge-triggered."""

import select
from contextlib import suppress

from stagedoor.relay.tunnel import Direction

# The events of a descriptor.
READ = select.EPOLLIN
URGENT = select.EPOLLPRI
WRITE = select.EPOLLOUT
FAILED = select.EPOLLERR
HANG_UP = select.EPOLLHUP
LAST = select.EPOLLRDHUP
"""The peer sent its end."""

_SOURCE = READ | URGENT | LAST | select.EPOLLET
_BATCH = 256


class Poller:
    """An epoll descriptor for one thread. A watched descriptor is forgotten when it is closed.

    There is one registration for a tunnel's life, none for each event. A sink is watched for being writable
    from the first time that it blocks, so that a tunnel that never blocks causes no event for it.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, fd: int) -> None:
        """Watch `fd` for all that may come from it."""
        with suppress(FileExistsError):  # `watch_sink` was faster
            self._epoll.register(fd, _SOURCE)

    def watch_sink(self, direction: Direction) -> None:
        """Watch the sink of `direction`, which blocks, for room as well."""
        if direction.armed:
            return
        direction.armed = True
        fd = direction.twin.source_fd
        # Changing it looks again: a sink that takes more by now is reported (epoll_ctl(2)).
        try:
            self._epoll.modify(fd, _SOURCE | WRITE)
        except (
            FileNotFoundError
        ):  # the thread that starts the tunnel has added only the other end yet
            self.add(fd)
            self._epoll.modify(fd, _SOURCE | WRITE)

    def wait(self, timeout_s: float | None) -> list[tuple[int, int]]:
        """Return descriptors with their events, after `timeout_s` at most (None: no limit)."""
        return self._epoll.poll(timeout_s, _BATCH)

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()
