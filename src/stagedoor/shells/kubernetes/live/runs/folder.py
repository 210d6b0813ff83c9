"""The folders of the runs on Kubernetes whose logs this gateway copies."""

import errno
import json
from dataclasses import asdict, dataclass

from stagedoor.holder.run_folder import RunFolder
from stagedoor.model.run import RunEnd, RunState
from stagedoor.shells.run_folders import RunFolders, is_final, read_status

_PLACE = "place.json"


@dataclass(frozen=True, slots=True)
class RunNamespace:
    """A run's namespace and app, which are written beside its log."""

    namespace: str
    app: str


class ClusterRunFolders(RunFolders):
    """The folders of runs, each with its run's namespace."""

    def observe(self, run_id: str) -> RunState | RunEnd:
        """Return how a run has ended, or `STARTING` or `RUNNING`. Raises OSError."""
        status = read_status(self.find(run_id))
        if status is None:
            return RunState.STARTING
        return self._make_end(status) if is_final(status) else RunState.RUNNING

    def measure_age(self, run_id: str) -> float:
        """Return the time since the last change of a run's folder, in seconds. Raises OSError."""
        return self._now() - self.find(run_id).folder.stat().st_mtime

    def make(self, run_id: str, place: RunNamespace) -> RunFolder:
        """Return the folder of a run, creating it if it is missing. Raises OSError."""
        run = self._place(run_id)
        run.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (run.folder / _PLACE).exists():
            (run.folder / _PLACE).write_text(json.dumps(asdict(place)), encoding="ascii")
        return run

    def read_place(self, run_id: str) -> RunNamespace:
        """Return the namespace and the app of a run. Raises OSError."""
        text = (self.find(run_id).folder / _PLACE).read_bytes()[:1024]
        try:
            fields = json.loads(text)
            return RunNamespace(str(fields["namespace"]), str(fields["app"]))
        except (ValueError, KeyError, TypeError) as error:
            raise OSError(errno.EIO, "its place cannot be read", run_id) from error
