"""Tasks of an event loop that are not awaited one by one."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any


class Tasks:
    """A set of running tasks, for one event loop.

    It keeps references, so that no task is garbage-collected before its end. An exception in a task is
    reported to the loop's exception handler with `message`.
    """

    def __init__(self, message: str) -> None:
        self._message = message
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(
        self,
        work: Coroutine[Any, Any, None],
        at_end: Callable[[asyncio.Task[None]], None] | None = None,
    ) -> asyncio.Task[None]:
        """Run `work` as a task. `at_end` is called when it ends, even if it was cancelled before it began."""
        task = asyncio.create_task(work)
        self._running.add(task)
        # One callback, since each is a turn of the loop.
        task.add_done_callback(self._end if at_end is None else partial(self._end_with, at_end))
        return task

    def cancel(self, why: str) -> None:
        """Cancel all tasks. `why` is the message of their CancelledError."""
        for task in tuple(self._running):
            task.cancel(why)

    async def wait(self) -> None:
        """Wait until all tasks have ended, however they end.

        Cancelling the wait does not cancel the tasks.
        """
        if self._running:
            await asyncio.wait(self._running)

    def _end_with(
        self, at_end: Callable[[asyncio.Task[None]], None], task: asyncio.Task[None]
    ) -> None:
        try:
            at_end(task)
        finally:
            self._end(task)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            report_fault(self._message, error)


def report_fault(message: str, error: BaseException) -> None:
    """Report a bug to the running loop's exception handler, which logs it."""
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
