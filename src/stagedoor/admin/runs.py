"""The records of runs in the store. Each start, end, cancellation and view is in the audit."""

from collections.abc import Callable, Sequence
from types import MappingProxyType

from stagedoor.admin.blocking import call_blocking, call_in_transaction
from stagedoor.audit.opening import make_session_id
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.event import Event, EventKind, Plain
from stagedoor.model.run import Run, RunEnd, RunLog, RunOrder
from stagedoor.model.session import LoginOrigin
from stagedoor.model.target import Target
from stagedoor.recording.recorder import RecordingEnded
from stagedoor.store import runs
from stagedoor.store.database import Database, Transaction
from stagedoor.store.journal import append
from stagedoor.wire.oneline import escape


class StoredRunRecords:
    """A `session.ports.RunRecords` in a store. It uses the store in threads; a failure is a Denial."""

    def __init__(self, database: Database, instance: str, now: Callable[[], float]) -> None:
        self._database = database
        self._instance = instance
        self._now = now

    async def add(
        self,
        run_id: str,
        order: RunOrder,
        starter: str,
        origin: LoginOrigin,
        *,
        awaits_input: bool = False,
        is_recorded: bool = False,
    ) -> Run | Denial:
        """Record a run that starts now, in the audit as well, or refuse it by a limit or its lock.

        If `awaits_input`, `take_input` starts it.
        """

        def write(transaction: Transaction) -> Run | Denial:
            now = self._now()
            recording = make_session_id(now) if is_recorded else None
            run = runs.add_run(
                transaction,
                run_id,
                order,
                starter,
                now,
                awaits_input=awaits_input,
                recording=recording,
            )
            if isinstance(run, str):
                return Denial(Reason.RUN_LIMIT, run)
            append(transaction, [self._event(EventKind.RUN_STARTED, run, starter, origin)])
            if run.recording is not None:
                runs.add_recorded(transaction, run, origin, self._instance)
            return run

        return await call_in_transaction(self._database.write, write)

    async def add_input(self, run_id: str, at: int, data: bytes) -> int | Denial | None:
        """Add input to a run that waits for it, and return its size; None if the run does not wait."""
        return await call_in_transaction(
            self._database.write, runs.add_input, run_id, at, data, self._now()
        )

    async def take_input(self, run_id: str, size: int) -> tuple[Run, bytes] | Denial | None:
        """Start a run that waits for its input of `size` bytes, and return both; None if it does not."""
        return await call_in_transaction(
            self._database.write, runs.take_input, run_id, size, self._now()
        )

    async def mark_running(self, run_id: str) -> bool | Denial:
        """Record that a task runs. Return False if its run counts as ended."""
        return await call_in_transaction(self._database.write, runs.mark_running, run_id)

    async def end(self, run_id: str, end: RunEnd, log: RunLog) -> Run | Denial | None:
        """Record the end of a run, in the audit as well. Return the run, or None if it had ended."""

        def write(transaction: Transaction) -> Run | None:
            run = runs.end_run(transaction, run_id, end, log)
            if run is not None:
                append(transaction, [self._event(EventKind.RUN_ENDED, run, run.starter, None)])
            return run

        return await call_in_transaction(self._database.write, write)

    def note_recording(self, run: Run, ended: RecordingEnded) -> None:
        """Write to the audit that a run was recorded, or could not be. Blocks. Raises StoreError."""
        kind = EventKind.RECORDING_FAILED if ended.why else EventKind.RECORDING_ENDED
        fields: dict[str, Plain] = {
            "recording": ended.name,
            "run": run.id,
            "size": ended.size,
            "sha256": ended.sha256,
        }
        if ended.why is not None:
            fields["why"] = ended.why
        event = Event(
            self._now(),
            kind,
            self._instance,
            run.recording,
            identity=run.starter,
            target=str(run.target),
            fields=MappingProxyType(fields),
        )
        with self._database.write() as transaction:
            append(transaction, [event])

    async def note(
        self, kind: EventKind, run: Run, name: str, origin: LoginOrigin
    ) -> Denial | None:
        """Write to the audit that the user `name` cancels or views a run."""
        event = self._event(kind, run, name, origin)
        return await call_in_transaction(self._database.write, append, [event])

    async def find(self, prefix: str) -> Sequence[Run] | Denial:
        """Return the runs whose id begins with `prefix`, two at most."""
        return await call_in_transaction(self._database.read, runs.find_runs, prefix)

    async def list_runs(self, is_shown: Callable[[Target], bool]) -> Sequence[Run] | Denial:
        """Return the runs of the apps that are shown, the newest first. `is_shown` is called in a thread."""
        return await call_in_transaction(self._database.read, runs.list_runs, is_shown)

    async def read_log(self, run_id: str) -> RunLog | Denial:
        """Return what the store has of the log of a run that has ended."""
        return await call_in_transaction(self._database.read, runs.read_log, run_id)

    async def find_lost(self) -> Sequence[tuple[Run, RunEnd]] | Denial:
        """Return the runs that count as lost now, each with its end."""
        return await call_in_transaction(self._database.read, runs.find_lost, self._now())

    async def forget_old(self) -> set[str] | Denial:
        """Remove old runs, and return the ids of all that are left."""

        def write() -> set[str]:
            with self._database.read() as transaction:
                old = runs.find_old(transaction, self._now())
                known = runs.list_ids(transaction)
            if old:
                with self._database.write() as transaction:
                    runs.remove_runs(transaction, old)
            return known - set(old)

        return await call_blocking(write)

    def _event(self, kind: EventKind, run: Run, name: str, origin: LoginOrigin | None) -> Event:
        fields: dict[str, Plain] = {"run": run.id}
        if kind is EventKind.RUN_STARTED:
            fields |= {"what": escape(run.command), "timeout_s": run.timeout_s, "lock": run.lock}
            fields |= {} if run.size_name is None else {"run_size": run.size_name}
        elif kind is EventKind.RUN_ENDED:
            lasted_s = (run.ended_at or run.started_at) - run.started_at
            fields |= {"code": run.code, "duration_s": round(max(lasted_s, 0.0), 3)}
            fields |= {"size": run.size, "detail": escape(run.detail)}
        else:
            fields |= {"starter": run.starter}
        return Event(
            self._now(),
            kind,
            self._instance,
            identity=name,
            target=str(run.target),
            source=None if origin is None else str(origin.source),
            access_method=None if origin is None else origin.access_method,
            reason=run.state.value if kind is EventKind.RUN_ENDED else None,
            fields=MappingProxyType(fields),
        )
