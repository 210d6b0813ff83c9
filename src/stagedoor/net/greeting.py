"""A server's first line, and the process behind a listening port; for commands, which may block."""

import socket
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 255
"""The maximum length of an SSH server's line (RFC 4253 §4.2)."""
_LISTEN = "0A"
"""The state of a listening socket in proc_net_tcp(5)."""


def read_greeting(host: str, port: int, timeout_s: float) -> bytes:
    """Return the first line from a server, without its end; b"" if the server closes without one.

    Raises OSError if the name has no address, no server listens, or nothing arrives in time.
    """
    with socket.create_connection((host, port), timeout_s) as sock:
        sock.settimeout(timeout_s)
        received = b""
        while b"\n" not in received and len(received) < MAX_BYTES:
            data = sock.recv(MAX_BYTES - len(received))
            if not data:
                break
            received += data
    return received.partition(b"\n")[0].rstrip(b"\r")


def is_listening(pid: int, port: int) -> bool:
    """Return True if the process `pid` has a listening socket on `port`; False if that cannot be read."""
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
