"""Opt-ins that cannot work: nobody asks for such a shell, so no key of the queue has them."""

import asyncio
from collections.abc import Sequence

from stagedoor.controller.mirrors import NamespaceMirrors
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.shells.kubernetes.live.opt_in import UNSUITABLE, opt_in_problem
from stagedoor.shells.kubernetes.ports import Cluster

LOOK_S = 60.0
"""How soon somebody who writes such an opt-in has the Event. Two short lists a namespace each time."""


class OptIns:
    """Tells each of them once, by an Event on it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._told: dict[tuple[str, str, str], str] = {}
        """What was said, by kind, namespace and name."""

    async def run(self, world: NamespaceMirrors) -> None:
        """Look at a namespace that is listed until cancelled."""
        while True:
            await self._look(world)
            await asyncio.sleep(LOOK_S)

    async def _look(self, world: NamespaceMirrors) -> None:
        found = [*world.opted_in()]
        for kind in UNSUITABLE:
            found += await self._listed(world.namespace, kind)
        told: dict[tuple[str, str, str], str] = {}
        for one in found:
            problem = opt_in_problem(one)
            if problem is None:
                continue
            key = (str(one["kind"]), world.namespace, str(one["metadata"]["name"]))
            told[key] = problem
            if self._told.get(key) != problem:
                await self._cluster.report(
                    one, reason="ShellImpossible", message=problem, warning=True
                )
        others = {key: said for key, said in self._told.items() if key[1] != world.namespace}
        self._told = others | told

    async def _listed(self, namespace: str, kind: Kind) -> Sequence[Object]:
        try:
            return await self._cluster.list(kind, namespace)
        except ClusterError:
            return ()  # a Role of an earlier chart does not let us look
