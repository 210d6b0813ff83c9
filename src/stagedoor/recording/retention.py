"""The removal of old recordings.

`choose_removals` is pure. A recording that is being written is never removed: its writer, in any process,
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
"""The age below which a recording is never removed for want of space."""
STOP_S = 1.0


@dataclass(frozen=True, slots=True)
class Retention:
    """The limits of time and size. None stands for no limit.

    A recording's age counts from its last byte. `total_bytes` is the limit for all recordings together; the
    oldest are removed first.
    """

    keep_s: float | None = None
    total_bytes: int | None = None

    @property
    def has_limits(self) -> bool:
        """Return whether there is a limit, so that recordings are ever removed."""
        return self.keep_s is not None or self.total_bytes is not None


@dataclass(frozen=True, slots=True)
class Removal:
    """The removal of a recording; `why` is `age` or `space`."""

    file: StoredRecording
    why: str


def choose_removals(
    files: Sequence[StoredRecording], now: float, retention: Retention
) -> list[Removal]:
    """Return the recordings to remove, the oldest first. `now` is seconds since the epoch."""
    old: list[Removal] = []
    left = sum(file.size for file in files)
    for file in sorted(files, key=lambda file: (file.changed_at, file.path.name)):
        age_s = now - file.changed_at
        if retention.keep_s is not None and age_s > retention.keep_s:
            why = "age"
        elif retention.total_bytes is not None and left > retention.total_bytes and age_s > YOUNG_S:
            why = "space"
        else:
            continue
        left -= file.size
        old.append(Removal(file, why))
    return old


def sweep(folder: Path, now: float, retention: Retention) -> list[Removal]:
    """Remove old recordings, and return those that were removed. Blocks.

    Raises OSError if the folder cannot be read or a file cannot be removed.
    """
    removed = []
    for old in choose_removals(list_stored(folder), now, retention):
        with suppress(FileNotFoundError):  # another worker has removed it
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
        return False
    finally:
        os.close(file)
    return True


class FolderRetention:
    """Sweeps a folder at the start and then every hour, in a thread.

    `on_removed` and `on_problem` are called in that thread. `clock` returns seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        retention: Retention,
        on_removed: Callable[[Sequence[Removal]], None],
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
        """Start the thread, unless recordings are kept for ever."""
        if self._retention.has_limits:
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread, waiting `STOP_S` at most. The next start removes what is left."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while True:
            try:
                if removed := sweep(self._folder, self._clock(), self._retention):
                    self._on_removed(removed)
            except OSError as error:
                self._on_problem(f"{error.strerror or error}: {error.filename or self._folder}")
            if self._stopping.wait(self._every_s):
                return
