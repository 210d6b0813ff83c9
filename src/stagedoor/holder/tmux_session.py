"""The history and the end of a terminal, and commands to the tmux session that it shows.

At the end the program gets SIGHUP, as after a lost line, and is killed if it does not end; the holder
notifies its clients. With tmux the whole session ends, not only the client that shows it.
"""

import os
import select
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from stagedoor.holder.folder import connect, find_holder, lock_terminal

HISTORY_LINES = 10_000
"""As many lines as the page keeps of a terminal without tmux."""
_TMUX_S = 2.0
"""The bound on one command of tmux, seconds."""
PROGRAM_S = 2.0
"""The time for the program to end before it is killed, seconds."""
HOLDER_S = 2.0
"""The time for the holder to notify its clients, seconds. It would wait longer for absent ones."""


def print_history(path: Path) -> bool:
    """Print the last lines of the tmux at the terminal `path`, with their colours.

    They end with the screen of the pane that has the cursor. A terminal without tmux prints nothing. Return
    False if there is no terminal.
    """
    holder = _find_holder_at(path)
    if holder is None:
        return False
    for program in find_programs(holder):
        run_tmux(program, "capture-pane", "-epJ", f"-S-{HISTORY_LINES}", output=None)
    return True


def _find_holder_at(path: Path) -> int | None:
    connection = connect(path)
    if connection is None:
        return None
    with connection:
        return find_holder(connection)


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


def end(path: Path) -> bool:
    """End the terminal at `path`; False if there is none."""
    holder = _find_holder_at(path)
    if holder is None:
        return False
    for program in find_programs(holder):
        run_tmux(program, "kill-session")
        _end(program, signal.SIGHUP, PROGRAM_S, then=signal.SIGKILL)
    # The holder sends the last output to connected clients, but would wait on for those that may return.
    _end(holder, None, HOLDER_S, then=signal.SIGTERM)
    with lock_terminal(path):  # or this could remove the socket of a holder that is just starting
        if connect(path) is None:
            path.unlink(missing_ok=True)
    return True


def _end(pid: int, first: signal.Signals | None, wait_s: float, *, then: signal.Signals) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        with suppress(ProcessLookupError):
            if first is not None:
                signal.pidfd_send_signal(pidfd, first)
            if not poll.poll(wait_s * 1000):
                signal.pidfd_send_signal(pidfd, then)
                poll.poll(wait_s * 1000)
    finally:
        os.close(pidfd)
