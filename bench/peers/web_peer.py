"""A web terminal that others make: what the benchmarks need to know of its page."""

import os
import shutil
from dataclasses import dataclass

from peers import MissingError
from peers.process import Process, program

FOLDER = "STAGEDOOR_BENCH_PEERS"
"""The environment variable that names a folder of programs, which is searched before PATH."""
ROWS = "[...document.querySelectorAll('.xterm-rows > div')].map(row => row.textContent)"
"""JavaScript: the rows that xterm.js shows, by its DOM renderer."""
TITLE = "\\033]0;%s\\007"
"""For printf(1): a title."""


@dataclass(frozen=True)
class WebPeer:
    """`port` answers its page, at `path` with the terminal's name, and its WebSocket.

    `what` says what it does for a session. `rows` and `title` are JavaScript: the terminal's rows, and
    where it shows what a program in it prints by `says`, which is for printf(1).
    """

    process: Process
    port: int
    version: str
    what: str
    path: str = "/"
    rows: str = ROWS
    title: str = "document.title"
    says: str = TITLE


def found(name: str, package: str) -> str:
    """The program. Raises MissingError, which names the package that has it."""
    path = shutil.which(name, path=os.environ.get(FOLDER, "")) or program(name)
    if path is None:
        raise MissingError(f"it is not installed ({package}; {FOLDER} may name its folder)")
    return path
