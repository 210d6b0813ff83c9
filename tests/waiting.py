"""Waiting for what has no event to wait for, such as another process's doing."""

import asyncio
import time
from collections.abc import Callable

from tests.pace import allow

USUAL_S = 60.0
BOUND_S = allow(USUAL_S)
"""How long a test waits for what must come: far longer than it takes on a busy machine."""

SLOW_S = 0.5


def pause_s(waited_s: float) -> float:
    """How long to wait for the next look at what costs a process or a question to look at: a tenth of what
    was waited so far."""
    return min(max(0.1, waited_s / 10), SLOW_S)


def wait_until(
    true: Callable[[], object], bound_s: float = USUAL_S, what: str = "", *, costly: bool = False
) -> None:
    """Look again and again until `true()` is. What may be over between two looks must not be waited for.

    Args:
        bound_s: the limit in seconds on the reference machine; a slower one is given more (`tests.pace`).
        costly: the look starts a process or asks a question.
    """
    bound_s = allow(bound_s)
    began = time.monotonic()
    while not true():
        waited_s = time.monotonic() - began
        assert waited_s < bound_s, f"not within {bound_s:g} s: {what or 'what must come'}"
        time.sleep(pause_s(waited_s) if costly else 0.02)


async def until(true: Callable[[], object], bound_s: float = BOUND_S) -> None:
    """As `wait_until`, while other tasks go on. `bound_s` is no longer on a slower machine."""
    async with asyncio.timeout(bound_s):
        while not true():
            await asyncio.sleep(0.01)
