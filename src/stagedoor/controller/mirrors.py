"""The controller's view of one namespace: its apps, the pods of apps and shells, and the shells' objects."""

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

OnChange = Callable[[str, Kind], None]
"""Called with the name of an app and the kind of its object that has changed."""


class NamespaceMirrors:
    """The mirrors of one namespace. They call `on_change` in the event loop for each app with a change.

    `offers` is False in a namespace whose apps may not offer shells.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, on_change: OnChange, *, offers: bool = True
    ) -> None:
        self.namespace = namespace
        self.offers = offers
        self._on_change = on_change
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
        self._app_of: dict[str, str] = {}
        """The app of each pod, kept while the pod exists, for a deletion has no more than the pod's name."""
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
        """Return whether every mirror has been listed once."""
        return all(mirror.synced.is_set() for mirror in self.mirrors)

    async def wait_until_synced(self) -> None:
        """Wait until every mirror has been listed once, without a limit."""
        for mirror in self.mirrors:
            await mirror.synced.wait()

    @property
    def problem(self) -> str | None:
        """Return why the namespace is not served at the moment, in one line; None if it is served."""
        problem = problem_of(self.mirrors)
        if problem is not None:
            return problem.message
        return None if self.is_synced else NOT_LISTED_YET

    def app_names(self) -> set[str]:
        """Return the names of the apps that offer a shell or that still have objects of one."""
        names = {
            str(workload["metadata"]["name"])
            for mirror in (self._deployments, self._stateful_sets)
            for workload in mirror.all()
            if offers_shell(workload)
        }
        for mirror in (self._deployments, self._services, self._configs, self.leases):
            names |= {app for item in mirror.all() if (app := shell_of(item)) is not None}
        return names

    def opted_in(self) -> list[Object]:
        """Return the Deployments and StatefulSets with the opt-in, also those that cannot have a shell."""
        workloads = (*self._deployments.all(), *self._stateful_sets.all())
        return [workload for workload in workloads if is_offered(workload)]

    def apps(self) -> int:
        """Return the number of apps that offer a shell."""
        workloads = (*self._deployments.all(), *self._stateful_sets.all())
        return sum(offers_shell(workload) for workload in workloads)

    def shells(self) -> int:
        """Return the number of shells that should have a pod."""
        return sum(
            shell_of(deployment) is not None and bool(deployment["spec"].get("replicas", 1))
            for deployment in self._deployments.all()
        )

    def app(self, name: str) -> Object | None:
        """Return the Deployment of that name that offers a shell, else such a StatefulSet, else either."""
        workloads = [
            workload
            for mirror in (self._deployments, self._stateful_sets)
            if (workload := mirror.get(name)) is not None and shell_of(workload) is None
        ]
        return next(
            (workload for workload in workloads if offers_shell(workload)),
            workloads[0] if workloads else None,
        )

    def shell(self, app: str) -> Object | None:
        """Return the shell's Deployment, or None."""
        deployment = self._deployments.get(shell_object(app))
        return deployment if deployment is not None and shell_of(deployment) == app else None

    def service(self, app: str) -> Object | None:
        """Return the shell's Service, or None."""
        return self._services.get(shell_object(app))

    def config(self, app: str) -> str | None:
        """Return the `digest` of the shell's ConfigMap, or None if it has none."""
        config = self._configs.get(shell_object(app))
        return str(config["digest"]) if config is not None else None

    def keys(self, app: str) -> tuple[str | None, float | None]:
        """Return the digest of the keys in the shell's ConfigMap, and when they end (epoch seconds)."""
        config = self._configs.get(shell_object(app))
        return (str(config["keys"]), config["until"]) if config is not None else (None, None)

    def lease(self, app: str) -> Object | None:
        """Return the shell's lease, or None."""
        return self.leases.get(shell_object(app))

    def shell_pods(self, app: str) -> list[Object]:
        """Return the pods of the app's shell."""
        return [pod for pod in self._pods.all() if shell_of(pod) == app]

    def app_pods(self) -> list[Object]:
        """Return the pods of all apps. An app's selector decides which of them are its own."""
        return [pod for pod in self._pods.all() if shell_of(pod) is None]

    def claims(self) -> Mapping[str, Sequence[str]]:
        """Return the access modes of each PersistentVolumeClaim by its name."""
        return {
            str(claim["metadata"]["name"]): tuple(
                (claim.get("spec") or {}).get("accessModes") or ()
            )
            for claim in self._claims.all()
        }

    def put(self, written: Object) -> None:
        """Put an object that the API returned for one of the controller's writes into its mirror."""
        for mirror in self.mirrors:
            if mirror.kind == written.get("kind"):
                mirror.put(written)

    def _changed(self, kind: Kind, names: Collection[str]) -> None:
        for name in names:
            # The object is the app itself or belongs to the app's shell: either way, reconcile the app.
            self._on_change(name.removesuffix(shell_object("")), kind)

    def _pods_changed(self, names: Collection[str]) -> None:
        for name in names:
            pod = self._pods.get(name)
            if pod is not None:
                self._app_of[name] = shell_of(pod) or owner_app(pod)
            app = self._app_of.get(name) if pod is not None else self._app_of.pop(name, None)
            if app and self.shell(app) is not None:
                self._on_change(app, Kind.POD)


def digest(config: Object) -> str:
    """Return a digest of a ConfigMap's contents (16 hex digits)."""
    return digest_of({part: config.get(part) or {} for part in ("data", "binaryData")})


def digest_of(data: Object) -> str:
    """Return a digest of any part of a ConfigMap (16 hex digits)."""
    text = json.dumps(data, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def owner_app(pod: Object) -> str:
    """Guess the Deployment or StatefulSet of a pod from the name of its owner; empty if it has none.

    The guess only decides which app is reconciled. The app's selector decides which pods are its own.
    """
    for owner in pod["metadata"].get("ownerReferences") or ():
        name = str(owner.get("name", ""))
        if owner.get("kind") == "ReplicaSet":
            return name.rpartition("-")[0]
        if owner.get("kind") == "StatefulSet":
            return name
    return ""


def _meta(item: Object) -> dict[str, object]:
    return {name: value for name, value in item["metadata"].items() if name != "managedFields"}


def _workload(item: Object) -> Object | None:
    """Keep all that a shell is derived from if the workload offers one, else its name and uid."""
    if shell_of(item) is not None or is_offered(item):
        return {name: value for name, value in item.items() if name != "status"} | {
            "metadata": _meta(item)
        }
    return {**_kind(item), "metadata": _few(item), "spec": {}}


def _pod(item: Object) -> Object:
    status = item.get("status") or {}
    return {
        **_kind(item),
        "metadata": _few(item, "ownerReferences", "deletionTimestamp", "creationTimestamp"),
        "spec": {},
        "status": {
            name: status[name]
            for name in ("phase", "containerStatuses", "conditions")
            if name in status
        },
    }


def _claim(item: Object) -> Object:
    modes = (item.get("spec") or {}).get("accessModes") or ()
    return {**_kind(item), "metadata": _few(item), "spec": {"accessModes": modes}}


def _bare(item: Object) -> Object:
    return {**_kind(item), "metadata": _few(item)}


def _config(item: Object) -> Object:
    keys = {part: _only(item.get(part) or {}, few) for part, few in objects.keys((), 0).items()}
    return {
        **_bare(item),
        "digest": digest(item),
        "keys": digest_of(keys),
        "until": objects.time_of(keys["data"].get(objects.KEYS_END)),
    }


def _only(item: Object, names: Collection[str]) -> Object:
    return {name: item[name] for name in names if name in item}


def _lease(item: Object) -> Object:
    return {**_kind(item), "metadata": _meta(item), "spec": item.get("spec") or {}}


def _few(item: Object, *more: str) -> dict[str, object]:
    meta = item["metadata"]
    wanted = ("name", "namespace", "uid", "resourceVersion", "labels", *more)
    return {name: meta[name] for name in wanted if name in meta}


def _kind(item: Object) -> dict[str, object]:
    return {name: item[name] for name in ("apiVersion", "kind") if name in item}
