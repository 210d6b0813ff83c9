"""How long until vim, in tmux, obeys Escape?"""

import contextlib
import subprocess
from pathlib import Path

from benchmarks.web_stage import House
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
"""vim waits for no further byte itself: what is measured is the terminal, and the tmux in it."""


def run(stage: Stage, house: House) -> None:
    for needed in ("vim", "tmux"):
        if program(needed) is None:
            stage.note(f"web_escape is left out: {needed} is not installed")
            return
    for name in house.browsers():
        stage.tell(f"web_escape: {name}")
        with stage.tolerating("web_escape", name), contextlib.ExitStack() as stack:
            page = _ours(stage, house, stack) if name == BROWSER else _others(house, name, stack)
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


def _ours(stage: Stage, house: House, stack: contextlib.ExitStack) -> Page:
    """A terminal as the page opens one by itself: in tmux. Raises LoadError."""
    assert house.chromium is not None, "it is a subject"
    try:
        gateway = web_gateway.start(stage.new_folder("escape"), tmux=True)
    except (MissingError, StartError) as error:
        raise LoadError(str(error)) from None
    stack.callback(gateway.stop)
    page = tmuxed(house.chromium, gateway, "escape")
    stack.callback(page.close)
    return page


def _others(house: House, name: str, stack: contextlib.ExitStack) -> Page:
    """tmux as Debian has it, which a person starts."""
    page = house.page(name, "escape")
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
