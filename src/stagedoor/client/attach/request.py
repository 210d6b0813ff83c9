"""The request of a `stagedoor attach` command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stagedoor.laptop.tunnel.options import Options

FAILED = 255
"""The exit code of a failure, as in ssh: few programs exit with it themselves."""


@dataclass(frozen=True)
class AttachRequest:
    """The checked options of a command line.

    `path` is the prefix of the gateway's paths: "", or such as `/stagedoor`. `log` writes a line to the log.
    With a `session`, that session is watched, and `target` is only shown. `utf8` is True if this terminal
    uses UTF-8. `is_shared` is True for a terminal that others may use too, which does not end with piped
    input.
    """

    target: str
    options: Options
    path: str
    log: Callable[[str], None]
    record: Callable[[bytes], None] | None = None
    session: str = ""
    utf8: bool = True
    is_shared: bool = False
