"""An epoll in which a descriptor may also be watched for no events at all.

epoll(7) reports a hang-up whatever events are requested. So a descriptor without requested events is taken
out of it, and put back later.
"""

import select
from collections.abc import Callable
from dataclasses import dataclass

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

Call = Callable[[bool, bool], None]
"""A callback, called with whether the descriptor is readable and whether it is writable."""


@dataclass(slots=True)
class _Watch:
    call: Call
    events: int


class EventPoller:
    """A set of descriptors, each with its callback."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watches: dict[int, _Watch] = {}

    def add(self, fd: int, call: Call, events: int = READ) -> None:
        """Watch a descriptor for `events`."""
        self._watches[fd] = _Watch(call, 0)
        self.change_events(fd, events)

    def change_events(self, fd: int, events: int) -> None:
        """Change the events for which `fd` is watched. Do nothing if it is not watched."""
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
        """Stop watching `fd`. Call this before `fd` is closed, since another could get its number."""
        self.change_events(fd, 0)
        self._watches.pop(fd, None)

    def wait(self, timeout_s: float | None) -> None:
        """Wait up to `timeout_s` for events (None: without a limit), and call their callbacks."""
        for fd, events in self._epoll.poll(timeout_s):
            watch = self._watches.get(fd)
            if watch is not None:
                # Reading detects an error or a hang-up.
                watch.call(bool(events & ~WRITE), bool(events & WRITE))
