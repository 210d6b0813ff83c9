"""Processes that tests leave: those of a browser, for example, whose test was killed.

A process whose parent ends becomes a child of the run (prctl(2), PR_SET_CHILD_SUBREAPER), which ends it.
"""

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the parent of each descendant that loses its own."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wait_for(process: "subprocess.Popen[bytes]") -> int:
    """Return the status of a process once it ends. Meanwhile reap orphans, as init(1) does."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode


def end_leftovers() -> Iterator[str]:
    """Kill all children of this process, and theirs; yield their command lines."""
    while children := _children():
        for pid in children:
            said = _command(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            if said:  # else it has just ended
                yield said


def _children() -> list[int]:
    return [int(pid) for pid in Path("/proc/thread-self/children").read_text().split()]


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode(errors="replace").strip()[:200]
