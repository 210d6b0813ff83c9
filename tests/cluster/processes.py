"""Find and end the node's first process, however it was started and whoever forgot it."""

import contextlib
import os
import signal
import time
from pathlib import Path

MODULE = "tests.cluster.node"


def find() -> dict[Path, list[int]]:
    """Every cluster on this machine: its state folder, and the processes that hold it up.

    Read from the arguments of all processes, so that no file has to be right about it. A cluster
    inside a container that runs here is not on this machine.
    """
    found: dict[Path, list[int]] = {}
    ours: set[Path] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended while we looked
        if MODULE in words and "--state" in words:
            state = Path(words[words.index("--state") + 1])
            found.setdefault(state, []).append(int(entry.name))
            numbers = _numbers(int(entry.name))
            if len(numbers) == 1 or _is_first(numbers):
                ours.add(state)
    return {state: pids for state, pids in found.items() if state in ours}


def first_process(state: Path) -> int | None:
    """The node's process 1, by its number on this machine; None if it does not run."""
    for pid in find().get(state, []):
        if _is_first(_numbers(pid)):
            return pid
    return None


def _numbers(pid: int) -> list[int]:
    """A process's number in our PID namespace and in each below that it is in; [] if it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return [int(number) for number in line.split()[1:]]
    return []


def _is_first(numbers: list[int]) -> bool:
    """Return whether it is process 1 of a namespace directly below ours."""
    return len(numbers) == 2 and numbers[1] == 1


def end(state: Path, within_s: float = 60.0) -> None:
    """Kill the node and wait until every process of it is gone.

    The kernel ends what is in a PID namespace with its process 1 (pid_namespaces(7)).

    Raises:
        TimeoutError: some are still there after `within_s` seconds, stuck in the kernel.
    """
    until = time.monotonic() + within_s
    while pids := find().get(state, []):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > until:
            raise TimeoutError(f"processes that do not die: {pids}")
        time.sleep(0.02)  # not our children: there is no event to wait for
