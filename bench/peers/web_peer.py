"""A web terminal of another project, with the facts about its page that the benchmarks need."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from peers import MissingError
from peers.process import Process, program

FOLDER = "STAGEDOOR_BENCH_PEERS"
"""The environment variable that names a folder of programs, which is searched before PATH."""
ROWS = "[...document.querySelectorAll('.xterm-rows > div')].map(row => row.textContent)"
"""JavaScript for the rows that xterm.js shows, by its DOM renderer."""
BUFFER = """((term) => Array.from({{ length: term.rows }}, (_, row) =>
  term.buffer.active.getLine(term.buffer.active.viewportY + row)?.translateToString(true) ?? ''))({})"""
"""JavaScript for the rows of a terminal that draws on a canvas: its buffer, up to a frame too early."""
TITLE = "\\033]0;%s\\007"
"""A title, for printf(1)."""


@dataclass(frozen=True)
class WebPeer:
    """A running web terminal with its page, at `path` with the terminal's name, and its WebSocket on `port`.

    `what` describes its work for a session. `rows` and `title` are JavaScript: the terminal's rows, and the
    place that shows a text that a program prints by `says`, a format of printf(1). `sign_in` is JavaScript
    too, for a page with a sign-in. `more` returns the pids of separate processes of its terminals.
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


def find_program(name: str, package: str) -> str:
    """Return the path of a program. Raises MissingError, which names the package that has it."""
    path = shutil.which(name, path=os.environ.get(FOLDER, "")) or program(name)
    if path is None:
        raise MissingError(f"it is not installed ({package}; {FOLDER} may name its folder)")
    return path
