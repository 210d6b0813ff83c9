"""Connections that have not logged in yet: how many there may be, and which has to go. Pure.

sshd(8) MaxStartups drops the newcomer at random, so that a flood locks everybody out. Here the
same dice are thrown, but one of those that wait already goes, and of the source that has the most of
them: a flood from one network drops its own, and a newcomer has a chance.
"""

from collections.abc import Callable
from typing import TypeVar

from stagedoor.model.fair_queue import FairQueue
from stagedoor.settings.startups import StartupLimits

Key = TypeVar("Key")


class Startups(FairQueue[Key]):
    """Connections by source. `roll` returns a number from 0 up to but not 1."""

    def __init__(self, limits: StartupLimits, roll: Callable[[], float]) -> None:
        super().__init__()
        self._limits = limits
        self._roll = roll

    def enter(self, key: Key, source: str) -> Key | None:
        """Let `key` wait, and return the connection that has to go for it, or None."""
        fullest = self.fullest()
        victim: Key | None = None
        if fullest is not None and self._costs_a_place():
            keys = self.of_source(fullest)
            victim = keys[int(self._roll() * len(keys))]
            self.remove(victim)
        self.add(key, source)
        return victim

    def _costs_a_place(self) -> bool:
        limits, waiting = self._limits, len(self)
        if waiting < limits.start:
            return False
        if waiting >= limits.full:
            return True
        grown = (waiting - limits.start) / (limits.full - limits.start)
        return self._roll() * 100 < limits.rate + (100 - limits.rate) * grown
