"""Retention: which recordings have been kept for long enough, and their removal.

`decide` is pure. What is still being written is never removed: its writer, in whatever process,
holds a lock on the file (`folder.RecordingFile`).
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stagedoor.recording.folder import StoredRecording, list_stored

EVERY_S = 3600.0
YOUNG_S = 60.0
"""A recording that was written to so lately is no old one, however small the place."""
STOP_S = 1.0


@dataclass(frozen=True, slots=True)
class Retention:
    """The limits of time and size. None stands for no limit.

    A recording's age is counted from its last byte; `total_bytes` is for all of them together, and
    those that were ended longest ago go first.
    """

    keep_s: float | None = None
    total_bytes: int | None = None

    @property
    def ends(self) -> bool:
        """Return whether anything is ever removed."""
        return self.keep_s is not None or self.total_bytes is not None


@dataclass(frozen=True, slots=True)
class Removed:
    """A removed recording; `why` is `age` or `space`."""

    file: StoredRecording
    why: str


def decide(files: Sequence[StoredRecording], now: float, retention: Retention) -> list[Removed]:
    """Which of `files` have to go, those of longest ago first. `now` is seconds since the epoch."""
    going: list[Removed] = []
    left = sum(file.size for file in files)
    for file in sorted(files, key=lambda one: (one.changed_at, one.path.name)):
        age_s = now - file.changed_at
        if retention.keep_s is not None and age_s > retention.keep_s:
            why = "age"
        elif retention.total_bytes is not None and left > retention.total_bytes and age_s > YOUNG_S:
            why = "space"
        else:
            continue
        left -= file.size
        going.append(Removed(file, why))
    return going


def sweep(folder: Path, now: float, retention: Retention) -> list[Removed]:
    """Remove what `decide` says, but for what is being written. Return what was removed. Blocks.

    Raises OSError: the folder cannot be read, or a file not be removed.
    """
    removed = []
    for old in decide(list_stored(folder), now, retention):
        with suppress(FileNotFoundError):  # another worker was before us
            if _remove(old.file.path):
                removed.append(old)
    return removed


def _remove(path: Path) -> bool:
    """Remove a recording, unless its writer holds it. Return whether it was removed. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except BlockingIOError:
        return False  # its writer holds it
    finally:
        os.close(file)
    return True


class FolderRetention:
    """Sweeps at the start and then hourly, in a thread of its own.

    `on_removed` and `on_problem` are called there; `clock` is seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        retention: Retention,
        on_removed: Callable[[Sequence[Removed]], None],
        on_problem: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.time,
        every_s: float = EVERY_S,
    ) -> None:
        self._folder = folder
        self._retention = retention
        self._on_removed = on_removed
        self._on_problem = on_problem
        self._clock = clock
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Nothing is started where everything is kept for ever."""
        if self._retention.ends:
            self._thread.start()

    def stop(self) -> None:
        """Blocks, but never for long: what was not removed now is at the next start."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while True:
            try:
                if gone := sweep(self._folder, self._clock(), self._retention):
                    self._on_removed(gone)
            except OSError as error:
                self._on_problem(f"{error.strerror or error}: {error.filename or self._folder}")
            if self._stopping.wait(self._every_s):
                return
