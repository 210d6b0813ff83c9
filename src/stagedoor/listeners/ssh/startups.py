"""The limit on connections that have not logged in yet, and the choice of the one to drop. Pure.

sshd(8) MaxStartups drops new connections at random, so a flood locks all users out. Here the
probability is the same, but a waiting connection is dropped, of the source that has the most of
them: a flood from one network drops its own connections, and other clients have a chance.
"""

from collections.abc import Callable
from typing import TypeVar

from stagedoor.model.fair_queue import FairQueue
from stagedoor.settings.listeners import StartupLimits

Key = TypeVar("Key")


class Startups(FairQueue[Key]):
    """The waiting connections by source. `roll` returns a random number in [0, 1)."""

    def __init__(self, limits: StartupLimits, roll: Callable[[], float]) -> None:
        super().__init__()
        self._limits = limits
        self._roll = roll

    def enter(self, key: Key, source: str) -> Key | None:
        """Let `key` wait, and return the connection that must make room for it, or None."""
        fullest = self.fullest()
        victim: Key | None = None
        if fullest is not None and self._must_drop():
            keys = self.of_source(fullest)
            victim = keys[int(self._roll() * len(keys))]
            self.remove(victim)
        self.add(key, source)
        return victim

    def _must_drop(self) -> bool:
        limits, waiting = self._limits, len(self)
        if waiting < limits.start:
            return False
        if waiting >= limits.full:
            return True
        grown = (waiting - limits.start) / (limits.full - limits.start)
        return self._roll() * 100 < limits.rate + (100 - limits.rate) * grown
