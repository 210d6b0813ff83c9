"""Connections that have not said yet what they want: each for a while, and not too many at once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

TurnAway = Callable[[bool], None]
"""Closes a connection; told whether that is for want of room, and not for its lateness."""


@dataclass(slots=True)
class Anteroom:
    """Of one event loop. `most` connections at once, `patience_s` seconds each.

    Honest ones need little of both. When one more comes, the oldest has had the most time and goes.
    """

    patience_s: float
    most: int
    _waiting: dict[int, tuple[TurnAway, asyncio.TimerHandle]] = field(default_factory=dict)
    _count: int = 0

    def enter(self, turn_away: TurnAway) -> int:
        """Begin to wait; the number is for `leave`. `turn_away` is called once at most."""
        while len(self._waiting) >= self.most:
            self._turn_away(next(iter(self._waiting)), crowded=True)
        self._count += 1
        number = self._count
        timer = asyncio.get_running_loop().call_later(self.patience_s, self._turn_away, number)
        self._waiting[number] = (turn_away, timer)
        return number

    def leave(self, number: int) -> None:
        """It has said what it wants, or is gone. May be called again."""
        found = self._waiting.pop(number, None)
        if found is not None:
            found[1].cancel()

    def _turn_away(self, number: int, crowded: bool = False) -> None:
        turn_away, timer = self._waiting.pop(number)
        timer.cancel()
        turn_away(crowded)
