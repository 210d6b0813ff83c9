"""The folder of a shell's terminals, with a socket for each. Other accounts cannot enter it."""

import errno
import fcntl
import os
import re
import signal
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER = "STAGEDOOR_TERMINALS"
"""The variable that names the folder if it is not the default one."""
NOT_KNOWN, NOT_THERE = 2, 3
"""Exit statuses: an unknown command; no terminal to join."""
MAX_NAME = 40
BACKLOG = 16
_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,38}[a-z0-9])?\Z")
_SOCKET = ".terminal"
_LOCKED = ".locked"


class FolderError(Exception):
    """A folder or a terminal's name that cannot be used. The message is one line for the user."""


def ensure_folder() -> Path:
    """Return the folder, creating it with mode 0700 if it is missing. Raises FolderError."""
    named = os.environ.get(FOLDER)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    place = Path(named or (f"{runtime}/stagedoor" if runtime else f"/tmp/stagedoor-{os.getuid()}"))  # noqa: S108
    try:
        make_private_folder(place)
    except OSError as error:
        raise FolderError(
            f"the folder for terminals {place} cannot be used: {error.strerror}; remove it, or name "
            f"another one in the variable {FOLDER}"
        ) from None
    return place


def make_private_folder(folder: Path) -> None:
    """Create a folder with mode 0700, if it is missing.

    Raises OSError, also if the folder belongs to another account or is open to others.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    # In a folder such as /tmp, another user may have created it first.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "it is not private", str(folder))


def find_socket(place: Path, name: str) -> Path:
    """Return the path of the socket of the terminal `name`. Raises FolderError for an invalid name."""
    check_name(name)
    return place / (name + _SOCKET)


def check_name(name: str) -> None:
    """Check that `name` is valid for a terminal. Raises FolderError."""
    if not _NAME.match(name):
        raise FolderError(
            f"{name!r} is not a name for a terminal: use lower-case letters, digits, - and _, "
            f"{MAX_NAME} characters at most"
        )


def list_terminals(place: Path) -> list[str]:
    """Return a line for each terminal that answers, sorted: its name, and `\\tlocked` if it is locked."""
    rows = []
    for path in sorted(place.glob("*" + _SOCKET)):
        if (connection := connect(path)) is not None:
            connection.close()
            mark = "\tlocked" if path.with_suffix(_LOCKED).exists() else ""
            rows.append(path.name.removesuffix(_SOCKET) + mark)
    return rows


def mark_locked(path: Path, locked: bool) -> None:
    """Record beside the socket `path`, for `list_terminals`, if its terminal is locked. Raises OSError."""
    if locked:
        path.with_suffix(_LOCKED).touch(0o600)
    else:
        path.with_suffix(_LOCKED).unlink(missing_ok=True)


def end_all(place: Path) -> None:
    """End every terminal that answers, with its programs (SIGHUP, as when a line is lost)."""
    for path in place.glob("*" + _SOCKET):
        connection = connect(path)
        if connection is not None:
            with connection, suppress(ProcessLookupError):
                os.kill(find_holder(connection), signal.SIGTERM)
        path.unlink(missing_ok=True)


def find_holder(connection: socket.socket) -> int:
    """Return the process that listens at the other end (SO_PEERCRED, unix(7))."""
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", peer)
    return int(pid)


def connect(path: Path) -> socket.socket | None:
    """Return a connection to a terminal, or None if no holder listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with make_address(path) as address:
            connection.connect(address)
    except OSError:
        connection.close()
        return None
    return connection


@contextmanager
def lock_terminal(path: Path) -> Iterator[None]:
    """Hold the lock of a terminal, so that only one of two processes starts it."""
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def listen(path: Path) -> socket.socket:
    """Return the listening socket of a new terminal. Call this under `lock_terminal`. Raises OSError."""
    path.unlink(missing_ok=True)
    mark_locked(path, False)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with make_address(path) as address:
        listener.bind(address)
    path.chmod(0o600)
    listener.listen(BACKLOG)
    return listener


@contextmanager
def make_address(path: Path) -> Iterator[str]:
    """Yield an address for `path` through /proc, since an address has room for 107 bytes only (unix(7))."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
