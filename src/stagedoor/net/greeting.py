"""What a server says first, and whose a listening port is; for commands that may block."""

import socket
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 255
"""Of an SSH server's line (RFC 4253 §4.2)."""
_LISTEN = "0A"
"""The state of proc_net_tcp(5)."""


def greeting(host: str, port: int, timeout_s: float) -> bytes:
    """The first line from there, without its end; b"" from a server that says nothing before it hangs up.

    Raises OSError: the name has no address, nobody listens, or nothing comes in time.
    """
    with socket.create_connection((host, port), timeout_s) as sock:
        sock.settimeout(timeout_s)
        heard = b""
        while b"\n" not in heard and len(heard) < MOST_BYTES:
            data = sock.recv(MOST_BYTES - len(heard))
            if not data:
                break
            heard += data
    return heard.partition(b"\n")[0].rstrip(b"\r")


def listens(pid: int, port: int) -> bool:
    """Whether this process holds a listening socket at `port`; False where that may not be looked at."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(entry.readlink()) in inodes:
                    return True
    return False
