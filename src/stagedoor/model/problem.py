"""What does not work at the moment, told once however often it is tried again."""

from collections.abc import Callable
from contextlib import suppress


class Problem:
    """`now` is the problem in one line, None while there is none; `tell` gets each that is another."""

    def __init__(self, tell: Callable[[str | None], None]) -> None:
        self.now: str | None = None
        self._tell = tell

    def become(self, problem: str | None) -> None:
        if problem != self.now:
            self.now = problem
            with suppress(Exception):  # one that cannot be told must not become a worse one
                self._tell(problem)
