"""Ends a terminal: its program is told as by a lost line (SIGHUP), and all clients hear of it.

What does not go by itself is killed. Of tmux the whole session ends, not only what shows it.
"""

import os
import select
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from stagedoor.holder.folder import alone, connect, holder_of

PROGRAM_S = 2.0
"""So long may the program take to go before it is killed."""
HOLDER_S = 2.0
"""So long the holder has to tell everybody; it would stay longer for clients that may come back."""


def end(path: Path) -> bool:
    """End the terminal at `path`; False if there is none."""
    connection = connect(path)
    if connection is None:
        return False
    with connection:
        holder = holder_of(connection)
    for program in _children(holder):
        _end_tmux(program)
        _end(program, signal.SIGHUP, PROGRAM_S, then=signal.SIGKILL)
    # Its last words are said to those who are there; for those who may return it would wait.
    _end(holder, None, HOLDER_S, then=signal.SIGTERM)
    with alone(path):  # or it would be another's, who starts it again just now
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


def _children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []  # then the holder's own end closes the terminal, which hangs the program up
    return [int(child) for child in found.split()]


def _end_tmux(pid: int) -> None:
    """End the session that `pid` shows, if that is tmux; by a SIGHUP it would only be left."""
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
            [tmux, "kill-session", "-t", f"={name}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=PROGRAM_S, check=False,
        )  # fmt: skip
