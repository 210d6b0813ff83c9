"""A bounded pool of threads for verifying passwords, in which sources take turns."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum

from stagedoor.model.fair_queue import FairQueue


class Full(Enum):
    """The limit that leaves no room: this source's, or that of all together."""

    SOURCE = "source"
    ALL = "all"


class VerifyPool:
    """A pool in which `threads` verifications run at once and `waiting` more may wait.

    One source may have `per_source` of both. Belongs to one event loop.
    """

    def __init__(self, threads: int, waiting: int, per_source: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._free = threads
        self._per_source = per_source
        self._of_source: Counter[str] = Counter()
        self._turns: FairQueue[asyncio.Future[bool]] = FairQueue(waiting)

    async def run(self, source: str, work: Callable[[], bool]) -> bool | Full:
        """Call `work` in a thread, on this source's turn, and return its result, or why it was not called."""
        if self._of_source[source] >= self._per_source:
            return Full.SOURCE
        self._of_source[source] += 1
        try:
            if not await self._wait_for_turn(source):
                return Full.ALL
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
            finally:
                self._free_thread()
        finally:
            self._of_source[source] -= 1
            if not self._of_source[source]:
                del self._of_source[source]

    def close(self) -> None:
        """Stop the threads. Work that has not begun is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _wait_for_turn(self, source: str) -> bool:
        """Wait for a free thread. Return False if another source took this place in the queue."""
        if self._free:
            self._free -= 1
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        displaced = self._turns.line_up(turn, source)
        if displaced is not None and not displaced.done():
            displaced.set_result(False)
        try:
            return await turn
        except asyncio.CancelledError:
            self._turns.remove(turn)
            if turn.done() and not turn.cancelled() and turn.result():
                self._free_thread()
            raise

    def _free_thread(self) -> None:
        """Give a thread to the next in the queue, or count it as free."""
        while (turn := self._turns.take()) is not None:
            if not turn.done():  # otherwise the waiting task has just been cancelled
                turn.set_result(True)
                return
        self._free += 1
