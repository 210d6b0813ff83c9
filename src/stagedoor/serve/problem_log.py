"""The logging of parts that fail: each problem is logged once, however often the part tries again."""

from typing import Protocol


class Log(Protocol):
    """The methods of a structlog logger that are used here."""

    def info(self, event: str, /, *, part: str) -> object:
        """Log that a part works again."""

    def error(self, event: str, /, *, part: str, reason: str) -> object:
        """Log that a part fails."""


class ProblemLog:
    """A callable that logs why a part fails, and that it works again (None). Use it from any thread."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._now: dict[str, str] = {}

    def __call__(self, part: str, problem: str | None) -> None:
        """Log a change of a part's problem; None means that the part works."""
        if problem == self._now.get(part):
            return
        if problem is None:
            self._now.pop(part, None)
            self._log.info("works again", part=part)
        else:
            self._now[part] = problem
            self._log.error("fails", part=part, reason=problem)
