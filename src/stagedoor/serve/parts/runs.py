"""A worker's runs: the service for its listeners, and the watch that records how runs end."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial

import structlog

from stagedoor.admin.context import WorkerContext
from stagedoor.admin.runs import StoredRunRecords
from stagedoor.authz.decide import has_somewhere
from stagedoor.keys.age import AgeSeal
from stagedoor.model.errors import StoreError
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.run import Output, Run, RunEnd, RunOrder, RunState
from stagedoor.model.target import Target
from stagedoor.recording.folder import RecordingFolder
from stagedoor.recording.run_file import write_run_recording
from stagedoor.serve.parts.shells import open_local_runner
from stagedoor.serve.problem_log import ProblemLog
from stagedoor.session.flow import Flow
from stagedoor.session.run_watch import RecordRun, RunWatch
from stagedoor.session.runs import RunService
from stagedoor.settings.settings import Settings
from stagedoor.shells.runner import Runner


class RunnerDirectory:
    """A `Runner` that uses the first of `runners` that has the app, or the run."""

    def __init__(self, runners: Sequence[Runner]) -> None:
        self._runners = tuple(runners)

    def has(self, target: Target) -> bool:
        """Return whether a runner has the app."""
        return any(runner.has(target) for runner in self._runners)

    def has_input_stream(self, target: Target) -> bool:
        """Return whether input can be sent to a run of this app while it runs."""
        return self._for(target).has_input_stream(target)

    def find_limit(self, target: Target) -> str | None:
        """Return the limit that keeps runs of this app from starting now, or None."""
        return self._for(target).find_limit(target)

    def list_sizes(self, target: Target) -> Collection[str]:
        """Return the sizes that runs of this app may have."""
        return self._for(target).list_sizes(target)

    async def start(self, run_id: str, order: RunOrder, whole_input: bytes = b"") -> str | None:
        """Start a task; see `Runner`."""
        return await self._for(order.target).start(run_id, order, whole_input)

    def list_ids(self) -> set[str]:
        """Return the runs of all runners."""
        return {run_id for runner in self._runners for run_id in runner.list_ids()}

    def observe(self, run_id: str) -> RunState | RunEnd:
        """Return the state of a run."""
        return self._of(run_id).observe(run_id)

    def read(self, run_id: str, start: int, most: int) -> list[Output]:
        """Return output of a run; see `Runner`."""
        return self._of(run_id).read(run_id, start, most)

    def measure(self, run_id: str) -> tuple[int, int]:
        """Return which output is kept; see `Runner`."""
        return self._of(run_id).measure(run_id)

    def feed(self, run_id: str, at: int, data: bytes) -> int:
        """Send input; see `Runner`."""
        return self._of(run_id).feed(run_id, at, data)

    def end_input(self, run_id: str, size: int | None) -> bool:
        """Report the end of the input; see `Runner`."""
        return self._of(run_id).end_input(run_id, size)

    def keep_input(self, run_id: str) -> None:
        """Report that the client is still there."""
        self._of(run_id).keep_input(run_id)

    def cancel(self, run_id: str) -> None:
        """Ask a task to end."""
        self._of(run_id).cancel(run_id)

    def remove_excess(self, ended: Collection[str]) -> None:
        """Remove output from each runner that has too much."""
        for runner in self._runners:
            runner.remove_excess(ended)

    def remove(self, run_id: str) -> None:
        """Remove a run that has ended."""
        self._of(run_id).remove(run_id)

    def _for(self, target: Target) -> Runner:
        return next((runner for runner in self._runners if runner.has(target)), self._runners[-1])

    def _of(self, run_id: str) -> Runner:
        for runner in self._runners[:-1]:
            with suppress(OSError):
                runner.measure(run_id)
                return runner
        return self._runners[-1]


def make_runs(
    context: WorkerContext,
    flow: Flow,
    instance: str,
    problems: ProblemLog,
    cluster: Runner | None,
) -> tuple[RunService, RunWatch]:
    """Return the run service and the run watch of worker `instance`.

    `cluster` has the runs of apps on Kubernetes. `problems` receives the failures of the watch.
    """
    records = StoredRunRecords(context.database, instance, context.now)
    local = open_local_runner(context.settings)
    runner = local if cluster is None else RunnerDirectory((local, cluster))

    def has_any(identity: Identity) -> bool:
        return has_somewhere(context.policy(), identity, Permission.RUN, context.now())

    record = _make_recorder(context.settings, records)
    service = RunService(flow, records, runner, record, has_any)
    return service, RunWatch(records, runner, record, partial(problems, "runs"))


def _make_recorder(settings: Settings, records: StoredRunRecords) -> RecordRun:
    """Return a function that writes recordings of runs beside those of terminals. Raises StagedoorError."""
    folder, recipients = RecordingFolder(settings.recordings_folder), settings.recording.recipients
    seal = AgeSeal(recipients) if recipients else None
    log = structlog.get_logger()

    def record(run: Run, output: Iterable[Output]) -> None:
        ended = write_run_recording(folder, seal, run, output)
        if ended.why is not None:
            log.error("recording failed", recording=ended.name, run=run.id, reason=ended.why)
        try:
            records.note_recording(run, ended)
        except StoreError as error:
            log.error("a recording is not in the audit", recording=ended.name, reason=str(error))

    return record
