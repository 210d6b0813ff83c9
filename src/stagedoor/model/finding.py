"""What was found when something was looked at: whether it is well, and what mends it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    """It works, and will be a problem."""
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` is one line without a secret; `fix` is what mends it, "" where nothing has to be."""

    level: Level
    what: str
    fix: str = ""


def ok(what: str) -> Finding:
    return Finding(Level.OK, what)


def warn(what: str, fix: str) -> Finding:
    return Finding(Level.WARN, what, fix)


def fail(what: str, fix: str) -> Finding:
    return Finding(Level.FAIL, what, fix)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 where all is well, 1 for warnings, 2 for failures."""
    levels = {finding.level for finding in findings}
    return 2 if Level.FAIL in levels else 1 if Level.WARN in levels else 0
