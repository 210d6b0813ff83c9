"""The time until vim, in tmux, obeys Escape."""

import contextlib
import subprocess
from pathlib import Path

from benchmarks.web_stage import Programs
from columns import Column, Table
from load.tunnel import LoadError
from load.web_browser import Page, tmuxed
from peers import MissingError, web_gateway
from peers.process import StartError, program
from series import percentile
from stage import Stage
from web_subjects import BROWSER

TABLE = Table(
    "web_escape",
    "Escape in vim under tmux",
    "terminal",
    (Column("p50", "ms", 0), Column("p95", "ms", 0)),
)
CASE = "from Escape until INSERT is gone"
VIM = "vim -u NONE -N -i NONE -n -c 'set showmode ttimeout ttimeoutlen=0'"
"""vim does not wait for a further byte itself, so that only the terminal and its tmux are measured."""


def run(stage: Stage, programs: Programs) -> None:
    """Measure each page, with the tmux that a person gets in it."""
    for needed in ("vim", "tmux"):
        if program(needed) is None:
            stage.note(f"web_escape is left out: {needed} is not installed")
            return
    for name in programs.browsers():
        stage.report(f"web_escape: {name}")
        with stage.tolerating("web_escape", name), contextlib.ExitStack() as stack:
            page = (
                _ours(stage, programs, stack) if name == BROWSER else _others(programs, name, stack)
            )
            _take(stage, name, page)


def _take(stage: Stage, name: str, page: Page) -> None:
    count = 3 if stage.quick else 20
    page.show()
    page.run(VIM)
    page.until(f"{page.rows}.some(row => row.startsWith('~'))")
    times = [page.escape_s() for _ in range(count)]
    for column in TABLE.columns:
        value = percentile(times, float(column.measure[1:])) * 1e3
        stage.result.take("web_escape", CASE, name, column.measure, "ms", value)


def _ours(stage: Stage, programs: Programs, stack: contextlib.ExitStack) -> Page:
    """Open a terminal as our page does by default, in tmux. Raises LoadError."""
    assert programs.chromium is not None, "it is a subject"
    try:
        gateway = web_gateway.start(stage.new_folder("escape"), tmux=True)
    except (MissingError, StartError) as error:
        raise LoadError(str(error)) from None
    stack.callback(gateway.stop)
    page = tmuxed(programs.chromium, gateway, "escape")
    stack.callback(page.close)
    return page


def _others(programs: Programs, name: str, stack: contextlib.ExitStack) -> Page:
    """Open another page's terminal and start Debian's tmux in it, as a person would."""
    page = programs.page(name, "escape")
    assert page is not None, "it is a subject"
    stack.callback(page.close)
    label = "stagedoor-bench-" + Path(name.partition(",")[0]).name
    stack.callback(
        lambda: subprocess.run(
            ["tmux", "-L", label, "kill-server"], capture_output=True, check=False
        )
    )
    page.run(f"clear; TERM=xterm-256color tmux -u -L {label} -f /dev/null")
    page.until(f"{page.rows}.some(row => row.startsWith('[0] '))")
    return page
