"""What the controller sees of one namespace: apps, the pods of both kinds, and its own objects."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from stagedoor.model.cluster import Kind, Object
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import is_offered
from stagedoor.shells.kubernetes.live.mirror import Mirror
from stagedoor.shells.kubernetes.live.namespace_cache import offers_shell, problem_of, shell_of
from stagedoor.shells.kubernetes.names import SHELL_OF, shell_object
from stagedoor.shells.kubernetes.ports import Cluster

NOT_LISTED_YET = "not everything in it is listed yet"

Named = Callable[[str, Kind], None]
"""Told that something of an app has changed, and what kind of thing."""


class NamespaceMirrors:
    """The mirrors of one namespace. `named` runs in the event loop for each app that is concerned."""

    def __init__(
        self, cluster: Cluster, namespace: str, named: Named, *, offers: bool = True
    ) -> None:
        """`offers`: whether the namespace's apps may offer shells."""
        self.namespace = namespace
        self.offers = offers
        self._named = named
        self._deployments = Mirror(cluster, Kind.DEPLOYMENT, namespace, keep=_workload)
        self._stateful_sets = Mirror(cluster, Kind.STATEFUL_SET, namespace, keep=_workload)
        self._pods = Mirror(cluster, Kind.POD, namespace, keep=_pod)
        self._claims = Mirror(cluster, Kind.PERSISTENT_VOLUME_CLAIM, namespace, keep=_claim)
        self._services = Mirror(cluster, Kind.SERVICE, namespace, SHELL_OF, keep=_bare)
        self._configs = Mirror(cluster, Kind.CONFIG_MAP, namespace, SHELL_OF, keep=_config)
        self.leases = Mirror(cluster, Kind.LEASE, namespace, SHELL_OF, keep=_lease)
        self.mirrors = (
            self._deployments,
            self._stateful_sets,
            self._pods,
            self._claims,
            self._services,
            self._configs,
            self.leases,
        )
        self._of: dict[str, str] = {}
        """The app that each pod belongs to, kept while the pod is there: a deletion names it only."""
        for mirror in (
            self._deployments,
            self._stateful_sets,
            self._services,
            self._configs,
            self.leases,
        ):
            mirror.listen(partial(self._changed, mirror.kind))
        self._pods.listen(self._pods_changed)

    @property
    def is_synced(self) -> bool:
        """Whether everything was listed once."""
        return all(mirror.synced.is_set() for mirror in self.mirrors)

    async def wait_until_synced(self) -> None:
        """Return once everything was listed, however long that takes."""
        for mirror in self.mirrors:
            await mirror.synced.wait()

    @property
    def problem(self) -> str | None:
        """Why the namespace is not served at the moment, in one line; None if it is."""
        problem = problem_of(self.mirrors)
        if problem is not None:
            return problem.message
        return None if self.is_synced else NOT_LISTED_YET

    def concerned(self) -> set[str]:
        """The apps to be looked at: those that offer a shell, and those that something is left of."""
        found = {
            str(one["metadata"]["name"])
            for mirror in (self._deployments, self._stateful_sets)
            for one in mirror.all()
            if offers_shell(one)
        }
        for mirror in (self._deployments, self._services, self._configs, self.leases):
            found |= {app for one in mirror.all() if (app := shell_of(one)) is not None}
        return found

    def opted_in(self) -> list[Object]:
        """What bears the opt-in, whether or not it can have a shell."""
        found = (*self._deployments.all(), *self._stateful_sets.all())
        return [one for one in found if is_offered(one)]

    def apps(self) -> int:
        """How many offer a shell."""
        found = (*self._deployments.all(), *self._stateful_sets.all())
        return sum(offers_shell(one) for one in found)

    def shells(self) -> int:
        """How many shells should have a pod."""
        return sum(
            shell_of(one) is not None and bool(one["spec"].get("replicas", 1))
            for one in self._deployments.all()
        )

    def app(self, name: str) -> Object | None:
        """The Deployment of that name that offers a shell, else such a StatefulSet, else any."""
        found = [
            one
            for mirror in (self._deployments, self._stateful_sets)
            if (one := mirror.get(name)) is not None and shell_of(one) is None
        ]
        return next((one for one in found if offers_shell(one)), found[0] if found else None)

    def shell(self, app: str) -> Object | None:
        found = self._deployments.get(shell_object(app))
        return found if found is not None and shell_of(found) == app else None

    def service(self, app: str) -> Object | None:
        return self._services.get(shell_object(app))

    def config(self, app: str) -> str | None:
        """The `digest` of what the shell's ConfigMap holds; None if there is none."""
        found = self._configs.get(shell_object(app))
        return str(found["digest"]) if found is not None else None

    def keys(self, app: str) -> tuple[str | None, float | None]:
        """The digest of what the shell's ConfigMap says of who may log in, and when that ends."""
        found = self._configs.get(shell_object(app))
        return (str(found["keys"]), found["until"]) if found is not None else (None, None)

    def lease(self, app: str) -> Object | None:
        return self.leases.get(shell_object(app))

    def shell_pods(self, app: str) -> list[Object]:
        return [pod for pod in self._pods.all() if shell_of(pod) == app]

    def app_pods(self) -> list[Object]:
        """The pods of all apps; which are whose is for their selectors to say."""
        return [pod for pod in self._pods.all() if shell_of(pod) is None]

    def claims(self) -> Mapping[str, Sequence[str]]:
        """The access modes of each PersistentVolumeClaim."""
        return {
            str(one["metadata"]["name"]): tuple((one.get("spec") or {}).get("accessModes") or ())
            for one in self._claims.all()
        }

    def put(self, written: Object) -> None:
        """What the API answered to a write of ours."""
        for mirror in self.mirrors:
            if mirror.kind == written.get("kind"):
                mirror.put(written)

    def _changed(self, kind: Kind, names: Collection[str]) -> None:
        for name in names:
            # Our own object's app, which must be looked at again; or the app itself.
            self._named(name.removesuffix(shell_object("")), kind)

    def _pods_changed(self, names: Collection[str]) -> None:
        for name in names:
            pod = self._pods.get(name)
            if pod is not None:
                self._of[name] = shell_of(pod) or owner_app(pod)
            app = self._of.get(name) if pod is not None else self._of.pop(name, None)
            if app and self.shell(app) is not None:
                self._named(app, Kind.POD)


def digest(config: Object) -> str:
    """A short name for what a ConfigMap holds."""
    return digest_of({part: config.get(part) or {} for part in ("data", "binaryData")})


def digest_of(data: Object) -> str:
    """The same of a part of it."""
    text = json.dumps(data, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def owner_app(pod: Object) -> str:
    """The Deployment or StatefulSet that a pod's name and owner point to, empty if none.

    A guess that only says who is looked at again; whose pod it is decides the selector.
    """
    for owner in pod["metadata"].get("ownerReferences") or ():
        name = str(owner.get("name", ""))
        if owner.get("kind") == "ReplicaSet":
            return name.rpartition("-")[0]
        if owner.get("kind") == "StatefulSet":
            return name
    return ""


def _meta(found: Object) -> dict[str, object]:
    return {name: value for name, value in found["metadata"].items() if name != "managedFields"}


def _workload(found: Object) -> Object | None:
    """Of an app all that a shell is derived from; of what offers none its name and uid."""
    if shell_of(found) is not None or is_offered(found):
        return {name: value for name, value in found.items() if name != "status"} | {
            "metadata": _meta(found)
        }
    return {**_kind(found), "metadata": _few(found), "spec": {}}


def _pod(found: Object) -> Object:
    status = found.get("status") or {}
    return {
        **_kind(found),
        "metadata": _few(found, "ownerReferences", "deletionTimestamp", "creationTimestamp"),
        "spec": {},
        "status": {
            name: status[name]
            for name in ("phase", "containerStatuses", "conditions")
            if name in status
        },
    }


def _claim(found: Object) -> Object:
    modes = (found.get("spec") or {}).get("accessModes") or ()
    return {**_kind(found), "metadata": _few(found), "spec": {"accessModes": modes}}


def _bare(found: Object) -> Object:
    return {**_kind(found), "metadata": _few(found)}


def _config(found: Object) -> Object:
    keys = {part: _only(found.get(part) or {}, few) for part, few in objects.keys((), 0).items()}
    return {
        **_bare(found),
        "digest": digest(found),
        "keys": digest_of(keys),
        "until": objects.time_of(keys["data"].get(objects.KEYS_END)),
    }


def _only(found: Object, names: Collection[str]) -> Object:
    return {name: found[name] for name in names if name in found}


def _lease(found: Object) -> Object:
    return {**_kind(found), "metadata": _meta(found), "spec": found.get("spec") or {}}


def _few(found: Object, *more: str) -> dict[str, object]:
    meta = found["metadata"]
    wanted = ("name", "namespace", "uid", "resourceVersion", "labels", *more)
    return {name: meta[name] for name in wanted if name in meta}


def _kind(found: Object) -> dict[str, object]:
    return {name: found[name] for name in ("apiVersion", "kind") if name in found}
