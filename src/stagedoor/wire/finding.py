"""What was found when something was looked at: whether it is well, and what mends it.

Standard library only, Python 3.8 or later: it is part of the one-file client.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Tuple  # noqa: UP035

from stagedoor.wire.oneline import folded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Level(str, Enum):  # noqa: UP042
    OK = "ok"
    WARN = "warn"
    """It works, and will be a problem."""
    FAIL = "fail"

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Finding:
    """`what` is one line without a secret; `fix` is what mends it, "" where nothing has to be.

    What a server said may stand in them, so that what no terminal should be told is taken out.
    """

    level: Level
    what: str
    fix: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", folded(self.what))
        object.__setattr__(self, "fix", folded(self.fix))


Result = Tuple[str, Finding]  # noqa: UP006
"""A check's name and what it found."""


def result_row(result: Result) -> dict[str, str]:
    """For JSON."""
    name, found = result
    return {"check": name, "level": str(found.level), "what": found.what, "fix": found.fix}


def result_text(result: Result) -> str:
    """For a terminal: one line, and one more with what mends it."""
    name, found = result
    line = f"{str(found.level).upper():<5} {name}: {found.what}\n"
    return line if found.level is Level.OK or not found.fix else f"{line}      {found.fix}\n"


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
