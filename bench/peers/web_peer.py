"""A web terminal that others make: what the benchmarks need to know of its page."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from peers import MissingError
from peers.process import Process, program

FOLDER = "STAGEDOOR_BENCH_PEERS"
"""The environment variable that names a folder of programs, which is searched before PATH."""
ROWS = "[...document.querySelectorAll('.xterm-rows > div')].map(row => row.textContent)"
"""JavaScript: the rows that xterm.js shows, by its DOM renderer."""
BUFFER = """((term) => Array.from({{ length: term.rows }}, (_, row) =>
  term.buffer.active.getLine(term.buffer.active.viewportY + row)?.translateToString(true) ?? ''))({})"""
"""The same of a terminal, for one that draws on a canvas: what it is about to draw, up to a frame early."""
TITLE = "\\033]0;%s\\007"
"""For printf(1): a title."""


@dataclass(frozen=True)
class WebPeer:
    """`port` answers its page, at `path` with the terminal's name, and its WebSocket.

    `what` says what it does for a session. `rows` and `title` are JavaScript: the terminal's rows, and
    where it shows what a program in it prints by `says`, which is for printf(1). `sign_in` is JavaScript
    too, for a page that asks who is there. `more` finds what is a process of its own for a terminal.
    """

    process: Process
    port: int
    version: str
    what: str
    path: str = "/"
    rows: str = ROWS
    title: str = "document.title"
    says: str = TITLE
    sign_in: str = ""
    more: Callable[[], list[int]] = list


def found(name: str, package: str) -> str:
    """The program. Raises MissingError, which names the package that has it."""
    path = shutil.which(name, path=os.environ.get(FOLDER, "")) or program(name)
    if path is None:
        raise MissingError(f"it is not installed ({package}; {FOLDER} may name its folder)")
    return path
