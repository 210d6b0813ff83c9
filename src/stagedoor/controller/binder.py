"""The binder, which gives the gateway and the controller their rights in each namespace with the label.

It is separate from both, because an account that may write RoleBindings can give itself rights. An admission
policy of the cluster lets it create only these objects, and only in namespaces with the label.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.shells.kubernetes.live.namespace_directory import (
    NamespaceDirectory,
    NamespaceSelector,
)
from stagedoor.shells.kubernetes.names import MANAGED_BY
from stagedoor.shells.kubernetes.ports import Cluster

ROUND_S = 60.0
"""The longest time until an object that another client changed or deleted is restored."""
RECHECK_PAUSE_S = 2.0
"""The seconds until a namespace is checked again in which shells are left or a write was refused."""
MAX_CONCURRENT = 8
"""The most namespaces that are prepared concurrently."""
EMPTY_S = 30.0
"""How long a namespace without the label keeps its rights after its last shell or run, since a gateway may
still be copying the end of a run's log."""
_LAST = (Kind.LEASE, Kind.DEPLOYMENT, Kind.POD)
"""The kinds of objects that show whether a shell or a run is left."""

NOT_SERVED = "ShellsNotServed"
"""The reason of an Event about a namespace that has the label and is not served."""
ENDING = "ShellsEnding"
"""The reason of an Event about a namespace that has lost the label and in which shells or runs are left."""

OnProblem = Callable[[str, str | None], None]
"""Called with a namespace, and why it cannot be prepared, or None once it is prepared."""


def prepare(manifest: Object, namespace: str, owner: Object) -> Object:
    """Return a manifest for a namespace. It is deleted with `owner`, which an uninstall deletes. Pure."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    metadata = {**manifest["metadata"], "namespace": namespace, "ownerReferences": [reference]}
    return {**manifest, "metadata": metadata}


def has_all(actual: Any, desired: Any) -> bool:
    """Return whether an object has everything in a manifest. Lists must have the same length. Pure."""
    if isinstance(desired, Mapping) and isinstance(actual, Mapping):
        return all(key in actual and has_all(actual[key], value) for key, value in desired.items())
    if isinstance(desired, list) and isinstance(actual, list):
        return len(desired) == len(actual) and all(map(has_all, actual, desired))
    return bool(actual == desired)


def _has_ended(item: Object) -> bool:
    """Return whether an item is the pod of an ended run, which the cluster keeps for a while."""
    return (item.get("status") or {}).get("phase") in ("Succeeded", "Failed")


class BindingController:
    """The loop that maintains `manifests` in the selected namespaces.

    It removes them from a namespace without the label once no shell and no run is left there. `owner` is the
    name of a ClusterRole that owns them all. Several loops may run at once, since each does the same.
    """

    def __init__(
        self,
        cluster: Cluster,
        selector: NamespaceSelector,
        manifests: Sequence[Object],
        owner: str,
        on_problem: OnProblem = lambda namespace, problem: None,
    ) -> None:
        self._cluster = cluster
        self._manifests = manifests
        self._owner_name = owner
        self._owner: Object = {}
        self._on_problem = on_problem
        self._directory = NamespaceDirectory(cluster, selector, self._namespaces_changed)
        self._served = frozenset[str]()
        self._due: set[str] = set()
        self._empty_since: dict[str, float] = {}
        """When the last shell or run left each namespace without the label."""
        self._ending: set[str] = set()
        """The namespaces for which an Event already reports that shells or runs are left."""
        self._reported: Mapping[str, str] = {}
        """The reasons for unserved namespaces that Events already report."""
        self._news = asyncio.Event()

    @property
    def problem(self) -> str | None:
        """Return in one line why the binder cannot work, or None if it works."""
        return self._directory.problem

    async def run(self) -> None:
        """Prepare namespaces until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            for work in self._directory.list_coroutines():
                tasks.create_task(work)
            await self._directory.wait_until_synced()
            while True:
                await self._report_refused()
                try:
                    await self._look_at_all()
                except ClusterError as error:
                    self._on_problem("", error.message)
                    await asyncio.sleep(RECHECK_PAUSE_S)
                else:
                    self._on_problem("", None)
                    await self._follow_until(loop.time() + ROUND_S)

    async def _look_at_all(self) -> None:
        """Settle each namespace in which something is missing or left over. Raises ClusterError."""
        owner = await self._cluster.get(Kind.CLUSTER_ROLE, "", self._owner_name)
        if owner is None:
            raise ClusterError(
                f"there is no ClusterRole {self._owner_name}, which the chart makes",
                status=404,
                reason="NotFound",
                retry=False,
            )
        self._owner = owner
        self._due.clear()
        there: dict[tuple[str, str, str], Object] = {}
        for manifest in self._manifests:
            kind, name = manifest["kind"], manifest["metadata"]["name"]
            for item in await self._cluster.list(Kind(kind), "", fields=f"metadata.name={name}"):
                there[item["metadata"]["namespace"], kind, name] = item
        due = {namespace for (namespace, _, _), item in there.items() if self._owns(item)}
        due -= self._served
        for namespace in self._served:
            for manifest in self._manifests:
                key = (namespace, manifest["kind"], manifest["metadata"]["name"])
                if not has_all(there.get(key), prepare(manifest, namespace, owner)):
                    due.add(namespace)
        await self._settle_all(due)

    async def _follow_until(self, end: float) -> None:
        """Until `end`, settle the namespaces whose label changes and those that could not be settled."""
        loop = asyncio.get_running_loop()
        while (now := loop.time()) < end:
            with suppress(TimeoutError):
                async with asyncio.timeout(
                    min(RECHECK_PAUSE_S, end - now) if self._due else end - now
                ):
                    await self._news.wait()
            self._news.clear()
            await self._report_refused()
            due, self._due = self._due, set()
            await self._settle_all(due)

    async def _settle_all(self, namespaces: Collection[str]) -> None:
        slots = asyncio.Semaphore(MAX_CONCURRENT)

        async def settle(namespace: str) -> None:
            async with slots:
                try:
                    await self._settle(namespace)
                except ClusterError as error:
                    self._due.add(namespace)
                    self._on_problem(namespace, error.message)
                    await self._report(namespace, error.message)
                else:
                    self._on_problem(namespace, None)

        await asyncio.gather(*map(settle, sorted(namespaces)))

    async def _report_refused(self) -> None:
        """Report why selected namespaces are not served, once for each reason."""
        before, self._reported = self._reported, dict(self._directory.refused)
        for namespace, why in self._reported.items():
            if before.get(namespace) != why:
                await self._report(namespace, why)

    async def _report(self, namespace: str, why: str) -> None:
        about = self._directory.find(namespace)
        if about is not None:
            await self._cluster.report(about, reason=NOT_SERVED, message=why, warning=True)

    async def _settle(self, namespace: str) -> None:
        """Prepare a namespace, or remove what was prepared. Raises ClusterError."""
        is_served = namespace in self._served
        if not is_served and await self._is_in_use(namespace):
            self._due.add(namespace)
            return
        self._ending.discard(namespace)
        self._empty_since.pop(namespace, None)
        if is_served:
            for manifest in self._manifests:
                await self._cluster.apply(prepare(manifest, namespace, self._owner))
        else:
            for manifest in self._manifests:
                kind, name = Kind(manifest["kind"]), str(manifest["metadata"]["name"])
                item = await self._cluster.get(kind, namespace, name)
                if item is not None and self._owns(item) and namespace not in self._served:
                    await self._cluster.delete(kind, namespace, name, uid=item["metadata"]["uid"])

    async def _is_in_use(self, namespace: str) -> bool:
        now = asyncio.get_running_loop().time()
        for kind in _LAST:
            items = await self._cluster.list(kind, namespace, f"{MANAGED_BY}=stagedoor")
            if not all(map(_has_ended, items)):
                self._empty_since.pop(namespace, None)
                await self._report_ending(namespace)
                return True
        return now < self._empty_since.setdefault(namespace, now) + EMPTY_S

    async def _report_ending(self, namespace: str) -> None:
        """Report once that a namespace waits for the end of its shells and runs. Raises ClusterError."""
        if namespace in self._ending:
            return
        only = f"metadata.name={namespace}"
        why = (
            "without the label it takes no new logins; its shells end after their last sessions and its "
            "runs by themselves, and then Stagedoor's rights and NetworkPolicy here are removed"
        )
        for about in await self._cluster.list(Kind.NAMESPACE, "", fields=only):
            await self._cluster.report(about, reason=ENDING, message=why)
        self._ending.add(namespace)

    def _owns(self, item: Object) -> bool:
        """Return whether an object belongs to this installation.

        Only the ConfigMap's name is shared with other installations, so only its owner is checked.
        """
        owners = item["metadata"].get("ownerReferences") or ()
        return item["kind"] != Kind.CONFIG_MAP or any(
            (owner["kind"], owner["name"]) == ("ClusterRole", self._owner_name) for owner in owners
        )

    def _namespaces_changed(self) -> None:
        served = frozenset(self._directory.by_environment.values())
        self._due |= served ^ self._served
        self._served = served
        self._news.set()
