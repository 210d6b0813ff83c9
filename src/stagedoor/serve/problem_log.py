"""What does not work at the moment, in the log: each trouble once, however often it is tried again."""

from typing import Protocol


class Log(Protocol):
    """What is needed of a structlog logger."""

    def info(self, event: str, /, *, part: str) -> object: ...

    def error(self, event: str, /, *, part: str, reason: str) -> object: ...


class ProblemLog:
    """Called with a part and why it fails, or None when it works again. Any thread."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._now: dict[str, str] = {}

    def __call__(self, part: str, problem: str | None) -> None:
        if problem == self._now.get(part):
            return
        if problem is None:
            self._now.pop(part, None)
            self._log.info("works again", part=part)
        else:
            self._now[part] = problem
            self._log.error("fails", part=part, reason=problem)
