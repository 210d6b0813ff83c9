"""Two ways to wait for the ends: epoll, edge-triggered, and whatever else the machine has."""

import select
import selectors
from contextlib import suppress
from typing import Protocol

from stagedoor.relay.state import Stage
from stagedoor.relay.tunnel import Direction

# What an event says, in epoll's numbers (a part of Linux's ABI), so that they need no translation.
READ = 0x001
URGENT = 0x002
WRITE = 0x004
FAILED = 0x008
HANG_UP = 0x010
LAST = 0x2000
"""The peer sent its end (EPOLLRDHUP)."""

_EDGE = 1 << 31
_BATCH = 256


class Poller(Protocol):
    """Watches descriptors for one thread.

    `settle` is called after a direction was worked, when it is blocked or when `level` is True: from
    then on the poller must report when a blocked sink takes more or an unblocked source has more.
    """

    level: bool

    def add(self, fd: int) -> None:
        """Watch a descriptor for what comes."""

    def settle(self, direction: Direction) -> None:
        """Watch the ends of a direction for what they wait for now."""

    def remove(self, fd: int) -> None:
        """Forget a descriptor that is about to be closed."""

    def wait(self, timeout_s: float | None) -> list[tuple[int, int]]:
        """Return descriptors with their events, after `timeout_s` at most (None: no limit)."""
        ...

    def close(self) -> None:
        """Release what the poller itself has open."""


class EdgePoller:
    """epoll(7), edge-triggered: one registration for a tunnel's life, none for each event.

    A sink is watched for being writable from the first time that it blocks, so that an idle tunnel
    and one that never blocks cause no event for it.
    """

    level = False

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, fd: int) -> None:
        """Register `fd` for all that may come from it, once for its life."""
        with suppress(FileExistsError):  # `settle` was faster
            self._epoll.register(fd, READ | URGENT | LAST | _EDGE)

    def settle(self, direction: Direction) -> None:
        """Watch a sink that blocks for the first time for room as well."""
        if direction.blocked and not direction.armed:
            direction.armed = True
            fd, events = direction.twin.source_fd, READ | URGENT | LAST | WRITE | _EDGE
            # Changing it looks again: a sink that takes more by now is reported (epoll_ctl(2)).
            try:
                self._epoll.modify(fd, events)
            except (
                FileNotFoundError
            ):  # the thread that starts the tunnel has added only the other end yet
                self.add(fd)
                self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Do nothing: close(2), which follows at once, removes it (epoll(7), Q6)."""

    def wait(self, timeout_s: float | None) -> list[tuple[int, int]]:
        """Return what epoll_wait(2) reports."""
        return self._epoll.poll(timeout_s, _BATCH)

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()


class LevelPoller:
    """The machine's own selector, level-triggered: each descriptor is watched for what it lacks."""

    level = True

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, fd: int) -> None:
        """Watch `fd` for what can be read."""
        self._selector.register(fd, selectors.EVENT_READ)

    def settle(self, direction: Direction) -> None:
        """Watch both ends for what they lack now."""
        self._watch(direction)
        self._watch(direction.twin)

    def _watch(self, direction: Direction) -> None:
        """Watch the direction's source, which is its twin's sink."""
        fd = direction.source_fd
        if fd < 0:  # it has gone already
            return
        wanted = 0
        if direction.stage is Stage.OPEN and not direction.blocked:
            wanted |= selectors.EVENT_READ
        if direction.twin.blocked:
            wanted |= selectors.EVENT_WRITE
        key = self._selector.get_map().get(fd)
        if key is None:
            if wanted:
                self._selector.register(fd, wanted)
        elif not wanted:
            self._selector.unregister(fd)
        elif key.events != wanted:
            self._selector.modify(fd, wanted)

    def remove(self, fd: int) -> None:
        """Forget `fd`, if it is watched."""
        if self._selector.get_map().get(fd) is not None:
            self._selector.unregister(fd)

    def wait(self, timeout_s: float | None) -> list[tuple[int, int]]:
        """Return what select finds, with epoll's numbers."""
        return [
            (
                key.fd,
                (READ if events & selectors.EVENT_READ else 0)
                | (WRITE if events & selectors.EVENT_WRITE else 0),
            )
            for key, events in self._selector.select(timeout_s)
        ]

    def close(self) -> None:
        """Close the selector."""
        self._selector.close()


def open_poller() -> Poller:
    """Return a poller of the best kind that this machine has."""
    return EdgePoller() if hasattr(select, "epoll") else LevelPoller()
