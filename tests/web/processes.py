"""Processes of this machine, by what /proc says of them (proc(5))."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tests.waiting import BOUND_S

STILL_S = 1.0
ARENA_KIB = 1024
"""The bytes Python takes from the system at once (Objects/obmalloc.c). When a process does is chance."""


def pids_of(text: str, program: str = sys.executable) -> list[int]:
    """Return the processes whose command line begins with `program` and has `text` in it."""
    pids = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, UnicodeDecodeError):
                continue
            if line.startswith(program) and text in line:
                pids.append(int(process.name))
    return pids


def resident_kib(pids: Iterable[int]) -> int:
    return sum(
        int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])
        for pid in pids
    )


def blocked(pid: int) -> None:
    """Wait until it has written nothing for a while, though it would."""
    deadline = time.monotonic() + BOUND_S
    written, since = _written(pid), time.monotonic()
    while time.monotonic() - since < STILL_S:
        assert time.monotonic() < deadline, "it goes on writing"
        time.sleep(0.05)
        now = _written(pid)
        if now != written:
            written, since = now, time.monotonic()


def _written(pid: int) -> int:
    text = Path(f"/proc/{pid}/io").read_text()
    return int(text.partition("wchar:")[2].split()[0])
