"""The controller's view of a cluster: the apps that offer a shell, and the objects of their shells."""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from functools import partial

from stagedoor.model.cluster import Kind, Object
from stagedoor.model.target import is_valid_app
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.compare import read_spec_hash
from stagedoor.shells.kubernetes.live.kept_fields import select_fields
from stagedoor.shells.kubernetes.live.mirror import ObjectKey, find_shell_app
from stagedoor.shells.kubernetes.live.namespace_cache import ClusterMirrors, NamespaceState
from stagedoor.shells.kubernetes.names import CONTAINER, make_shell_name
from stagedoor.shells.kubernetes.ports import Cluster

NOT_LISTED_YET = "not everything in it is listed yet"

OnChange = Callable[[str, str, Kind], None]
"""Called with a namespace, the name of an app in it, and the kind of its object that has changed."""


class ControllerMirrors(ClusterMirrors):
    """The controller's mirrors. They call `on_change` in the event loop for each app with a change."""

    def __init__(
        self, cluster: Cluster, namespaces: Collection[str] | None, on_change: OnChange
    ) -> None:
        super().__init__(cluster, namespaces, _trim_shell, {Kind.CONFIG_MAP: _trim_config})
        self._on_change = on_change
        for mirror in self.apps:
            mirror.listen(partial(self._apps_changed, mirror.kind))
        for kind, mirror in self.shell_objects.items():
            mirror.listen(partial(self._shells_changed, kind))

    def _apps_changed(self, kind: Kind, keys: Collection[ObjectKey]) -> None:
        for namespace, name in keys:
            self._on_change(namespace, name, kind)

    def _shells_changed(self, kind: Kind, keys: Collection[ObjectKey]) -> None:
        for namespace, name in keys:
            # `app01-ssh`, and of pods `app01-ssh-6c9f4d8b5f-x2x4z`.
            app = f"{name}-".rpartition(f"{make_shell_name('')}-")[0]
            if app:
                self._on_change(namespace, app, kind)


class NamespaceMirrors(NamespaceState):
    """The controller's view of one namespace. `may_offer` is False if its apps may not offer shells."""

    def __init__(
        self, mirrors: ControllerMirrors, namespace: str, *, may_offer: bool = True
    ) -> None:
        super().__init__(mirrors, namespace)
        self.may_offer = may_offer

    async def wait_until_synced(self) -> None:
        """Wait until every mirror has listed the namespace once, without a limit."""
        for mirror in self._mirrors.all:
            await mirror.wait_until_synced(self.namespace)

    @property
    def why_unserved(self) -> str | None:
        """Return in one line why the namespace is currently not served, or None if it is."""
        if (problem := self.problem) is not None:
            return problem.message
        return None if self.is_synced else NOT_LISTED_YET

    def list_with_shell(self) -> set[str]:
        """Return the names of the apps that have a shell, or have objects of one left."""
        return {
            app
            for mirror in self._mirrors.shell_objects.values()
            for item in mirror.list_objects(self.namespace).values()
            if (app := find_shell_app(item)) is not None
        }

    def has_objects(self, app: str) -> bool:
        """Return whether the app has a shell, or has objects of one left."""
        return any(self._list_labelled(kind, app) for kind in self._mirrors.shell_objects)

    def list_annotated(self) -> set[str]:
        """Return the names of the apps with annotations for their shells: one may be warm, or wrong."""
        return {name for name in self.list_apps() if is_annotated(self.find_app(name))}

    def list_misnamed(self) -> list[Object]:
        """Return the metadata of the apps that offer a shell under a name that no shell can have."""
        apps = (
            app for kind in self._mirrors.apps for app in kind.list_objects(self.namespace).values()
        )
        return [app for app in apps if not is_valid_app(str(app["metadata"]["name"]))]

    def count_shells(self) -> int:
        """Return the number of shells that should have a pod."""
        shells = self._mirrors.shell_objects[Kind.DEPLOYMENT].list_objects(self.namespace).values()
        return sum(bool(shell["spec"]["replicas"]) for shell in shells)

    def find_config(self, app: str) -> Object | None:
        """Return the kept fields of the shell's ConfigMap, or None.

        It has the `digest` of the contents, the digest of the `keys` alone, and `until`, when these end.
        """
        return self._object(Kind.CONFIG_MAP, app)

    def list_shell_pods(self, app: str) -> Sequence[Object]:
        """Return the pods of the app's shell."""
        return self._list_labelled(Kind.POD, app)

    def put(self, written: Object) -> None:
        """Put an object of a shell that the API returned for a write into its mirror."""
        self._mirrors.shell_objects[Kind(written["kind"])].put(written)

    def forget_app(self, app: Object) -> None:
        """Drop an app that the API reported as deleted, before the watch reports it."""
        for mirror in self._mirrors.apps:
            if mirror.kind == app["kind"]:
                mirror.forget(self.namespace, str(app["metadata"]["name"]))


def is_annotated(app: Object | None) -> bool:
    """Return whether an app has annotations for its shell."""
    return app is not None and bool(app["metadata"].get("annotations"))


def hash_config(config: Object) -> str:
    """Return a digest of a ConfigMap's contents (16 hex digits)."""
    return hash_data({part: config.get(part) or {} for part in ("data", "binaryData")})


def hash_data(data: Object) -> str:
    """Return a digest of any part of a ConfigMap (16 hex digits)."""
    text = json.dumps(data, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _trim_shell(item: Object) -> Object:
    """Return the state of a shell, its image, and the hash that shows a change of its spec."""
    image = objects.read_image(item)
    return {
        **select_fields(item),
        "spec": {
            "replicas": item["spec"].get("replicas", 1),
            "template": {"spec": {"containers": [{"name": CONTAINER, "image": image}]}},
        },
        "hash": read_spec_hash(item),
    }


def _trim_config(item: Object) -> Object:
    """Return the fields of a shell's ConfigMap that `NamespaceMirrors.find_config` describes."""
    keys = {
        part: {name: value for name, value in (item.get(part) or {}).items() if name in names}
        for part, names in objects.build_keys((), 0).items()
    }
    return {
        **select_fields(item),
        "digest": hash_config(item),
        "keys": hash_data(keys),
        "until": objects.read_time(keys["data"].get(objects.KEYS_END)),
    }
