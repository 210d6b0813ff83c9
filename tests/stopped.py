"""Processes that stand still for a while (SIGSTOP) and go on, or are killed, whatever happens meanwhile."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import AnyStr


@contextmanager
def stopped(parent: int, children: Callable[[], Iterable[int]]) -> Iterator[None]:
    """A process and its children, as they are once it is stopped.

    While it stands still it reaps none of them, so no number becomes another process's. It goes on
    last: one that had ended meanwhile is gone as soon as its parent has looked.
    """
    os.kill(parent, signal.SIGSTOP)
    held = [pid for pid in children() if pid != parent]
    try:
        for pid in held:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in (*held, parent):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def killed(process: "subprocess.Popen[AnyStr]") -> Iterator["subprocess.Popen[AnyStr]"]:
    """A process, which is gone at the end of the block."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
