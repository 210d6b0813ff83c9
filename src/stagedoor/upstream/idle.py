"""The timer that ends what has moved no byte for too long."""

import asyncio
from collections.abc import Callable


class IdleTimer:
    """A timer that calls `on_idle` once `moved` was not called for `timeout_s` seconds; None: never.

    It checks the time of the last move, so that a move costs no timer. `on_idle` gets the time-out.
    """

    def __init__(self, timeout_s: float | None, on_idle: Callable[[float], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._on_idle = on_idle
        self._moved_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to count."""
        self.moved()
        if self._timeout_s is not None:
            self._check(self._timeout_s)

    def moved(self) -> None:
        """Begin the time again."""
        self._moved_at = self._loop.time()

    def cancel(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _check(self, timeout_s: float) -> None:
        left_s = self._moved_at + timeout_s - self._loop.time()
        if left_s <= 0:
            self._on_idle(timeout_s)
        else:
            self._timer = self._loop.call_later(left_s, self._check, timeout_s)
