"""What is seen of one namespace: its apps that offer a shell, and all that belongs to their shells."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.target import valid_app
from stagedoor.shells.kubernetes.derive.annotations import is_offered
from stagedoor.shells.kubernetes.derive.objects import time_of
from stagedoor.shells.kubernetes.live.mirror import Mirror
from stagedoor.shells.kubernetes.live.owners import owned_pods
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


def shell_of(found: Object) -> str | None:
    """The app whose shell this object belongs to; None if it is no shell's."""
    name = (found["metadata"].get("labels") or {}).get(SHELL_OF)
    return str(name) if name else None


def offers_shell(found: Object) -> bool:
    """Whether this Deployment or StatefulSet is an app that offers a shell, and can be asked for."""
    named = valid_app(str(found["metadata"]["name"]))
    return named and shell_of(found) is None and is_offered(found)


def problem_of(mirrors: Iterable[Mirror]) -> ClusterError | None:
    """Return why the first of `mirrors` that cannot be kept cannot; None if all are."""
    return next((mirror.problem for mirror in mirrors if mirror.problem is not None), None)


class NamespaceCache:
    """The gateway's mirrors of one namespace. `pulse` is set, and replaced, whenever one changes."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.namespace = namespace
        self.pulse = asyncio.Event()
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
            mirror.listen(self._heard)

    async def synced(self, within_s: float) -> bool:
        """Wait until everything was listed once, for `within_s` at most. Return False if it was not, and
        at once if the API refuses."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                for mirror in self.mirrors:
                    await mirror.settled.wait()
        return self.is_synced

    @property
    def is_synced(self) -> bool:
        return all(mirror.synced.is_set() for mirror in self.mirrors)

    @property
    def problem(self) -> ClusterError | None:
        """Why the API does not show this namespace at the moment; None while it does."""
        return problem_of(self.mirrors)

    def apps(self) -> list[str]:
        """The names of the apps that offer a shell."""
        found = (*self._deployments.all(), *self._stateful_sets.all())
        return sorted({str(one["metadata"]["name"]) for one in found if shell_of(one) is None})

    def starting(self) -> dict[str, Object]:
        """The Deployments of the shells that are to start and have no pod yet, by app."""
        return {
            app: one
            for one in self._deployments.all()
            if (app := shell_of(one)) is not None
            and one["metadata"]["name"] == shell_object(app)
            and one["spec"].get("replicas", 1) == 0
            and IDLE_SINCE not in (one["metadata"].get("annotations") or {})
        }

    def app(self, name: str) -> Object | None:
        """The app's Deployment, else its StatefulSet, in so far as it is kept: its metadata."""
        for mirror in (self._deployments, self._stateful_sets):
            found = mirror.get(name)
            if found is not None and shell_of(found) is None:
                return found
        return None

    def shell(self, app: str) -> Object | None:
        """The shell's Deployment."""
        found = self._deployments.get(shell_object(app))
        return found if found is not None and shell_of(found) == app else None

    def keys_end(self, app: str) -> float | None:
        """When the keys in a shell that runs end (KEYS_UNTIL), seconds since the epoch; None if nothing
        says so."""
        shell = self.shell(app)
        if shell is None or not _wanted(shell):
            return None
        return time_of((shell["metadata"].get("annotations") or {}).get(KEYS_UNTIL))

    def replica_sets(self, app: str) -> list[Object]:
        return [one for one in self._replica_sets.all() if shell_of(one) == app]

    def pods(self, app: str) -> list[Object]:
        """The pods that the shell's Deployment made, those that are being deleted included."""
        labelled = (pod for pod in self._pods.all() if shell_of(pod) == app)
        return owned_pods(labelled, self.replica_sets(app), self.shell(app))

    def lease(self, app: str) -> Object | None:
        return self.leases.get(shell_object(app))

    def addresses(self, app: str, *, ready: bool) -> Sequence[Address]:
        """Where the shell's sshd is, or with `ready` false may soon be; the newest pod first.

        By the EndpointSlices of its Service; a pod that no slice has yet is taken at its own word,
        which comes a moment earlier.
        """
        if ready and not _wanted(self.shell(app)):
            return ()
        pods = {
            str(pod["metadata"]["name"]): pod
            for pod in self.pods(app)
            if not pod["metadata"].get("deletionTimestamp")
        }
        ports = {
            str(endpoint["targetRef"]["name"]): int(found["ports"][0]["port"])
            for found in self._slices.all()
            if shell_of(found) == app and found.get("ports")
            for endpoint in found.get("endpoints") or ()
            if endpoint.get("targetRef")
        }
        newest = sorted(
            pods.items(),
            key=lambda it: it[1]["metadata"].get("creationTimestamp", ""),
            reverse=True,
        )
        return [
            (str(pod["status"]["podIP"]), ports.get(name, SSHD_PORT))
            for name, pod in newest
            if (pod.get("status") or {}).get("podIP") and (_is_ready(pod) or not ready)
        ]

    def _heard(self, _: Collection[str]) -> None:
        pulse, self.pulse = self.pulse, asyncio.Event()
        pulse.set()


def _wanted(shell: Object | None) -> bool:
    return shell is not None and bool(shell["spec"].get("replicas", 1))


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _meta(found: Object) -> dict[str, object]:
    return {name: value for name, value in found["metadata"].items() if name != "managedFields"}


def _app(found: Object) -> Object | None:
    if not offers_shell(found):
        return None
    return {
        "apiVersion": found.get("apiVersion"),
        "kind": found.get("kind"),
        "metadata": _meta(found),
    }


def _deployment(found: Object) -> Object | None:
    if shell_of(found) is None:
        return _app(found)
    return {**found, "metadata": _meta(found)}
