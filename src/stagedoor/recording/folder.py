"""Recordings on this machine's disk: one file each in one folder, for its owner's eyes only."""

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".cast"


class RecordingFolder:
    """The folder of recordings, created with mode 0700 at the first one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, name: str) -> "RecordingFile":
        """Create a recording of this name. Raises OSError, also if there is one."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # O_EXCL also refuses a planted symbolic link; O_APPEND, for after a piece that
        # did not fit the next one follows what was kept.
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        file = RecordingFile(os.open(self._folder / name, flags, 0o600))
        try:
            file.hold()
            # The name must survive a power cut too: fsync(2) on the folder.
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
    """A recording that is being written. Owns `fd`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = 0

    def hold(self) -> None:
        """Lock the file, so that no process removes it as old (flock(2)).

        The lock lasts until `close`, or the end of this process. Raises OSError.
        """
        fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def append(self, piece: bytes) -> None:
        """Write a piece, durable when this returns. Raises OSError, with nothing of the piece left."""
        left = memoryview(piece)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
            os.fdatasync(self._fd)
        except OSError:
            # What is on the disk stays readable: no half of a piece.
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
    """A recording on the disk: `id` is its name without endings, `session` the session's id.

    `number` is the channel's in its session, `size` bytes, `changed_at` seconds since the epoch.
    """

    path: Path
    id: str
    session: str
    number: int
    suffix: str
    size: int
    changed_at: float


def list_stored(folder: Path) -> list[StoredRecording]:
    """Return the recordings in `folder`, the oldest session first. Other files are passed over.

    Raises OSError, but not for a folder that is not there: then nothing has been recorded.
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
        with suppress(FileNotFoundError):  # removed while we look
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
