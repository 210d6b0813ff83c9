"""One epoll, in which a descriptor can also be watched for nothing.

epoll(7) reports a hang-up whatever was asked for, so a descriptor of which nothing is wanted for now
is taken out of it and put back later.
"""

import select
from collections.abc import Callable
from dataclasses import dataclass

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

Call = Callable[[bool, bool], None]
"""Called with whether there is something to read, and whether there is room to write."""


@dataclass(slots=True)
class _Watch:
    call: Call
    events: int


class EventPoller:
    """Descriptors, and what to call for each."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watches: dict[int, _Watch] = {}

    def add(self, fd: int, call: Call, events: int = READ) -> None:
        self._watches[fd] = _Watch(call, 0)
        self.want(fd, events)

    def want(self, fd: int, events: int) -> None:
        """Watch for these events from now on; nothing happens if `fd` is not watched."""
        watch = self._watches.get(fd)
        if watch is None or watch.events == events:
            return
        if events == 0:
            self._epoll.unregister(fd)
        elif watch.events == 0:
            self._epoll.register(fd, events)
        else:
            self._epoll.modify(fd, events)
        watch.events = events

    def remove(self, fd: int) -> None:
        """Call it before `fd` is closed, or another one could get its number."""
        self.want(fd, 0)
        self._watches.pop(fd, None)

    def wait(self, timeout_s: float | None) -> None:
        """Wait for something, or for so long (None: for ever), and call whom it concerns."""
        for fd, events in self._epoll.poll(timeout_s):
            watch = self._watches.get(fd)
            if watch is not None:
                # An error or a hang-up is found by reading.
                watch.call(bool(events & ~WRITE), bool(events & WRITE))
