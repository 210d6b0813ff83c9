"""What people started in a shell and left running: `nohup` and `setsid` jobs, which outlive their session."""

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from stagedoor.holder.folder import FOLDER

GRACE_S = 2.0
"""So long a job may take to end by itself."""
ROUNDS = 5
"""A job that is ended may just have started another."""


def end_jobs(terminals: Path) -> None:
    """End every process whose environment names this folder for terminals, as all that runs in a shell does.

    Blocks. One that has cleared its environment, or is another account's by now (sudo), is not found.
    """
    entry = f"{FOLDER}={terminals}".encode()
    for _ in range(ROUNDS):
        with ExitStack() as stack:
            found = list(_processes(entry, stack))
            if not found:
                return
            for number in (signal.SIGTERM, signal.SIGKILL):
                for pidfd in found:
                    with suppress(OSError):
                        signal.pidfd_send_signal(pidfd, number)
                found = _alive(found, GRACE_S)


def _processes(entry: bytes, stack: ExitStack) -> Iterator[int]:
    """A descriptor for each (pidfd_open(2)), which `stack` closes: a number may be another's by then."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(process.name) == os.getpid():
                continue
            if entry not in (process / "environ").read_bytes().split(b"\0"):
                continue
            pidfd = os.pidfd_open(int(process.name))
            stack.callback(os.close, pidfd)
            # Only now it is certain whose the number is.
            if entry in (process / "environ").read_bytes().split(b"\0"):
                yield pidfd


def _alive(pidfds: list[int], wait_s: float) -> list[int]:
    """Those that run on after `wait_s`; returns as soon as none does."""
    poll = select.poll()
    alive = set(pidfds)
    for pidfd in pidfds:
        poll.register(pidfd, select.POLLIN)
    deadline = time.monotonic() + wait_s
    while alive and (left_s := deadline - time.monotonic()) > 0:
        for pidfd, _ in poll.poll(left_s * 1000):
            alive.discard(pidfd)
            poll.unregister(pidfd)
    return list(alive)
