"""Waiting for a store that cannot be reached while a process starts.

The process waits itself instead of exiting: a service manager or a cluster would delay each restart more.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from stagedoor.model.errors import StoreUnavailableError

AGAIN_S = 1.0
"""Seconds until the next attempt. An attempt to reach a dead server takes up to five seconds itself."""

Result = TypeVar("Result")


async def call_when_reachable(
    do: Callable[[], Result],
    on_problem: Callable[[str | None], None],
    stop: asyncio.Event,
    *,
    again_s: float = AGAIN_S,
) -> Result | None:
    """Call `do` in a thread, again and again while the store is unreachable, and return its result.

    Returns None if `stop` is set first. `on_problem` is called with one line for each failed attempt, and
    with None once an attempt succeeds. Other exceptions of `do` are raised.
    """
    while not stop.is_set():
        try:
            result = await asyncio.to_thread(do)
        except StoreUnavailableError as error:
            on_problem(f"{error}; waiting for it")
        else:
            on_problem(None)
            return result
        with suppress(TimeoutError):
            async with asyncio.timeout(again_s):
                await stop.wait()
    return None
