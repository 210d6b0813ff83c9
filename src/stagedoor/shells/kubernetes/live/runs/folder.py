"""The folders of the runs on Kubernetes whose logs this gateway copies."""

import errno
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from stagedoor.holder.run_folder import RunFolder, RunStatus, read_log
from stagedoor.model.run import NOT_STARTED_CODE, Output, RunEnd, RunState

_PLACE = "place.json"


@dataclass(frozen=True, slots=True)
class RunNamespace:
    """The namespace of a run and its app, which are written beside its log."""

    namespace: str
    app: str


class RunFolders:
    """A folder for each run below `folder`. `now` returns seconds since the epoch."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self._folder = folder
        self._now = now

    def list_ids(self) -> set[str]:
        """Return the runs with a folder here."""
        try:
            return {folder.name for folder in self._folder.iterdir()}
        except FileNotFoundError:
            return set()

    def observe(self, run_id: str) -> RunState | RunEnd:
        """Return how a run has ended, or `STARTING` or `RUNNING`. Raises OSError."""
        status = read_status(self.find(run_id))
        if status is None or not is_final(status):
            return RunState.STARTING if status is None else RunState.RUNNING
        code = NOT_STARTED_CODE if status.code is None else status.code
        at = self._now() if status.ended_at is None else status.ended_at
        return RunEnd(RunState(status.state), code, at, status.detail)

    def read(self, run_id: str, start: int, most: int) -> list[Output]:
        """Return output from offset `start` on; see `Runner`."""
        pieces = read_log(self.find(run_id), start, most)
        return [Output(piece.start, piece.data, piece.is_error, piece.at) for piece in pieces]

    def measure(self, run_id: str) -> tuple[int, int]:
        """Return the offset of the first byte of output that is kept, and the number of all bytes so far."""
        return self.find(run_id).measure()

    def measure_age(self, run_id: str) -> float:
        """Return the time since the last change of a run's folder, in seconds. Raises OSError."""
        return self._now() - self.find(run_id).folder.stat().st_mtime

    def remove(self, run_id: str) -> None:
        """Remove the folder of a run."""
        shutil.rmtree(self.find(run_id).folder, ignore_errors=True)

    def make(self, run_id: str, place: RunNamespace) -> RunFolder:
        """Return the folder of a run, made if it is missing. Raises OSError."""
        folder = self._folder / run_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / _PLACE).exists():
            (folder / _PLACE).write_text(json.dumps(asdict(place)), encoding="ascii")
        return RunFolder(folder)

    def read_place(self, run_id: str) -> RunNamespace:
        """Return where a run is. Raises OSError."""
        text = (self.find(run_id).folder / _PLACE).read_bytes()[:1024]
        try:
            fields = json.loads(text)
            return RunNamespace(str(fields["namespace"]), str(fields["app"]))
        except (ValueError, KeyError, TypeError) as error:
            raise OSError(errno.EIO, "its place cannot be read", run_id) from error

    def find(self, run_id: str) -> RunFolder:
        """Return the folder of a run. Raises FileNotFoundError if it is not here."""
        assert run_id.isalnum(), "ids are made here, or found in the store"
        folder = self._folder / run_id
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no such run on this gateway", run_id)
        return RunFolder(folder)


def read_status(folder: RunFolder) -> RunStatus | None:
    """Return a run's status, or None if it has none that can be read."""
    with suppress(ValueError, OSError):
        return folder.read_status()
    return None


def is_final(status: RunStatus | None) -> bool:
    """Return whether a status is that of an ended run."""
    return status is not None and status.state != RunState.RUNNING
