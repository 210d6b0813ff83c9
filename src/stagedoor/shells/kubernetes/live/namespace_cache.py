"""A gateway's view of a cluster: the apps that offer a shell, and the objects of their shells.

A process has a single watch of each kind for all namespaces (`ClusterCache`), and a view of each namespace.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from stagedoor.model.cluster import ClusterError, Kind, Object, Trim
from stagedoor.model.target import is_valid_app
from stagedoor.shells.kubernetes.derive.annotations import is_offered
from stagedoor.shells.kubernetes.derive.objects import read_time
from stagedoor.shells.kubernetes.live.access import WriteAccess
from stagedoor.shells.kubernetes.live.kept_fields import (
    is_starting,
    trim_app,
    trim_pod,
    trim_replica_set,
    trim_shell,
)
from stagedoor.shells.kubernetes.live.mirror import (
    Mirror,
    ObjectKey,
    find_shell_app,
    keep_whole,
)
from stagedoor.shells.kubernetes.names import (
    CONTAINER,
    KEYS_UNTIL,
    OPT_IN,
    SHELL_OF,
    SSH_PORT_NAME,
    SSHD_PORT,
    make_shell_name,
)
from stagedoor.shells.kubernetes.ports import Cluster

Address = tuple[str, int]
"""A pod's address and the port of its sshd."""

APPS = f"{OPT_IN}=true,!{SHELL_OF}"
"""The label selector of the apps that offer a shell."""


def is_shell_offered(item: Object) -> bool:
    """Return whether a Deployment or StatefulSet offers a shell and has a valid name."""
    is_named = is_valid_app(str(item["metadata"]["name"]))
    return is_named and find_shell_app(item) is None and is_offered(item)


class ClusterMirrors:
    """The mirrors of all apps that offer a shell in `namespaces`, and of the objects of their shells.

    None stands for all namespaces; the owner then gives `access` those that it serves. `trim_shell` reduces
    the Deployments of shells; `others` are further kinds of shells' objects. There may be very many apps, so
    only some of their metadata is kept, and an app is read when its shell starts. The owner keeps the
    coroutines of `list_coroutines` running.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespaces: Collection[str] | None,
        trim_shell: Trim,
        others: Mapping[Kind, Trim],
    ) -> None:
        deployments, stateful_sets = (
            Mirror(cluster, kind, namespaces, APPS, trim_app, metadata_only=True)
            for kind in (Kind.DEPLOYMENT, Kind.STATEFUL_SET)
        )
        self.apps = (deployments, stateful_sets)
        self.shell_objects = {
            kind: Mirror(cluster, kind, namespaces, trim=trim)
            for kind, trim in {
                Kind.DEPLOYMENT: trim_shell,
                Kind.POD: trim_pod,
                Kind.LEASE: keep_whole,
                **others,
            }.items()
        }
        self.all = (*self.apps, *self.shell_objects.values())
        self.access = WriteAccess(cluster)
        if namespaces is not None:
            self.access.follow(namespaces)

    def list_coroutines(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield the coroutines that follow the cluster."""
        yield from (mirror.run() for mirror in self.all)
        yield self.access.run()


class NamespaceState:
    """One namespace's part of a cluster's `mirrors`, for gateways and controllers alike."""

    def __init__(self, mirrors: ClusterMirrors, namespace: str) -> None:
        self.namespace = namespace
        self.leases = mirrors.shell_objects[Kind.LEASE]
        self._mirrors = mirrors

    @property
    def is_synced(self) -> bool:
        """Return whether every mirror has listed the namespace once."""
        return all(mirror.is_synced(self.namespace) for mirror in self._mirrors.all)

    @property
    def problem(self) -> ClusterError | None:
        """Return why the namespace is not served, or not up to date here; None if it is."""
        problems = (mirror.find_problem(self.namespace) for mirror in self._mirrors.all)
        refusal = self._mirrors.access.problems.get(self.namespace)
        return next((problem for problem in problems if problem is not None), refusal)

    def list_apps(self) -> list[str]:
        """Return the names of the apps that offer a shell, sorted."""
        names = {
            name for mirror in self._mirrors.apps for name in mirror.list_objects(self.namespace)
        }
        return sorted(filter(is_valid_app, names))

    def find_app(self, name: str) -> Object | None:
        """Return the metadata of the Deployment of that name that offers a shell, else of a StatefulSet."""
        apps = (mirror.get(self.namespace, name) for mirror in self._mirrors.apps)
        return next((app for app in apps if app is not None), None)

    def find_shell(self, app: str) -> Object | None:
        """Return the shell's Deployment, or None."""
        deployment = self._object(Kind.DEPLOYMENT, app)
        return deployment if deployment is not None and find_shell_app(deployment) == app else None

    def find_lease(self, app: str) -> Object | None:
        """Return the shell's lease, or None."""
        return self._object(Kind.LEASE, app)

    def _object(self, kind: Kind, app: str) -> Object | None:
        return self._mirrors.shell_objects[kind].get(self.namespace, make_shell_name(app))

    def _list_labelled(self, kind: Kind, app: str) -> Sequence[Object]:
        """Return the objects of a kind with the label of the shell."""
        return self._mirrors.shell_objects[kind].list_for_shell(self.namespace, app)


class ClusterCache(ClusterMirrors):
    """The mirrors of a gateway's process."""

    def __init__(self, cluster: Cluster, namespaces: Collection[str] | None) -> None:
        super().__init__(cluster, namespaces, trim_shell, {Kind.REPLICA_SET: trim_replica_set})
        self.changed = defaultdict[str, asyncio.Event](asyncio.Event)
        """The event for the next change in each namespace. Once it is set, a new one replaces it."""
        self.starting = defaultdict[str, dict[str, Object]](dict)
        """The Deployments of the shells that should start and have no pod yet, by namespace and app."""
        self.shell_objects[Kind.DEPLOYMENT].listen(self._shells_changed)
        for mirror in self.all:
            mirror.listen(self._notify)

    def _shells_changed(self, keys: Collection[ObjectKey]) -> None:
        for namespace, name in keys:
            shell = self.shell_objects[Kind.DEPLOYMENT].get(namespace, name)
            app = name.removesuffix(make_shell_name(""))
            if shell is not None and find_shell_app(shell) == app and is_starting(shell):
                self.starting[namespace][app] = shell
            else:
                self.starting[namespace].pop(app, None)

    def _notify(self, keys: Collection[ObjectKey]) -> None:
        for namespace in {namespace for namespace, _ in keys}:
            changed, self.changed[namespace] = self.changed[namespace], asyncio.Event()
            changed.set()


class NamespaceCache(NamespaceState):
    """The gateway's view of one namespace."""

    def __init__(self, cache: ClusterCache, namespace: str) -> None:
        super().__init__(cache, namespace)
        self._cache = cache

    @property
    def changed(self) -> asyncio.Event:
        """Return an event that is set at the next change in the namespace."""
        return self._cache.changed[self.namespace]

    async def wait_until_synced(self, within_s: float) -> bool:
        """Wait until every mirror has listed the namespace, for `within_s` seconds at most.

        Return False if that did not happen in time, or at once if the API refuses it.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                for mirror in self._mirrors.all:
                    await mirror.wait_until_synced(self.namespace, or_refused=True)
        return self.is_synced

    def list_starting(self) -> Mapping[str, Object]:
        """Return the Deployments of the shells that should start and have no pod yet, by app."""
        return self._cache.starting[self.namespace]

    def find_keys_end(self, app: str) -> float | None:
        """Return when the keys in a running shell end (KEYS_UNTIL), in seconds since the epoch.

        Return None if the shell does not run or has no such time.
        """
        shell = self.find_shell(app)
        if shell is None or not _has_replicas(shell):
            return None
        return read_time((shell["metadata"].get("annotations") or {}).get(KEYS_UNTIL))

    def list_replica_sets(self, app: str) -> Sequence[Object]:
        """Return the ReplicaSets with the label of the shell."""
        return self._list_labelled(Kind.REPLICA_SET, app)

    def list_pods(self, app: str) -> list[Object]:
        """Return the pods of the shell's Deployment, including those that are being deleted."""
        labelled = self._list_labelled(Kind.POD, app)
        return list_owned_pods(labelled, self.list_replica_sets(app), self.find_shell(app))

    def list_addresses(self, app: str, *, ready: bool) -> Sequence[Address]:
        """Return the addresses of the shell's ready pods, or of all its pods; the newest pod first."""
        if ready and not _has_replicas(self.find_shell(app)):
            return ()
        pods = [pod for pod in self.list_pods(app) if not pod["metadata"].get("deletionTimestamp")]
        pods.sort(key=lambda pod: pod["metadata"].get("creationTimestamp", ""), reverse=True)
        return [
            (str(pod["status"]["podIP"]), find_port(pod, SSH_PORT_NAME) or SSHD_PORT)
            for pod in pods
            if (pod.get("status") or {}).get("podIP") and (_is_ready(pod) or not ready)
        ]


def find_port(pod: Object, name: str) -> int | None:
    """Return the port of that name of sshd's container; None if it has none."""
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if container["name"] == CONTAINER and port.get("name") == name:
                return int(port["containerPort"])
    return None


def _has_replicas(shell: Object | None) -> bool:
    return shell is not None and bool(shell["spec"].get("replicas", 1))


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )


# Labels do not prove whose pod it is, since any client that may create pods can set them. It can set
# `metadata.ownerReferences` too, but then the ReplicaSet counts the pod, and deletes it as surplus. Objects
# are compared by uid, since a name can be reused.


def find_controller(item: Object, kind: Kind) -> str | None:
    """Return the uid of the `kind` that controls an object (metav1 OwnerReference), or None."""
    owners: Iterable[Mapping[str, Any]] = item["metadata"].get("ownerReferences") or ()
    for owner in owners:
        if owner.get("controller") and owner.get("kind") == kind and owner.get("uid"):
            return str(owner["uid"])
    return None


def list_owned_pods(
    pods: Iterable[Object], replica_sets: Iterable[Object], deployment: Object | None
) -> list[Object]:
    """Return the pods that a ReplicaSet of `deployment` owns."""
    uid = deployment["metadata"].get("uid") if deployment is not None else None
    if not uid:
        return []
    owners = {
        str(replica_set["metadata"].get("uid"))
        for replica_set in replica_sets
        if find_controller(replica_set, Kind.DEPLOYMENT) == uid
    }
    return [pod for pod in pods if find_controller(pod, Kind.REPLICA_SET) in owners]
