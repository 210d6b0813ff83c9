"""Problems that an app's author should learn of before a login requests a shell.

These are opt-ins that cannot work, and NetworkPolicies that select an app but not its shell.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress

from stagedoor.controller.app_reader import AppRecord
from stagedoor.controller.mirrors import NamespaceMirrors
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive.policies import find_egress_problem
from stagedoor.shells.kubernetes.live import events
from stagedoor.shells.kubernetes.live.mirror import list_everywhere
from stagedoor.shells.kubernetes.live.opt_in import UNSUITABLE_KINDS, find_opt_in_problem
from stagedoor.shells.kubernetes.names import OPT_IN
from stagedoor.shells.kubernetes.ports import Cluster

CHECK_EVERY_S = 60.0
"""The longest time until the author of an opt-in sees the Event. Each check lists a few short kinds."""

Problem = tuple[Object, str, str]
"""An object, the reason of the Event about it, and its text."""


class OptIns:
    """The checks of opt-ins, which report each problem once, by an Event on the object.

    `namespaces` maps an environment to its mirrors, `readings` has the apps with a shell. Before the first
    problem of an object is reported, its Events are read, since the previous leader may have reported it.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespaces: Mapping[str | None, NamespaceMirrors],
        readings: Mapping[Target, AppRecord],
    ) -> None:
        self._cluster = cluster
        self._namespaces = namespaces
        self._readings = readings
        self._reported: dict[tuple[str, str, str], str] = {}
        """The reported problems, by kind, namespace and name."""
        self._checked: set[tuple[str, str, str]] = set()
        """The objects whose Events were read."""

    async def run(self) -> None:
        """Check all namespaces that are listed, once a minute until cancelled."""
        while True:
            await self._check()
            await asyncio.sleep(CHECK_EVERY_S)

    async def _check(self) -> None:
        problems: dict[tuple[str, str, str], str] = {}
        for item, reason, problem in [*await self._impossible(), *await self._outside_policy()]:
            key = (str(item["kind"]), item["metadata"]["namespace"], str(item["metadata"]["name"]))
            problems[key] = problem
            if self._reported.get(key) == problem:
                continue
            is_new = key in self._checked or not await self._is_reported(item, problem)
            self._checked.add(key)
            if is_new:
                await self._cluster.report(item, reason=reason, message=problem, warning=True)
        self._reported = problems

    async def _impossible(self) -> list[Problem]:
        """Return the objects that offer a shell but cannot have one."""
        items = [item for view in self._namespaces.values() for item in view.list_misnamed()]
        for kind in UNSUITABLE_KINDS:
            items += await self._list(kind, f"{OPT_IN}=true")
        return [
            (item, "ShellImpossible", problem)
            for item in items
            if (problem := find_opt_in_problem(item)) is not None
        ]

    async def _outside_policy(self) -> list[Problem]:
        """Return the apps whose running shell may reach more than they do."""
        policies: dict[str, list[Object]] = defaultdict(list)
        if self._readings:
            for policy in await self._list(Kind.NETWORK_POLICY):
                policies[policy["metadata"]["namespace"]].append(policy)
        problems: list[Problem] = []
        for target, reading in self._readings.items():
            view = self._namespaces.get(target.environment)
            if view is None:
                continue  # the namespace has lost its label
            app, bounding = view.find_app(target.app), policies.get(view.namespace)
            if app is not None and bounding:
                problem = find_egress_problem(
                    target.app, reading.labels, bounding, reading.shell_labels
                )
                if problem is not None:
                    problems.append((app, "ShellOutsidePolicy", problem))
        return problems

    async def _is_reported(self, workload: Object, problem: str) -> bool:
        """Return whether an Event on the object has this problem already."""
        meta = workload["metadata"]
        try:
            candidates = await self._cluster.list(
                Kind.EVENT, meta["namespace"], fields=f"regarding.name={meta['name']}"
            )
        except ClusterError:
            return False
        return any(
            events.read_note(event) == problem
            for event in events.select_events(candidates, workload)
        )

    async def _list(self, kind: Kind, labels: str = "") -> Iterable[Object]:
        namespaces = {view.namespace for view in self._namespaces.values()}
        with suppress(ClusterError):
            return await list_everywhere(self._cluster, kind, namespaces, labels)
        return ()
