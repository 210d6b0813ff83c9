"""Connections that have not logged in yet: how many may there be, and who has to go? Pure.

sshd(8) MaxStartups drops the newcomer at random, so that a flood locks everybody out. Here the
same dice are thrown, but one of those who wait already goes, and of the source that has the most of
them: a flood from one network drops its own, and a newcomer has a chance.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from stagedoor.settings.startups import StartupLimits

Key = TypeVar("Key")


class Startups(Generic[Key]):
    """Who waits, by source. `roll` gives a number from 0 up to but not 1."""

    def __init__(self, limits: StartupLimits, roll: Callable[[], float]) -> None:
        self._limits = limits
        self._roll = roll
        self._by_source: dict[str, list[Key]] = {}
        self._source_of: dict[Key, str] = {}

    def __len__(self) -> int:
        return len(self._source_of)

    def come(self, key: Key, source: str) -> Key | None:
        """`key` waits from now on; who has to go for it, None if nobody."""
        victim = self._victim() if self._full() else None
        if victim is not None:
            self.go(victim)
        self._by_source.setdefault(source, []).append(key)
        self._source_of[key] = source
        return victim

    def go(self, key: Key) -> None:
        """`key` waits no longer: it has logged in, or left. Harmless if it did not wait."""
        source = self._source_of.pop(key, None)
        if source is None:
            return
        waiting = self._by_source[source]
        waiting.remove(key)
        if not waiting:
            del self._by_source[source]

    def _full(self) -> bool:
        limits, waiting = self._limits, len(self)
        if waiting < limits.start:
            return False
        if waiting >= limits.full:
            return True
        grown = (waiting - limits.start) / (limits.full - limits.start)
        return self._roll() * 100 < limits.rate + (100 - limits.rate) * grown

    def _victim(self) -> Key:
        most = max(self._by_source.values(), key=len)
        return most[int(self._roll() * len(most))]
