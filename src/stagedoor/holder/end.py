"""The end of a terminal: its program gets SIGHUP, as after a lost line, and the holder notifies its clients.

A process that does not end is killed. With tmux the whole session ends, not only the client that shows it.
"""

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

from stagedoor.holder.folder import connect, find_holder, lock_terminal
from stagedoor.holder.tmux_session import find_programs, run_tmux

PROGRAM_S = 2.0
"""How long the program may take to end before it is killed, seconds."""
HOLDER_S = 2.0
"""How long the holder may take to notify its clients, seconds. It would wait longer for absent ones."""


def end(path: Path) -> bool:
    """End the terminal at `path`; False if there is none."""
    connection = connect(path)
    if connection is None:
        return False
    with connection:
        holder = find_holder(connection)
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
