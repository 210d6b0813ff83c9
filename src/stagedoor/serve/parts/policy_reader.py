"""The policy in memory for one event loop: how old it is, and a look at the store before a refusal."""

import asyncio
from contextlib import suppress

from stagedoor.store.watch import PolicyWatch

LOOK_WITHIN_S = 1.0
"""How long a refusal waits for the look. A store that hangs must not hold up those who are refused."""


class WatchedPolicy:
    """Satisfies `session.ports.PolicyReader`."""

    def __init__(self, watch: PolicyWatch, within_s: float = LOOK_WITHIN_S) -> None:
        self._watch = watch
        self._within_s = within_s

    @property
    def version(self) -> int:
        return self._watch.policy.version

    @property
    def unread(self) -> bool:
        return self._watch.closed

    async def newer_than(self, version: int) -> bool:
        loop = asyncio.get_running_loop()
        looked = asyncio.Event()

        def done() -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(looked.set)

        self._watch.look(done)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._within_s):
                await looked.wait()
        return self.version != version
