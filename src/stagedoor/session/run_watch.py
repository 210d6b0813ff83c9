"""The watch over runs, which records what happens while no client is connected, and after a gateway has died.

Every worker runs one. All do the same work, and the store accepts each end once.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from stagedoor.model.denial import Denial
from stagedoor.model.run import STORED_LOG_BYTES, Output, Run, RunEnd, RunLog, RunState
from stagedoor.session.ports import RunRecords
from stagedoor.shells.runner import PIECE_BYTES, Runner

OBSERVE_EVERY_S = 1.0
CHECK_S = 60.0
"""The time between two searches for lost and for old runs, seconds."""

RecordRun = Callable[[Run, Iterable[Output]], None]
"""Writes the recording of a run that has ended, from its kept output. Blocks, and never raises."""


class RunWatch:
    """The watch of one worker. `on_problem` gets a line about a failure, or None once it is over."""

    def __init__(
        self,
        records: RunRecords,
        runner: Runner,
        record: RecordRun,
        on_problem: Callable[[str | None], None],
    ) -> None:
        self._records = records
        self._runner = runner
        self._record = record
        self._on_problem = on_problem
        self._over: set[str] = set()
        """The runs whose end is recorded."""
        self._marked: set[str] = set()
        """The runs that are recorded as running."""

    async def run(self) -> None:
        """Check runs periodically until cancelled."""
        loop = asyncio.get_running_loop()
        check_at = loop.time()
        while True:
            problem = None
            try:
                if is_due := loop.time() >= check_at:
                    check_at = loop.time() + CHECK_S
                problem = await self._observe_runs()
                if is_due:
                    problem = await self._check() or problem
            except Exception as error:  # the next check must follow whatever fails in this one
                problem = _describe(error)
            self._on_problem(problem)
            await asyncio.sleep(OBSERVE_EVERY_S)

    async def _observe_runs(self) -> str | None:
        """Record the ends of the runs that this gateway can see. Return a line about a failure, or None."""
        ids = await asyncio.to_thread(self._runner.list_ids)
        self._over &= ids
        self._marked &= ids
        problem = None
        for run_id in ids - self._over:
            try:
                await self._observe_run(run_id)
            except FileNotFoundError:
                continue  # removed meanwhile
            except Exception as error:  # the other runs are looked at all the same
                problem = _describe(error)
        await asyncio.to_thread(self._runner.remove_excess, self._over)
        return problem

    async def _observe_run(self, run_id: str) -> None:
        """Record that a run's task runs, or its end. Raises OSError, and what the runner raises."""
        end = await asyncio.to_thread(self._runner.observe, run_id)
        if isinstance(end, RunEnd):
            size = await record_end(self._records, self._runner, self._record, run_id, end)
            if not isinstance(size, Denial):
                self._over.add(run_id)
        elif end is RunState.RUNNING and run_id not in self._marked:
            await self._mark(run_id)

    async def _mark(self, run_id: str) -> None:
        """Record that a task runs. End it if its run is recorded as ended or is not recorded at all."""
        marked = await self._records.mark_running(run_id)
        if marked is False:
            await asyncio.to_thread(self._runner.cancel, run_id)
        if not isinstance(marked, Denial):
            self._marked.add(run_id)

    async def _check(self) -> str | None:
        """Record lost runs and remove old ones. Return a line about a failure, or None."""
        lost = await self._records.find_lost()
        if isinstance(lost, Denial):
            return lost.message
        for run, end in lost:
            await self._records.end(run.id, end, RunLog())
        kept = await self._records.forget_old()
        if isinstance(kept, Denial):
            return kept.message
        for run_id in self._over - kept:
            await asyncio.to_thread(self._runner.remove, run_id)
        return None


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


async def record_end(
    records: RunRecords, runner: Runner, record: RecordRun, run_id: str, end: RunEnd
) -> int | Denial:
    """Record an end that a runner reports, with the last output. Return the number of bytes of all output.

    The caller whose end the store accepts also writes the recording, if the run has one.
    """

    def read() -> RunLog:
        first, size = runner.measure(run_id)
        at, tail = max(first, size - STORED_LOG_BYTES), bytearray()
        for piece in _read_pieces(runner, run_id, at, size):
            # A gap, which a full disk left, is filled so that offsets stay true.
            tail += bytes(piece.start - at) + piece.data
            at = piece.end
        return RunLog(bytes(tail[-STORED_LOG_BYTES:]), max(at, size))

    try:
        log = await asyncio.to_thread(read)
    except OSError:
        log = RunLog()
    run = await records.end(run_id, end, log)
    if isinstance(run, Denial):
        return run
    if run is not None and run.recording is not None:
        await asyncio.to_thread(record, run, _read_all(runner, run_id))
    return log.size


def _read_all(runner: Runner, run_id: str) -> Iterator[Output]:
    """Yield all kept output. Leave out what cannot be read."""
    with suppress(OSError):
        yield from _read_pieces(runner, run_id, *runner.measure(run_id))


def _read_pieces(runner: Runner, run_id: str, at: int, size: int) -> Iterator[Output]:
    """Yield the output from offset `at` up to `size`. Raises OSError."""
    while at < size and (pieces := runner.read(run_id, at, PIECE_BYTES)):
        yield from pieces
        at = pieces[-1].end
