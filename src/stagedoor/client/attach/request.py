"""What `stagedoor attach` is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stagedoor.client import tunnel

FAILED = 255
"""As ssh: the program's own exit codes are from 0 to 254, as a rule."""


@dataclass(frozen=True)
class AttachRequest:
    """What was asked for on the command line. `path` is what the gateway's own paths stand below, empty
    or `/stagedoor`; `log` writes a line for somebody who looks for a fault. With a `session`, that one is
    watched, and `target` is not asked for. `utf8` says whether this terminal takes UTF-8. `stays` is of a
    terminal that is not for us alone: it does not end with what is piped in."""

    target: str
    options: tunnel.Options
    path: str
    log: Callable[[str], None]
    record: Callable[[bytes], None] | None = None
    session: str = ""
    utf8: bool = True
    stays: bool = False
