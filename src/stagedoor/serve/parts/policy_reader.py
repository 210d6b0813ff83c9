"""The in-memory policy for one event loop, which reads the store again before a refusal."""

import asyncio
from contextlib import suppress

from stagedoor.store.watch import PolicyWatch

POLL_S = 0.1
"""The poll interval while a login waits for a person: the longest delay after their click, but for the
read."""
READ_TIMEOUT_S = 1.0
"""Seconds that a refusal waits for the read, since a hanging store must not hold up refusals."""


class WatchedPolicy:
    """A `session.ports.PolicyReader` that reads from a `PolicyWatch`."""

    def __init__(self, watch: PolicyWatch) -> None:
        self._watch = watch
        self._waiting = 0
        self._news = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    @property
    def version(self) -> int:
        """Return the version of the policy in memory."""
        return self._watch.last_policy.version

    @property
    def is_unavailable(self) -> bool:
        """Return whether the store has been unreachable for so long that all logins are refused."""
        return self._watch.is_closed

    def find_language(self, name: str) -> str | None:
        """Return the language that the user has chosen, or None."""
        user = self._watch.last_policy.users.get(name)
        return None if user is None else user.language

    async def read_newer_than(self, version: int) -> bool:
        """Read the store, and return whether its policy is no longer at `version`."""
        loop = asyncio.get_running_loop()
        read = asyncio.Event()

        def done() -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(read.set)

        self._watch.refresh(done)
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_TIMEOUT_S):
                await read.wait()
        return self.version != version

    async def wait_for_change(self, version: int, within_s: float) -> bool:
        """Return True once the policy is no longer at `version`, False after `within_s` seconds.

        All waits share one read of the store every `POLL_S`, so one more costs nothing.
        """
        if self.version != version:
            return True
        self._waiting += 1
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_often(version))
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._news.wait()
        finally:
            self._waiting -= 1
        return self.version != version

    async def _read_often(self, version: int) -> None:
        while self._waiting:
            await self.read_newer_than(version)
            if self.version != version:
                version = self.version
                news, self._news = self._news, asyncio.Event()
                news.set()
            await asyncio.sleep(POLL_S)
        self._reading = None
