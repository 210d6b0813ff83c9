"""Checks whether this account may still write in each namespace, as a Role there permits."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import islice

from stagedoor.model.cluster import ClusterError
from stagedoor.shells.kubernetes.ports import Cluster

LONGEST_S, SHORTEST_S, ROUND_S = 10.0, 0.5, 60.0
"""The seconds between two requests: a round covers all namespaces, unless that would be too often."""
LOST_PER_TURN = 4
"""The most lost namespaces that are checked each time, besides the next one."""
NEW_NAMESPACE_CHECKS = 120
"""How often in a row a new namespace is checked, until its Role is there."""


async def may_write(cluster: Cluster, namespace: str) -> bool:
    """Return whether this account has its Role in a namespace. Raises ClusterError."""
    return await cluster.may_i(namespace, "create", "leases.coordination.k8s.io")


class WriteAccess:
    """A finder of namespaces where this account may not write: deleted ones and ones without its RoleBinding.

    Watches of the whole cluster show neither, so the API is asked about one namespace after another.
    `on_change` is called with each namespace that is lost or regained.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.problems: dict[str, ClusterError] = {}
        """The reasons, by namespace."""
        self.checked_all = asyncio.Event()
        """Set once every namespace was checked."""
        self.on_change: Callable[[str], None] = lambda _: None
        self._cluster = cluster
        self._namespaces: tuple[str, ...] | None = None
        self._fresh: dict[str, int] = {}
        """How often each new namespace will still be checked before it has to wait for its turn."""
        self._news = asyncio.Event()

    def follow(self, namespaces: Collection[str]) -> None:
        """Check these namespaces from now on, and new ones at once."""
        before, self._namespaces = self._namespaces or (), tuple(namespaces)
        gone = {*before}.difference(namespaces)
        self.problems = {name: why for name, why in self.problems.items() if name not in gone}
        fresh = [name for name in self._namespaces if name not in before]
        self._fresh = {name: left for name, left in self._fresh.items() if name not in gone}
        self._fresh |= dict.fromkeys(fresh, NEW_NAMESPACE_CHECKS)
        self._news.set()

    async def run(self) -> None:
        """Check until cancelled. Raises nothing."""
        turn = 0
        while True:
            self._news.clear()
            is_complete = self._namespaces is not None
            for name in tuple(self._fresh):
                is_answered = await self._check(name)
                is_complete = is_complete and is_answered
                self._fresh[name] = self._fresh.get(name, 0) - 1
                if (is_answered and name not in self.problems) or self._fresh[name] <= 0:
                    del self._fresh[name]
            if is_complete:
                self.checked_all.set()
            await self._pause()
            if self._namespaces:
                turn += 1
                next_name = self._namespaces[turn % len(self._namespaces)]
                for name in {next_name, *islice(self.problems, LOST_PER_TURN)}:
                    await self._check(name)

    async def _pause(self) -> None:
        """Wait for the next turn, or for a new namespace."""
        pause_s = max(SHORTEST_S, min(LONGEST_S, ROUND_S / max(1, len(self._namespaces or ()))))
        with suppress(TimeoutError):
            async with asyncio.timeout(SHORTEST_S if self._fresh else pause_s):
                await self._news.wait()

    async def _check(self, namespace: str) -> bool:
        """Check one namespace. Return False if the API does not answer."""
        try:
            is_granted = await may_write(self._cluster, namespace)
        except ClusterError:
            return False  # the mirrors report it
        is_followed = namespace in (self._namespaces or ())
        if not is_followed or is_granted == (namespace not in self.problems):
            return True
        if is_granted:
            del self.problems[namespace]
        else:
            self.problems[namespace] = ClusterError(
                f"this account may not write in the namespace {namespace}, which was deleted or lost "
                "its Role",
                status=403,
                reason="Forbidden",
                retry=False,
            )
        self.on_change(namespace)
        return True
