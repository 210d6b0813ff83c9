"""The state and the output of runs, for users who have the permission."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.run import Output, Run, RunEnd, RunState, join_streams
from stagedoor.session.flow import Flow
from stagedoor.session.ports import RunRecords
from stagedoor.session.revoke import require_permission
from stagedoor.session.run_watch import RecordRun, record_end
from stagedoor.shells.runner import PIECE_BYTES, Runner

_PAUSES_S = (0.02, 0.25)
"""The first and the longest pause between two polls of a run that prints nothing."""


class RunReader:
    """The state and the output of runs that the user was allowed to find. Belongs to one event loop."""

    def __init__(self, flow: Flow, records: RunRecords, runner: Runner, record: RecordRun) -> None:
        self._flow = flow
        self._records = records
        self._runner = runner
        self._record = record

    def is_still_allowed(self, identity: Identity, run: Run) -> bool:
        """Return whether the user still has the permission, by the policy in memory."""
        verdict = self._flow.authoriser.authorise(identity, run.target, includes_unbegun=False)
        return isinstance(require_permission(Permission.RUN, verdict), Grant)

    async def refresh(self, run: Run) -> Run:
        """Return the run in its current state, and record its end if it has just ended."""
        if run.is_over:
            return run
        try:
            end = await asyncio.to_thread(self._runner.observe, run.id)
        except OSError:  # it is on another machine
            end = RunState.STARTING
        if end is RunState.RUNNING:
            return replace(run, state=end)
        if isinstance(end, RunEnd):
            size = await record_end(self._records, self._runner, self._record, run.id, end)
            # If the store fails now, `RunWatch` records the end later; the client need not wait for that.
            run = run.with_end(end, 0 if isinstance(size, Denial) else size)
        # The store may have an earlier end: that the run was not started, and why.
        runs = await self._records.find(run.id)
        return runs[0] if not isinstance(runs, Denial) and runs else run

    async def read(self, run: Run, start: int, most: int = PIECE_BYTES) -> list[Output] | Denial:
        """Return output from byte `start`, or the first kept byte after it; empty if there is none yet."""
        with suppress(OSError):  # it is on another machine
            pieces = await asyncio.to_thread(self._runner.read, run.id, start, most)
            if pieces or not run.is_over or start >= run.size:
                return join_streams(pieces)
        log = await self._records.read_log(run.id)
        if isinstance(log, Denial):
            return log
        first = max(start, log.start)
        data = log.tail[first - log.start :][:most]
        return [Output(first, data)] if data else []

    async def read_end(self, run: Run, most: int) -> list[Output] | Denial:
        """Return the last `most` bytes of output so far."""
        try:
            first, size = await asyncio.to_thread(self._runner.measure, run.id)
        except OSError:
            first = size = 0
        if first == size:
            return await self.read(run, max(0, run.size - most), most)
        at, pieces = max(first, size - most), list[Output]()
        while at < size:
            more = await self.read(run, at, size - at)
            if isinstance(more, Denial):
                return more
            if not more:
                break
            pieces += more
            at = more[-1].end
        return pieces

    async def follow(
        self, identity: Identity, run: Run, start: int
    ) -> AsyncIterator[Output | Run | Denial]:
        """Yield the output from byte `start` on, then the run that has ended.

        The last value is a Denial if the user loses the permission or the store fails.
        """
        pause_s = _PAUSES_S[0]
        while True:
            over = run.is_over
            pieces = await self.read(run, start)
            if isinstance(pieces, Denial):
                yield pieces
                return
            if not self.is_still_allowed(identity, run):
                yield make_unknown_run_denial(run.id)
                return
            for piece in pieces:
                start = piece.end
                yield piece
            if pieces:
                pause_s = _PAUSES_S[0]
                continue
            if over:  # it had ended before the last output was read
                yield run
                return
            run = await self.refresh(run)
            if not run.is_over:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSES_S[1])

    async def wait(self, identity: Identity, run: Run) -> Run:
        """Return the run once it has ended, or its state when the user loses the permission."""
        pause_s = _PAUSES_S[0]
        while True:
            run = await self.refresh(run)
            if run.is_over or not self.is_still_allowed(identity, run):
                return run
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSES_S[1])


def make_unknown_run_denial(prefix: str) -> Denial:
    """Return the refusal of a run that does not exist, and of one that the user may not see."""
    why = f"there is no run {prefix}, or you may not see it; look at: run list"
    return Denial(Reason.NO_APP, why)
