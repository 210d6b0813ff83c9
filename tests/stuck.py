"""Threads that wait in a system call at a descriptor that was closed meanwhile.

A close(2) does not wake them, a shutdown(2) before it does. When a signal comes the kernel makes their call
once more, by the number (signal(7), "Interruption of system calls"): that is another's socket by then, and
they take the connections or the bytes of another test.
"""

import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOON_S = 2.0
"""How long a thread that was woken just now is given to return."""
_AT_A_DESCRIPTOR = {
    "x86_64": {0, 1, 43, 44, 45, 46, 47, 288},
    "aarch64": {63, 64, 202, 206, 207, 211, 212, 242},
}.get(platform.machine(), set())
"""read, write, accept, accept4 and the ways to send and receive, whose first argument it is."""


def descriptor(line: str) -> int | None:
    """At which a thread waits, of proc_pid_syscall(5): `45 0x16 …`, `-1 0x…` or `running`."""
    number, *arguments = line.split()
    if not number.isdigit() or int(number) not in _AT_A_DESCRIPTOR:
        return None
    return int(arguments[0], 16)


def stuck(within_s: float = SOON_S) -> list[str]:
    """Where those are that have not returned after so long, each as `file:line, in function`."""
    end = time.monotonic() + within_s
    while (found := list(_look())) and time.monotonic() < end:
        time.sleep(0.01)
    return found


def _look() -> Iterator[str]:
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread is threading.current_thread():
            continue
        task = Path(f"/proc/self/task/{thread.native_id}/syscall")
        try:
            fd = descriptor(task.read_text())
        except OSError:  # it has ended, or this kernel does not tell
            continue
        frame = frames.get(thread.ident or 0)
        if fd is None or frame is None or os.path.lexists(f"/proc/self/fd/{fd}"):
            continue
        calls = traceback.extract_stack(frame)
        ours = [call for call in calls if Path(call.filename).is_relative_to(ROOT)]
        yield "{0.filename}:{0.lineno}, in {0.name}".format((ours or calls)[-1])
