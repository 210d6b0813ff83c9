"""Finding the process that a test ends or stops."""

from contextlib import suppress
from pathlib import Path

from tests.fixtures.gateway import Gateway


def child_of(pid: int, word: bytes) -> int:
    """Return the descendant of a process that has this word in its command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid and word in words:
                return int(entry.name)
    raise AssertionError("no such process")


def has_clients(port: int) -> bool:
    """Return whether a process has this port of the loopback address in its command line."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"127.0.0.1:{port}".encode() in (entry / "cmdline").read_bytes():
                return True
    return False


def worker_of(gateway: Gateway, source: int) -> int:
    """Return the worker that has a connection from the port `source`."""
    ends = f"0100007F:{gateway.port():04X}", f"0100007F:{source:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = (row[9] for row in rows if (row[1], row[2]) == ends)
    (pid,) = (
        pid
        for pid in gateway.worker_pids()
        if any(
            str(fd.readlink()) == f"socket:[{inode}]" for fd in Path(f"/proc/{pid}/fd").iterdir()
        )
    )
    return pid
