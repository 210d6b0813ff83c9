"""Threads in which passwords are verified, a bounded number of them, with turns for each source."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum

from stagedoor.model.fair_queue import FairQueue


class Full(Enum):
    """Why there is no room: for this source, or for all together."""

    SOURCE = "source"
    ALL = "all"


class VerifyPool:
    """`threads` run at once and `waiting` more may wait, `per_source` of both for one source.

    Belongs to one event loop.
    """

    def __init__(self, threads: int, waiting: int, per_source: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._free = threads
        self._per_source = per_source
        self._of_source: Counter[str] = Counter()
        self._turns: FairQueue[asyncio.Future[bool]] = FairQueue(waiting)

    async def run(self, source: str, work: Callable[[], bool]) -> bool | Full:
        """What `work` returns, once it is this source's turn; or why it was not called."""
        if self._of_source[source] >= self._per_source:
            return Full.SOURCE
        self._of_source[source] += 1
        try:
            if not await self._turn(source):
                return Full.ALL
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
            finally:
                self._pass_on()
        finally:
            self._of_source[source] -= 1
            if not self._of_source[source]:
                del self._of_source[source]

    def close(self) -> None:
        """Let the threads go; what has not begun is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _turn(self, source: str) -> bool:
        """Whether it is our turn now; False if we had to go for somebody else."""
        if self._free:
            self._free -= 1
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        gone = self._turns.line_up(turn, source)
        if gone is not None and not gone.done():
            gone.set_result(False)
        try:
            return await turn
        except asyncio.CancelledError:
            self._turns.remove(turn)
            if turn.done() and not turn.cancelled() and turn.result():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while (turn := self._turns.take()) is not None:
            if not turn.done():  # else the waiting task was cancelled a moment ago
                turn.set_result(True)
                return
        self._free += 1
