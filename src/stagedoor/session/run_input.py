"""The transfer of a run's input from a client that sends it as a stream, as ssh does."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from stagedoor.model.identity import Identity
from stagedoor.model.run import Run
from stagedoor.session.runs import RunService

FULL_BYTES = 256 * 1024
"""The waiting bytes at which the client is held back."""
KEEP_S = 20.0
"""How often a client that sends nothing is reported as still there (`holder.run_input.SILENCE_S`)."""
_PAUSES_S = (0.001, 0.05)
"""The pauses while the task does not read: the first, and the longest."""
_PAUSE_S = 0.05
_END_TRIES = 1200
"""A minute of _PAUSE_S; the holder knows by its own clock then."""


class RunInputPump:
    """The input of one run. `hold` and `release` hold the client back, and let it send again."""

    def __init__(
        self,
        runs: RunService,
        identity: Identity,
        hold: Callable[[], None],
        release: Callable[[], None],
    ) -> None:
        self._runs = runs
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
        """Note that the client is lost. The input that it sent is passed on only if it is complete."""
        self._is_lost = not self._is_complete
        self._release = lambda: None
        self._news.set()

    async def is_empty(self, within_s: float) -> bool:
        """Return whether the client closes its input within `within_s` seconds, and has sent nothing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not (self._waiting or self._is_complete):
                    self._news.clear()
                    await self._news.wait()
        return self._is_complete and not self._waiting

    async def run(self, run: Run) -> None:
        """Send the input to the task until its end."""
        sent, pause_s = 0, _PAUSES_S[0]
        while not self._is_lost:
            if self._waiting:
                piece = bytes(self._waiting[:FULL_BYTES])
                taken = await self._runs.feed(self._identity, run, sent, piece)
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
                    await self._runs.keep_input(self._identity, run)
        for _ in range(_END_TRIES):
            size = None if self._is_lost else sent
            if await self._runs.end_input(self._identity, run, size) is not False:
                return
            await asyncio.sleep(_PAUSE_S)
