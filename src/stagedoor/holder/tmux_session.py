"""Commands to the tmux session that a terminal shows, and its history, which the terminal's page searches."""

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from stagedoor.holder.folder import connect, find_holder

HISTORY_LINES = 10_000
"""As many lines as the page keeps of a terminal without tmux."""
_TMUX_S = 2.0
"""The bound on one command of tmux, seconds."""


def print_history(path: Path) -> bool:
    """Print the last lines of the tmux at the terminal `path`, with their colours.

    They end with the screen of the pane that has the cursor. A terminal without tmux prints nothing. Return
    False if there is no terminal.
    """
    connection = connect(path)
    if connection is None:
        return False
    with connection:
        holder = find_holder(connection)
    for program in find_programs(holder):
        run_tmux(program, "capture-pane", "-epJ", f"-S-{HISTORY_LINES}", output=None)
    return True


def find_programs(holder: int) -> list[int]:
    """Return the processes that a holder has started."""
    try:
        children = Path(f"/proc/{holder}/task/{holder}/children").read_text(encoding="ascii")
    except OSError:
        return []  # the holder's end then closes the terminal, which hangs up on the program
    return [int(child) for child in children.split()]


def run_tmux(pid: int, *command: str, output: int | None = subprocess.DEVNULL) -> None:
    """Run a command on the session that `pid` shows, if it is tmux. `output` is as `stdout` of subprocess."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return
    tmux = shutil.which("tmux")
    if tmux is None or words[0] != "tmux" or "-s" not in words[:-1]:
        return
    name = words[words.index("-s") + 1]
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [tmux, *command, "-t", f"={name}:"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL,
            timeout=_TMUX_S, check=False,
        )  # fmt: skip
