"""A store that cannot be reached as a process starts is waited for inside the process.

To end and be started again costs more than the outage: a service manager or a cluster waits longer each time.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from stagedoor.model.errors import StoreUnavailableError

AGAIN_S = 1.0
"""How long until the next try. A try that finds a server gone takes up to five seconds itself."""

Result = TypeVar("Result")


async def once_reachable(
    do: Callable[[], Result],
    on_problem: Callable[[str | None], None],
    stop: asyncio.Event,
    *,
    again_s: float = AGAIN_S,
) -> Result | None:
    """What `do` returns, which is called in a thread, and again while the store is away; None if `stop`
    is set before it works.

    `on_problem` gets one line for each try that fails, and None when one works. Raises what `do` raises.
    """
    while not stop.is_set():
        try:
            found = await asyncio.to_thread(do)
        except StoreUnavailableError as error:
            on_problem(f"{error}; waiting for it")
        else:
            on_problem(None)
            return found
        with suppress(TimeoutError):
            async with asyncio.timeout(again_s):
                await stop.wait()
    return None
