"""One start for each target at a time, and everybody who waits hears of its steps."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from stagedoor.model.denial import Denial
from stagedoor.model.shell import Progress, Shell, StartStep
from stagedoor.model.target import Target

Begin = Callable[[Progress], Coroutine[Any, Any, Shell | Denial]]
"""Makes the start; it is given whom to tell of its steps."""


class Starts:
    """The starts under way. Belongs to one event loop."""

    def __init__(self) -> None:
        self._starting: dict[Target, _Starting] = {}

    async def join(self, target: Target, begin: Begin, progress: Progress) -> Shell | Denial:
        """Wait for the start of `target` that goes on, or for the one that `begin` makes.

        A cancelled caller leaves the start to the others, and to the next one.
        """
        starting = self._starting.get(target)
        if starting is None:
            starting = self._starting[target] = _Starting(begin)
            starting.task.add_done_callback(lambda _: self._starting.pop(target))
        starting.listening.append(progress)
        try:
            return await asyncio.shield(starting.task)
        finally:
            starting.listening.remove(progress)

    async def close(self) -> None:
        """Give up every start, and wait until they have ended."""
        tasks = [starting.task for starting in self._starting.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Starting:
    """One start, and who listens to it."""

    def __init__(self, begin: Begin) -> None:
        self.listening: list[Progress] = []
        self.task = asyncio.create_task(begin(self._tell))

    def _tell(self, step: StartStep) -> None:
        for progress in tuple(self.listening):
            progress(step)
