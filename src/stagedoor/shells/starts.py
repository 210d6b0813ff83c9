"""The starts under way: one for each target, with its steps reported to every waiting login."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.shell import Progress, ProgressStep, Shell
from stagedoor.model.target import Target
from stagedoor.wire.oneline import fold

SOON_S = 5
"""Seconds after which a client may try again if a start has failed but may succeed later."""

Begin = Callable[[Progress], Coroutine[Any, Any, Shell | Denial]]
"""Runs a start, and calls its argument with each step."""


class Starts:
    """The starts under way. Belongs to one event loop."""

    def __init__(self) -> None:
        self._starts: dict[Target, _SharedStart] = {}

    async def join(self, target: Target, begin: Begin, progress: Progress) -> Shell | Denial:
        """Wait for the start of `target` that is under way; if there is none, run `begin`.

        If a caller is cancelled, the start continues for other and later callers.
        """
        start = self._starts.get(target)
        if start is None:
            start = self._starts[target] = _SharedStart(begin)
            start.task.add_done_callback(lambda _: self._starts.pop(target))
        start.listeners.append(progress)
        try:
            return await asyncio.shield(start.task)
        finally:
            start.listeners.remove(progress)

    async def cancel_all(self) -> None:
        """Cancel every start, and wait until all have ended."""
        tasks = [start.task for start in self._starts.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def make_start_denial(target: Target, why: str, retry_after_s: int = SOON_S) -> Denial:
    """Return the denial for a login whose shell does not start."""
    return Denial(
        Reason.SHELL_UNAVAILABLE,
        f"the shell {target.shell_name} could not be started; {fold(why)}",
        retry_after_s=retry_after_s,
    )


class _SharedStart:
    """One start and the callers that it reports to."""

    def __init__(self, begin: Begin) -> None:
        self.listeners: list[Progress] = []
        self.task = asyncio.create_task(begin(self._report))

    def _report(self, step: ProgressStep) -> None:
        for progress in tuple(self.listeners):
            progress(step)
