"""The folders of a runner's runs, each with the run's log and status (`holder.run_folder`)."""

import errno
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from stagedoor.holder.run_folder import RunFolder, RunStatus, read_log
from stagedoor.model.run import CODES, NOT_STARTED_CODE, Output, RunEnd, RunState
from stagedoor.model.units import GIB

LOGS_BYTES = 2 * GIB
"""The most bytes of all runs' logs on the disk."""
_FINAL = {RunState.EXITED, *CODES}


class RunFolders:
    """The part of a `shells.runner.Runner` that reads the folders of its runs, which are in `folder`.

    `now` returns seconds since the epoch.
    """

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self._folder = folder
        self._now = now
        self._ended_sizes: dict[str, tuple[float, int]] = {}
        """For each ended run, when its folder was changed, and the size of its log in bytes."""

    def list_ids(self) -> set[str]:
        """Return the runs with a folder here."""
        try:
            return {folder.name for folder in self._folder.iterdir()}
        except FileNotFoundError:
            return set()

    def read(self, run_id: str, start: int, most: int) -> list[Output]:
        """Return output from offset `start` on; see `Runner`."""
        pieces = read_log(self.find(run_id), start, most)
        return [Output(piece.start, piece.data, piece.is_error, piece.at) for piece in pieces]

    def measure(self, run_id: str) -> tuple[int, int]:
        """Return the offset of the first kept byte of output, and the number of bytes so far."""
        return self.find(run_id).measure()

    def remove_excess(self, ended: Collection[str], most: int = LOGS_BYTES) -> None:
        """Remove output until all logs have `most` bytes; see `Runner`."""
        ids = self.list_ids()
        self._ended_sizes = {
            run_id: size for run_id, size in self._ended_sizes.items() if run_id in ids
        }
        for run_id in ids.intersection(ended) - self._ended_sizes.keys():
            with suppress(FileNotFoundError):
                run = self.find(run_id)
                self._ended_sizes[run_id] = run.folder.stat().st_mtime, run.measure_files()
        going_on = {
            run_id: self._get_folder(run_id).measure_files() for run_id in ids.difference(ended)
        }
        excess = sum(going_on.values()) + sum(size for _, size in self._ended_sizes.values()) - most
        for run_id, (ended_at, size) in sorted(self._ended_sizes.items(), key=lambda item: item[1]):
            if excess <= 0:
                return
            run = self._get_folder(run_id)
            run.remove_segments(run.list_segments())
            self._ended_sizes[run_id] = ended_at, 0
            excess -= size
        while going_on and excess > 0:
            run_id = max(going_on, key=lambda run_id: going_on[run_id])
            run, size = self._get_folder(run_id), going_on.pop(run_id)
            if starts := run.list_segments()[:-1]:
                run.remove_segments(starts[:1])
                going_on[run_id] = run.measure_files()
                excess -= size - going_on[run_id]

    def remove(self, run_id: str) -> None:
        """Remove the folder of a run."""
        shutil.rmtree(self.find(run_id).folder, ignore_errors=True)

    def find(self, run_id: str) -> RunFolder:
        """Return the folder of a run. Raises FileNotFoundError if it is not here."""
        folder = self._get_folder(run_id)
        if not folder.folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no such run on this gateway", run_id)
        return folder

    def _get_folder(self, run_id: str) -> RunFolder:
        """Return the folder of a run, which may be missing."""
        assert run_id.isalnum(), "ids are made here, or found in the store"
        return RunFolder(self._folder / run_id)

    def _make_end(self, status: RunStatus) -> RunEnd:
        """Return the end that a final status has."""
        code = NOT_STARTED_CODE if status.code is None else status.code
        at = self._now() if status.ended_at is None else status.ended_at
        return RunEnd(RunState(status.state), code, at, status.detail)


def read_status(folder: RunFolder) -> RunStatus | None:
    """Return a run's status, or None if it has none or an invalid one. Raises OSError."""
    with suppress(ValueError):
        return folder.read_status()
    return None


def is_final(status: RunStatus | None) -> bool:
    """Return whether a status is that of an ended run."""
    return status is not None and status.state in _FINAL
