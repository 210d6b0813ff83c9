"""Recordings on this machine's disk: a file for each, in one folder that only its owner may read."""

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".cast"


class RecordingFolder:
    """The folder of recordings. The first recording creates it, with mode 0700."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, name: str) -> "RecordingFile":
        """Create a recording of this name. Raises OSError, also if there is one."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # O_EXCL also refuses a planted symbolic link. With O_APPEND the next piece follows what is kept after
        # a piece that did not fit.
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        file = RecordingFile(os.open(self._folder / name, flags, 0o600))
        try:
            file.hold()
            # The name survives a power cut only after an fsync(2) of the folder.
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            file.close()
            raise
        return file


class RecordingFile:
    """A recording that is being written. It owns `fd`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = 0

    def hold(self) -> None:
        """Lock the file, so that no process removes it as old (flock(2)).

        The lock lasts until `close`, or the end of this process. Raises OSError.
        """
        fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def append(self, piece: bytes) -> None:
        """Write a piece, which is durable when this returns. Raises OSError; then no part of it is kept."""
        left = memoryview(piece)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
            os.fdatasync(self._fd)
        except OSError:
            # A part of a piece would make the file unreadable from there on.
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise
        self._size += len(piece)

    def close(self) -> None:
        """Close the file, which releases it for removal."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@dataclass(frozen=True, slots=True)
class StoredRecording:
    """A recording on the disk. `id` is its name without endings, `session` the session's id.

    `number` is that of the channel in its session. `size` is in bytes, `changed_at` in seconds since the
    epoch.
    """

    path: Path
    id: str
    session: str
    number: int
    suffix: str
    size: int
    changed_at: float


def list_stored(folder: Path) -> list[StoredRecording]:
    """Return the recordings in `folder`, the oldest session first. Other files are ignored.

    A folder that does not exist has none. Raises OSError.
    """
    recordings = []
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return []
    for entry in entries:
        name, ending, suffix = entry.name.partition(SUFFIX)
        session, dot, number = name.rpartition(".")
        if not (ending and dot and session and number.isascii() and number.isdigit()):
            continue
        if not entry.is_file(follow_symlinks=False):
            continue
        with suppress(FileNotFoundError):  # it was removed just now
            stat = entry.stat(follow_symlinks=False)
            recordings.append(
                StoredRecording(
                    path=folder / entry.name,
                    id=name,
                    session=session,
                    number=int(number),
                    suffix=suffix,
                    size=stat.st_size,
                    changed_at=stat.st_mtime,
                )
            )
    return sorted(recordings, key=lambda entry: (entry.session, entry.number, entry.suffix))


def read_ending(path: Path, size: int, most: int) -> bytes:
    """Return the last `most` bytes of a file of `size`. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.pread(fd, most, max(size - most, 0))
    finally:
        os.close(fd)


def open_to_read(path: Path) -> BinaryIO:
    """Open a recording's file. Raises OSError, also for a link."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
