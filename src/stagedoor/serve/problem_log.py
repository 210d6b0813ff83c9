"""Logs failures of parts, each problem once, however often the part tries again."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


class ProblemLog:
    """A callable, for any thread, that logs why a part fails and when it works again (None)."""

    def __init__(self, log: "FilteringBoundLogger") -> None:
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
