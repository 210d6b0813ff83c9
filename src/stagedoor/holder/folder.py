"""Where the terminals of a shell are: a folder with a socket for each, that nobody else can enter."""

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
"""The variable that names the folder, where it is not the default one."""
NOT_KNOWN, NOT_THERE = 2, 3
"""Exit statuses: it was called in a way that it does not know; there is no terminal to join."""
MAX_NAME = 40
BACKLOG = 16
_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,38}[a-z0-9])?\Z")
_SOCKET = ".terminal"
_LOCKED = ".locked"


class FolderError(Exception):
    """The folder, or the name of a terminal, cannot be used; one line for the person."""


def folder() -> Path:
    """The folder, made if need be, of mode 0700 and ours. Raises FolderError."""
    named = os.environ.get(FOLDER)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    place = Path(named or (f"{runtime}/stagedoor" if runtime else f"/tmp/stagedoor-{os.getuid()}"))  # noqa: S108
    try:
        make_ours_alone(place)
    except OSError as error:
        raise FolderError(
            f"the folder for terminals {place} cannot be used: {error.strerror}; remove it, or name "
            f"another one in the variable {FOLDER}"
        ) from None
    return place


def make_ours_alone(folder: Path) -> None:
    """Make it, with mode 0700. Raises OSError, also if it is somebody else's or open to others."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    # In a folder such as /tmp somebody else may have been first.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "it is not ours alone", str(folder))


def socket_of(place: Path, name: str) -> Path:
    """The socket of the terminal called `name`. Raises FolderError for what is no name."""
    check_name(name)
    return place / (name + _SOCKET)


def check_name(name: str) -> None:
    """Raises FolderError for what is no name of a terminal."""
    if not _NAME.match(name):
        raise FolderError(
            f"{name!r} is no name for a terminal: use lower-case letters, digits, - and _, "
            f"{MAX_NAME} characters at most"
        )


def names(place: Path) -> list[str]:
    """Return the names of the terminals that answer, sorted."""
    return [path.name.removesuffix(_SOCKET) for path in _answering(place)]


def listing(place: Path) -> list[str]:
    """Return a line for each terminal that answers, sorted: its name, and `\\tlocked` if it is locked."""
    return [
        path.name.removesuffix(_SOCKET) + ("\tlocked" if path.with_suffix(_LOCKED).exists() else "")
        for path in _answering(place)
    ]


def mark_locked(path: Path, locked: bool) -> None:
    """Record beside the socket `path` whether its terminal is locked, for `listing`. Raises OSError."""
    if locked:
        path.with_suffix(_LOCKED).touch(0o600)
    else:
        path.with_suffix(_LOCKED).unlink(missing_ok=True)


def _answering(place: Path) -> Iterator[Path]:
    for path in sorted(place.glob("*" + _SOCKET)):
        connection = connect(path)
        if connection is not None:
            connection.close()
            yield path


def end_all(place: Path) -> None:
    """End every terminal that answers, and with it what runs in it (SIGHUP, as a lost line does)."""
    for path in place.glob("*" + _SOCKET):
        connection = connect(path)
        if connection is not None:
            with connection, suppress(ProcessLookupError):
                os.kill(holder_of(connection), signal.SIGTERM)
        path.unlink(missing_ok=True)


def holder_of(connection: socket.socket) -> int:
    """The process that listens at the other end (SO_PEERCRED, unix(7))."""
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", peer)
    return int(pid)


def connect(path: Path) -> socket.socket | None:
    """A connection to a terminal; None if nobody listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as address:
            connection.connect(address)
    except OSError:
        connection.close()
        return None
    return connection


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of a terminal, so that of two who want to start it one does."""
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def listen(path: Path) -> socket.socket:
    """The listening socket of a new terminal. Call it `alone`. Raises OSError."""
    path.unlink(missing_ok=True)
    mark_locked(path, False)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short(path) as address:
        listener.bind(address)
    path.chmod(0o600)
    listener.listen(BACKLOG)
    return listener


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """`path` as an address: of those a socket takes 107 bytes, whatever the folder is (unix(7))."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
