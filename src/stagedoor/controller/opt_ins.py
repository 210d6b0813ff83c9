"""What the authors of apps should know though no login asks for a shell: opt-ins that cannot work, and
NetworkPolicies that do not select a shell."""

import asyncio
from collections.abc import Mapping, Sequence

from stagedoor.controller.mirrors import NamespaceMirrors
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.shells.kubernetes.derive.policies import egress_problem
from stagedoor.shells.kubernetes.live import events
from stagedoor.shells.kubernetes.live.namespace_cache import offers_shell
from stagedoor.shells.kubernetes.live.opt_in import UNSUITABLE, opt_in_problem
from stagedoor.shells.kubernetes.ports import Cluster

LOOK_S = 60.0
"""How soon somebody who writes such an opt-in has the Event. Two short lists a namespace each time."""


class OptIns:
    """Reports each of them once, by an Event on the object.

    What the controller before has reported is not reported again: the first look reads Events for that.
    """

    def __init__(self, cluster: Cluster, pod_labels: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._pod_labels = pod_labels
        self._looked: set[str] = set()
        """The namespaces that were looked at before, by this controller."""
        self._told: dict[tuple[str, str, str], str] = {}
        """What was said, by kind, namespace and name."""

    async def run(self, world: NamespaceMirrors) -> None:
        """Look at a namespace that is listed until cancelled."""
        while True:
            await self._look(world)
            await asyncio.sleep(LOOK_S)

    async def _look(self, world: NamespaceMirrors) -> None:
        found = list(world.opted_in())
        for kind in UNSUITABLE:
            found += await self._listed(world.namespace, kind)
        policies = await self._listed(world.namespace, Kind.NETWORK_POLICY)
        told: dict[tuple[str, str, str], str] = {}
        for one in found:
            problem, reason = opt_in_problem(one), "ShellImpossible"
            if problem is None and offers_shell(one):
                problem = egress_problem(one, policies, self._pod_labels)
                reason = "ShellOutsidePolicy"
            if problem is None:
                continue
            key = (str(one["kind"]), world.namespace, str(one["metadata"]["name"]))
            told[key] = problem
            if self._told.get(key) == problem:
                continue
            if world.namespace in self._looked or not await self._is_reported(one, problem):
                await self._cluster.report(one, reason=reason, message=problem, warning=True)
        self._looked.add(world.namespace)
        others = {key: said for key, said in self._told.items() if key[1] != world.namespace}
        self._told = others | told

    async def _is_reported(self, found: Object, problem: str) -> bool:
        """Return whether an Event on the object says this already."""
        meta = found["metadata"]
        try:
            on_it = await self._cluster.list(
                Kind.EVENT, meta["namespace"], fields=f"regarding.name={meta['name']}"
            )
        except ClusterError:
            return False
        return any(events.note(event) == problem for event in events.about(on_it, found))

    async def _listed(self, namespace: str, kind: Kind) -> Sequence[Object]:
        try:
            return await self._cluster.list(kind, namespace)
        except ClusterError:
            return ()  # a Role of an earlier chart does not let us look
