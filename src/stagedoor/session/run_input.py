"""The transfer of a run's input from a client that sends it in pieces, or as a stream (ssh)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.run import (
    MAX_WHOLE_INPUT_BYTES,
    Run,
    RunLog,
    RunState,
    end_without_input,
)
from stagedoor.model.units import MIB
from stagedoor.session.ports import RunRecords
from stagedoor.shells.runner import Runner

FULL_BYTES = 256 * 1024
"""When this many bytes wait, the client is held back."""
KEEP_S = 20.0
"""How often an idle client is reported as still there (`holder.run_input.SILENCE_S`)."""
_PAUSES_S = (0.001, 0.05)
"""The first and the longest pause while the task does not read."""
_PAUSE_S = 0.05
_END_TRIES = 1200
"""A minute of _PAUSE_S; the holder knows by its own clock then."""


class RunInputs:
    """The input of runs. Only the user who started a run may send it.

    A task either reads the input as it arrives, or starts with all of it. In the second case the store keeps
    it until `end`, and `begin` starts the run. `now` returns seconds since the epoch.
    """

    def __init__(
        self,
        records: RunRecords,
        runner: Runner,
        begin: Callable[[Run, bytes], None],
        now: Callable[[], float],
    ) -> None:
        self._records = records
        self._runner = runner
        self._begin = begin
        self._now = now

    async def feed(self, identity: Identity, run: Run, at: int, data: bytes) -> int | Denial:
        """Send input from offset `at` on. Return the offset up to which it was accepted."""
        if run.starter != identity.name:
            return _not_yours(run)
        if run.state is RunState.WAITING:
            if at + len(data) > MAX_WHOLE_INPUT_BYTES:
                return await self._refuse(run)
            size = await self._records.add_input(run.id, at, data)
            return at + len(data) if size is None else size  # None: it has ended
        try:
            return await asyncio.to_thread(self._runner.feed, run.id, at, data)
        except OSError:
            return at + len(data)  # the task has ended and reads nothing more

    async def end(self, identity: Identity, run: Run, size: int | None) -> bool | Denial:
        """Report the input's end at `size` bytes, or with None that the client is lost.

        Return False if the caller has to report it again later.
        """
        if run.starter != identity.name:
            return _not_yours(run)
        if run.state is not RunState.WAITING:
            try:
                return await asyncio.to_thread(self._runner.end_input, run.id, size)
            except OSError:
                return True
        if size is None:
            return await self._end_run(run, "its client was lost") or True
        taken = await self._records.take_input(run.id, size)
        if isinstance(taken, Denial):
            return taken
        if taken is not None:
            self._begin(*taken)
        return True

    async def keep(self, identity: Identity, run: Run) -> None:
        """Report that the client is still there."""
        if run.starter != identity.name:
            return
        if run.state is RunState.WAITING:
            await self._records.add_input(run.id, 0, b"")
            return
        with suppress(OSError):  # the task has ended
            await asyncio.to_thread(self._runner.keep_input, run.id)

    async def _refuse(self, run: Run) -> Denial:
        most = MAX_WHOLE_INPUT_BYTES // MIB
        await self._end_run(run, f"its input has more than {most} MiB")
        return Denial(
            Reason.BAD_REQUEST,
            f"its input has more than {most} MiB, and a run on Kubernetes takes no more; copy it into the "
            "app's shell, and use it there",
        )

    async def _end_run(self, run: Run, why: str) -> Denial | None:
        ended = await self._records.end(run.id, end_without_input(self._now(), why), RunLog())
        return ended if isinstance(ended, Denial) else None


def _not_yours(run: Run) -> Denial:
    return Denial(
        Reason.NO_GRANT, f"the input of run {run.id} comes from {run.starter}, who started it"
    )


class RunInputPump:
    """The input of one run. `hold` and `release` hold the client back, and let it send again."""

    def __init__(
        self,
        inputs: RunInputs,
        identity: Identity,
        hold: Callable[[], None],
        release: Callable[[], None],
    ) -> None:
        self._inputs = inputs
        self._identity = identity
        self._hold = hold
        self._release = release
        self._waiting = bytearray()
        self._is_held = False
        self._is_complete = False
        self._is_lost = False
        self._news = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Take input from the client."""
        self._waiting += data
        if len(self._waiting) >= FULL_BYTES and not self._is_held:
            self._is_held = True
            self._hold()
        self._news.set()

    def finish(self) -> None:
        """Take the end of the input."""
        self._is_complete = True
        self._news.set()

    def abandon(self) -> None:
        """Record that the client is lost. Its input is delivered only if it is complete."""
        self._is_lost = not self._is_complete
        self._release = lambda: None
        self._news.set()

    async def is_complete(self, within_s: float) -> bool:
        """Return whether the client ends its input, or is lost, within `within_s` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not (self._is_lost or self._is_complete):
                    self._news.clear()
                    await self._news.wait()
        return self._is_lost or self._is_complete

    async def run(self, run: Run) -> None:
        """Send the input to the task until its end."""
        sent, pause_s = 0, _PAUSES_S[0]
        while not self._is_lost:
            if self._waiting:
                piece = bytes(self._waiting[:FULL_BYTES])
                taken = await self._inputs.feed(self._identity, run, sent, piece)
                if not isinstance(taken, int):
                    return
                del self._waiting[: taken - sent]
                pause_s = _PAUSES_S[0] if taken > sent else min(2 * pause_s, _PAUSES_S[1])
                if taken < sent + len(piece):
                    await asyncio.sleep(pause_s)
                sent = taken
                if self._is_held and len(self._waiting) < FULL_BYTES:
                    self._is_held = False
                    self._release()
            elif self._is_complete:
                break
            else:
                self._news.clear()
                try:
                    async with asyncio.timeout(KEEP_S):
                        await self._news.wait()
                except TimeoutError:
                    await self._inputs.keep(self._identity, run)
        for _ in range(_END_TRIES):
            size = None if self._is_lost else sent
            if await self._inputs.end(self._identity, run, size) is not False:
                return
            await asyncio.sleep(_PAUSE_S)
