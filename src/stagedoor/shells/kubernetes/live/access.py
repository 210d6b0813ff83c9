"""The check whether this account may still write in each namespace: a Role there gives it that right."""

import asyncio
from collections.abc import Callable, Collection
from itertools import islice

from stagedoor.model.cluster import ClusterError
from stagedoor.shells.kubernetes.ports import Cluster

LONGEST_S, SHORTEST_S, ROUND_S = 10.0, 0.5, 60.0
"""The seconds between two requests: all namespaces have their turn in a round, if that is not too often."""
AGAIN = 4
"""The most lost namespaces that are asked about each time, besides the next one."""


class WriteAccess:
    """The namespaces in which this account may not write: deleted ones, and those without its RoleBinding.

    Watches of the whole cluster show neither, so the API is asked about one namespace after the other.
    `on_change` is called with a namespace that was lost or is back.
    """

    def __init__(self, cluster: Cluster, namespaces: Collection[str]) -> None:
        self.problems: dict[str, ClusterError] = {}
        """The reasons, by namespace."""
        self.asked = asyncio.Event()
        """Set once the API was asked about every namespace."""
        self.on_change: Callable[[str], None] = lambda _: None
        self._cluster = cluster
        self._namespaces = namespaces

    async def run(self) -> None:
        """Ask until cancelled. Raises nothing."""
        for namespace in self._namespaces:
            await self._ask(namespace)
        self.asked.set()
        pause_s = max(SHORTEST_S, min(LONGEST_S, ROUND_S / max(1, len(self._namespaces))))
        while self._namespaces:
            for namespace in self._namespaces:
                await asyncio.sleep(pause_s)
                for name in {namespace, *islice(self.problems, AGAIN)}:
                    await self._ask(name)

    async def _ask(self, namespace: str) -> None:
        try:
            is_granted = await self._cluster.may_i(
                namespace, "create", "leases.coordination.k8s.io"
            )
        except ClusterError:
            return  # the mirrors show that the API does not answer
        if is_granted == (namespace not in self.problems):
            return
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
