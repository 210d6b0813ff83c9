"""Problems that an app's author should know before a login asks for a shell.

These are opt-ins that cannot work, and NetworkPolicies that do not select the shell.
"""

import asyncio
from collections.abc import Mapping, Sequence

from stagedoor.controller.mirrors import NamespaceMirrors
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.shells.kubernetes.derive.policies import egress_problem
from stagedoor.shells.kubernetes.live import events
from stagedoor.shells.kubernetes.live.events import UNSUITABLE, opt_in_problem
from stagedoor.shells.kubernetes.live.namespace_cache import offers_shell
from stagedoor.shells.kubernetes.ports import Cluster

CHECK_EVERY_S = 60.0
"""The longest time until the author of an opt-in sees the Event. Each check lists a few short kinds."""


class OptIns:
    """The checks of opt-ins, which report each problem once, by an Event on the object.

    The first check reads the Events of each object, so that problems which the previous leader reported are
    not reported again.
    """

    def __init__(self, cluster: Cluster, pod_labels: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._pod_labels = pod_labels
        self._checked: set[str] = set()
        """The namespaces that this controller has checked before."""
        self._reported: dict[tuple[str, str, str], str] = {}
        """The reported problems, by kind, namespace and name."""

    async def run(self, namespace: NamespaceMirrors) -> None:
        """Check a namespace that is listed, once a minute until cancelled."""
        while True:
            await self._check(namespace)
            await asyncio.sleep(CHECK_EVERY_S)

    async def _check(self, namespace: NamespaceMirrors) -> None:
        name = namespace.namespace
        workloads = list(namespace.opted_in())
        for kind in UNSUITABLE:
            workloads += await self._list(name, kind)
        policies = await self._list(name, Kind.NETWORK_POLICY)
        problems: dict[tuple[str, str, str], str] = {}
        for workload in workloads:
            problem, reason = opt_in_problem(workload), "ShellImpossible"
            if problem is None and offers_shell(workload):
                problem = egress_problem(workload, policies, self._pod_labels)
                reason = "ShellOutsidePolicy"
            if problem is None:
                continue
            key = (str(workload["kind"]), name, str(workload["metadata"]["name"]))
            problems[key] = problem
            if self._reported.get(key) == problem:
                continue
            if name in self._checked or not await self._is_reported(workload, problem):
                await self._cluster.report(workload, reason=reason, message=problem, warning=True)
        self._checked.add(name)
        others = {key: problem for key, problem in self._reported.items() if key[1] != name}
        self._reported = others | problems

    async def _is_reported(self, workload: Object, problem: str) -> bool:
        """Return whether an Event on the object has this problem already."""
        meta = workload["metadata"]
        try:
            candidates = await self._cluster.list(
                Kind.EVENT, meta["namespace"], fields=f"regarding.name={meta['name']}"
            )
        except ClusterError:
            return False
        return any(events.note(event) == problem for event in events.about(candidates, workload))

    async def _list(self, namespace: str, kind: Kind) -> Sequence[Object]:
        try:
            return await self._cluster.list(kind, namespace)
        except ClusterError:
            return ()  # the Role of an earlier chart lacks the right to list them
