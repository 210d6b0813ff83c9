"""Processes in a shell that outlive what started them, for example by `nohup` or `setsid`."""

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

GRACE_S = 2.0
"""Seconds that a job has to end after SIGTERM."""
ROUNDS = 5
"""The number of attempts, since a job may start another one just before its end."""


def end_jobs(variable: str, value: str) -> None:
    """End every process with this variable in its environment, as all of one shell or one run have it.

    Blocks. A process that has cleared its environment, or that runs under another account (sudo), is missed.
    """
    entry = f"{variable}={value}".encode()
    for _ in range(ROUNDS):
        with ExitStack() as stack:
            jobs = list(_open_processes(entry, stack))
            if not jobs:
                return
            for number in (signal.SIGTERM, signal.SIGKILL):
                for pidfd in jobs:
                    with suppress(OSError):
                        signal.pidfd_send_signal(pidfd, number)
                jobs = _wait_for_end(jobs, GRACE_S)


def _open_processes(entry: bytes, stack: ExitStack) -> Iterator[int]:
    """Yield a descriptor (pidfd_open(2)) for each process with `entry` in its environment.

    `stack` closes the descriptors. A pid could be reused by another process before the signal is sent.
    """
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(process.name) == os.getpid():
                continue
            if entry not in (process / "environ").read_bytes().split(b"\0"):
                continue
            pidfd = os.pidfd_open(int(process.name))
            stack.callback(os.close, pidfd)
            # Check again, since only now it is certain that the descriptor refers to this process.
            if entry in (process / "environ").read_bytes().split(b"\0"):
                yield pidfd


def _wait_for_end(pidfds: list[int], wait_s: float) -> list[int]:
    """Wait until all processes have ended, for `wait_s` at most, and return those that have not."""
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
