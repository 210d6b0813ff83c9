"""The request of a `stagedoor attach` command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stagedoor.laptop.tunnel.options import Options

FAILED = 255
"""The exit code of a failure, as ssh's: programs' own exit codes are usually from 0 to 254."""


@dataclass(frozen=True)
class AttachRequest:
    """The checked options of a command line.

    `path` is the prefix of the gateway's own paths, empty or such as `/stagedoor`. `log` writes a line for
    troubleshooting. With a `session`, that session is watched and `target` is not requested. `utf8` is True
    if this terminal takes UTF-8. `stays` is True for a shared terminal, which does not end with piped input.
    """

    target: str
    options: Options
    path: str
    log: Callable[[str], None]
    record: Callable[[bytes], None] | None = None
    session: str = ""
    utf8: bool = True
    stays: bool = False
