"""The cost of a process tree, as the kernel counts it (proc(5)), and a description of this machine."""

import ctypes
import os
import platform
import resource
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

from stagedoor import __version__

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
_SET_CHILD_SUBREAPER = 36
# With it, each process would compile the program again, which would be measured too.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
ROOT = Path(__file__).resolve().parent.parent


def tree(root: int) -> list[int]:
    """Return the pids of `root` and its descendants that live now."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    pids, rest = [], [root]
    while rest:
        pid = rest.pop()
        pids.append(pid)
        rest.extend(children.get(pid, ()))
    return pids


def cpu_s(pids: list[int]) -> float:
    """Return user and system seconds of `pids`, of their ended threads and of children they waited for.

    Softirq work done while one of them ran (on loopback: the receiver's half of TCP) is included,
    since the kernel charges it to the program that was running.
    """
    total = 0
    for pid in pids:
        fields = _stat(pid)
        if fields is not None:
            total += sum(int(field) for field in fields[11:15])
    return total / TICKS_PER_S


def resident_kib(pids: list[int]) -> float:
    """Return the sum of the resident memory (Rss) of `pids`."""
    return sum(_rollup_kib(pid, "Rss") for pid in pids)


def proportional_kib(pids: list[int]) -> float:
    """Return the memory of `pids` in which shared pages count once (Pss)."""
    return sum(_rollup_kib(pid, "Pss") for pid in pids)


def private_kib(pids: list[int]) -> float:
    """Return the memory that only `pids` themselves have, each alone (Private_Dirty and Private_Clean)."""
    return sum(_rollup_kib(pid, f"Private_{kind}") for pid in pids for kind in ("Dirty", "Clean"))


def settled_kib(root: int, deadline_s: float = 20.0) -> float:
    """Return `resident_kib` of the tree once two readings, half a second apart, differ by under 0.2 %."""
    until = time.monotonic() + deadline_s
    last = resident_kib(tree(root))
    while time.monotonic() < until:
        time.sleep(0.5)  # the time between two readings is the measurement here
        now = resident_kib(tree(root))
        if abs(now - last) <= 0.002 * last:
            return now
        last = now
    return last


def busy_s() -> float:
    """Return the seconds in which the machine's cores were busy since boot, all cores together."""
    fields = (PROC / "stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields)
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def adopt_orphans() -> None:
    """Become the parent of descendants that outlive their own parent, so that `tree` includes them.

    One that has ended stays a zombie, whose CPU time can still be read (PR_SET_CHILD_SUBREAPER, prctl(2)).
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def raise_open_files() -> int:
    """Raise this process's limit of open files, which its children inherit; return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        most = int(Path("/proc/sys/fs/nr_open").read_text())
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 262144), min(most, 262144)))
    except (OSError, ValueError):
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def machine(open_files: int, folder: Path) -> dict[str, str]:
    """Return the facts that a reader needs to judge the figures; keys are shown unchanged."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in (PROC / "cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = (PROC / "meminfo").read_text().split()[1]
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{cpu}, {os.cpu_count()} cores",
        "memory": f"{int(memory) / 2**20:.0f} GiB",
        "system": f"{system}, Linux {platform.release()}, Python {platform.python_version()}",
        "open files": f"{open_files} in each process",
        "file system of the audit": _file_system(folder),
        "stagedoor": version(),
    }


def _file_system(folder: Path) -> str:
    best = ("", "unknown")
    for line in (PROC / "mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if folder.resolve().is_relative_to(place) and len(place) > len(best[0]):
            best = (place, kind)
    return best[1]


def version() -> str:
    """Return the version of Stagedoor in this checkout, and its commit."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{__version__} ({done.stdout.strip() or 'not from a checkout'})"


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on; None once the process has ended."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()  # the name may have spaces and parentheses


def _rollup_kib(pid: int, what: str) -> float:
    try:
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return float(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended between the listing and the reading
    return 0.0
