"""The folders of the runs on Kubernetes whose logs this gateway copies."""

import errno
import json
from dataclasses import asdict, dataclass

from stagedoor.holder.run_folder import RunFolder
from stagedoor.model.run import RunEnd, RunState
from stagedoor.shells.run_folders import RunFolders, is_final, read_status

_APP_FILE = "place.json"
"""The file with a run's app. The folders of earlier versions have it by this name."""


@dataclass(frozen=True, slots=True)
class RunApp:
    """The app of a run, by its namespace and name, which are written beside the run's log."""

    namespace: str
    app: str


class ClusterRunFolders(RunFolders):
    """The folders of runs, each with its run's app."""

    def observe(self, run_id: str) -> RunState | RunEnd:
        """Return how a run has ended, or `STARTING` or `RUNNING`. Raises OSError."""
        status = read_status(self.find(run_id))
        if status is None:
            return RunState.STARTING
        return self._make_end(status) if is_final(status) else RunState.RUNNING

    def measure_age(self, run_id: str) -> float:
        """Return the time since the last change of a run's folder, in seconds. Raises OSError."""
        return self._now() - self.find(run_id).folder.stat().st_mtime

    def make(self, run_id: str, app: RunApp) -> RunFolder:
        """Return the folder of a run, creating it if it is missing. Raises OSError."""
        run = self._get_folder(run_id)
        run.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (run.folder / _APP_FILE).exists():
            (run.folder / _APP_FILE).write_text(json.dumps(asdict(app)), encoding="ascii")
        return run

    def read_run_app(self, run_id: str) -> RunApp:
        """Return the app of a run. Raises OSError."""
        text = (self.find(run_id).folder / _APP_FILE).read_bytes()[:1024]
        try:
            fields = json.loads(text)
            return RunApp(str(fields["namespace"]), str(fields["app"]))
        except (ValueError, KeyError, TypeError) as error:
            raise OSError(errno.EIO, "its app cannot be read", run_id) from error
