"""A lasting problem, which is reported once however often the operation is retried."""

from collections.abc import Callable
from contextlib import suppress


class ProblemState:
    """The problem of an operation that is retried.

    `now` is the problem in one line, None while there is none. `notify` is called with each new value.
    """

    def __init__(self, notify: Callable[[str | None], None]) -> None:
        self.now: str | None = None
        self._notify = notify

    def update(self, problem: str | None) -> None:
        """Set the current problem, None for none, and report it if it has changed."""
        if problem != self.now:
            self.now = problem
            with suppress(Exception):  # a failed report must not cause a worse problem
                self._notify(problem)
