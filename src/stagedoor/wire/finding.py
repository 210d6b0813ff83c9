"""Findings: the results of checks, with the remedy for a problem.

Standard library only, Python 3.8 or later: this module is part of the one-file client.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Tuple  # noqa: UP035

from stagedoor.wire.oneline import fold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Level(str, Enum):  # noqa: UP042
    """The severity of a finding."""

    OK = "ok"
    WARN = "warn"
    """It works now, but will become a problem."""
    FAIL = "fail"

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Finding:
    """A result of a check.

    `what` is one line without a secret; `fix` is the remedy, "" if none is needed. Both may quote a
    server, so characters that a terminal must not receive are removed.
    """

    level: Level
    what: str
    fix: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", fold(self.what))
        object.__setattr__(self, "fix", fold(self.fix))


Result = Tuple[str, Finding]  # noqa: UP006
"""The name of a check, and one of its findings."""


def render_row(result: Result) -> dict[str, str]:
    """Return a result as a row of JSON."""
    name, finding = result
    return {"check": name, "level": str(finding.level), "what": finding.what, "fix": finding.fix}


def render_text(result: Result, translate: Callable[[str], str] = str) -> str:
    """Return a result for a terminal: one line, and a second one with the remedy."""
    name, what, fix = (translate(text) for text in (result[0], result[1].what, result[1].fix))
    line = f"{str(result[1].level).upper():<5} {name}: {what}\n"
    return line if result[1].level is Level.OK or not fix else f"{line}      {fix}\n"


def ok(what: str) -> Finding:
    """Return a finding of level OK."""
    return Finding(Level.OK, what)


def warn(what: str, fix: str) -> Finding:
    """Return a warning and its remedy."""
    return Finding(Level.WARN, what, fix)


def fail(what: str, fix: str) -> Finding:
    """Return a failure and its remedy."""
    return Finding(Level.FAIL, what, fix)


def choose_exit_code(findings: Iterable[Finding]) -> int:
    """Return a command's exit status: 0 if all is well, 1 for warnings, 2 for failures."""
    levels = {finding.level for finding in findings}
    return 2 if Level.FAIL in levels else 1 if Level.WARN in levels else 0
