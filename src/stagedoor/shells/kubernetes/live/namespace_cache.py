"""The gateway's view of one namespace: its apps that offer a shell, and the objects of their shells."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.target import valid_app
from stagedoor.shells.kubernetes.derive.annotations import is_offered
from stagedoor.shells.kubernetes.derive.objects import time_of
from stagedoor.shells.kubernetes.live.mirror import Mirror
from stagedoor.shells.kubernetes.names import (
    IDLE_SINCE,
    KEYS_UNTIL,
    SHELL_OF,
    SSHD_PORT,
    shell_object,
)
from stagedoor.shells.kubernetes.ports import Cluster

Address = tuple[str, int]
"""A pod's address and the port of its sshd."""


def shell_of(item: Object) -> str | None:
    """Return the app whose shell an object belongs to; None if it belongs to no shell."""
    name = (item["metadata"].get("labels") or {}).get(SHELL_OF)
    return str(name) if name else None


def offers_shell(item: Object) -> bool:
    """Return whether a Deployment or StatefulSet is an app that offers a shell under a valid name."""
    is_named = valid_app(str(item["metadata"]["name"]))
    return is_named and shell_of(item) is None and is_offered(item)


def problem_of(mirrors: Iterable[Mirror]) -> ClusterError | None:
    """Return the error of the first mirror that is not up to date; None if all are."""
    return next((mirror.problem for mirror in mirrors if mirror.problem is not None), None)


class NamespaceCache:
    """The gateway's mirrors of one namespace.

    `changed` is set at every change of a mirror, and replaced by a new event.
    """

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.namespace = namespace
        self.changed = asyncio.Event()
        self._deployments = Mirror(cluster, Kind.DEPLOYMENT, namespace, keep=_deployment)
        self._stateful_sets = Mirror(cluster, Kind.STATEFUL_SET, namespace, keep=_app)
        self._replica_sets = Mirror(cluster, Kind.REPLICA_SET, namespace, SHELL_OF)
        self._pods = Mirror(cluster, Kind.POD, namespace, SHELL_OF)
        self._slices = Mirror(cluster, Kind.ENDPOINT_SLICE, namespace, SHELL_OF)
        self.leases = Mirror(cluster, Kind.LEASE, namespace, SHELL_OF)
        self.mirrors = (
            self._deployments,
            self._stateful_sets,
            self._replica_sets,
            self._pods,
            self._slices,
            self.leases,
        )
        for mirror in self.mirrors:
            mirror.listen(self._notify)

    async def synced(self, within_s: float) -> bool:
        """Wait until every mirror has been listed, for `within_s` seconds at most.

        Return False if that did not happen in time, and at once if the API refuses it.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                for mirror in self.mirrors:
                    await mirror.settled.wait()
        return self.is_synced

    @property
    def is_synced(self) -> bool:
        """Return whether every mirror has been listed once."""
        return all(mirror.synced.is_set() for mirror in self.mirrors)

    @property
    def problem(self) -> ClusterError | None:
        """Return the error because of which the mirrors are not up to date; None if they are."""
        return problem_of(self.mirrors)

    def apps(self) -> list[str]:
        """Return the names of the apps that offer a shell, sorted."""
        workloads = (*self._deployments.all(), *self._stateful_sets.all())
        return sorted(
            {str(item["metadata"]["name"]) for item in workloads if shell_of(item) is None}
        )

    def starting(self) -> dict[str, Object]:
        """Return the Deployments of the shells that are to start and have no pod yet, by app."""
        return {
            app: deployment
            for deployment in self._deployments.all()
            if (app := shell_of(deployment)) is not None
            and deployment["metadata"]["name"] == shell_object(app)
            and deployment["spec"].get("replicas", 1) == 0
            and IDLE_SINCE not in (deployment["metadata"].get("annotations") or {})
        }

    def app(self, name: str) -> Object | None:
        """Return the metadata of the app's Deployment, else of its StatefulSet, else None."""
        for mirror in (self._deployments, self._stateful_sets):
            workload = mirror.get(name)
            if workload is not None and shell_of(workload) is None:
                return workload
        return None

    def shell(self, app: str) -> Object | None:
        """Return the shell's Deployment, or None."""
        deployment = self._deployments.get(shell_object(app))
        return deployment if deployment is not None and shell_of(deployment) == app else None

    def keys_end(self, app: str) -> float | None:
        """Return when the keys in a running shell end (KEYS_UNTIL), in seconds since the epoch.

        Return None if the shell does not run or has no such time.
        """
        shell = self.shell(app)
        if shell is None or not _has_replicas(shell):
            return None
        return time_of((shell["metadata"].get("annotations") or {}).get(KEYS_UNTIL))

    def replica_sets(self, app: str) -> list[Object]:
        """Return the ReplicaSets with the label of the shell."""
        return [item for item in self._replica_sets.all() if shell_of(item) == app]

    def pods(self, app: str) -> list[Object]:
        """Return the pods of the shell's Deployment, including those that are being deleted."""
        labelled = (pod for pod in self._pods.all() if shell_of(pod) == app)
        return owned_pods(labelled, self.replica_sets(app), self.shell(app))

    def lease(self, app: str) -> Object | None:
        """Return the shell's lease, or None."""
        return self.leases.get(shell_object(app))

    def addresses(self, app: str, *, ready: bool) -> Sequence[Address]:
        """Return the addresses of the shell's ready pods, or of all its pods; the newest pod first.

        The port is that in the EndpointSlices of the shell's Service. A pod that is in no slice yet has the
        port of sshd, since its status is here a moment earlier.
        """
        if ready and not _has_replicas(self.shell(app)):
            return ()
        pods = {
            str(pod["metadata"]["name"]): pod
            for pod in self.pods(app)
            if not pod["metadata"].get("deletionTimestamp")
        }
        ports = {
            str(endpoint["targetRef"]["name"]): int(item["ports"][0]["port"])
            for item in self._slices.all()
            if shell_of(item) == app and item.get("ports")
            for endpoint in item.get("endpoints") or ()
            if endpoint.get("targetRef")
        }
        newest = sorted(
            pods.items(),
            key=lambda item: item[1]["metadata"].get("creationTimestamp", ""),
            reverse=True,
        )
        return [
            (str(pod["status"]["podIP"]), ports.get(name, SSHD_PORT))
            for name, pod in newest
            if (pod.get("status") or {}).get("podIP") and (_is_ready(pod) or not ready)
        ]

    def _notify(self, _: Collection[str]) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


def _has_replicas(shell: Object | None) -> bool:
    return shell is not None and bool(shell["spec"].get("replicas", 1))


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )


def _meta(item: Object) -> dict[str, object]:
    return {name: value for name, value in item["metadata"].items() if name != "managedFields"}


def _app(item: Object) -> Object | None:
    if not offers_shell(item):
        return None
    return {
        "apiVersion": item.get("apiVersion"),
        "kind": item.get("kind"),
        "metadata": _meta(item),
    }


def _deployment(item: Object) -> Object | None:
    if shell_of(item) is None:
        return _app(item)
    return {**item, "metadata": _meta(item)}


# Labels do not decide whose a pod is, since any client that may create pods can set them. It can set
# `metadata.ownerReferences` too, but a ReplicaSet counts a pod that refers to it and deletes it as surplus.
# Objects are compared by uid, since a name can be reused.


def controller_of(item: Object, kind: Kind) -> str | None:
    """Return the uid of the `kind` that controls an object (metav1 OwnerReference), or None."""
    owners: Iterable[Mapping[str, Any]] = item["metadata"].get("ownerReferences") or ()
    for owner in owners:
        if owner.get("controller") and owner.get("kind") == kind and owner.get("uid"):
            return str(owner["uid"])
    return None


def owned_pods(
    pods: Iterable[Object], replica_sets: Iterable[Object], deployment: Object | None
) -> list[Object]:
    """Return the pods that a ReplicaSet of `deployment` owns."""
    uid = deployment["metadata"].get("uid") if deployment is not None else None
    if not uid:
        return []
    owners = {
        str(replica_set["metadata"].get("uid"))
        for replica_set in replica_sets
        if controller_of(replica_set, Kind.DEPLOYMENT) == uid
    }
    return [pod for pod in pods if controller_of(pod, Kind.REPLICA_SET) in owners]
