"""The namespaces that a controller manages: the served ones, and those in which shells are left."""

from collections.abc import Iterable

from stagedoor.controller.mirrors import ControllerMirrors, NamespaceMirrors
from stagedoor.model.cluster import ClusterError
from stagedoor.shells.kubernetes.live.access import may_write
from stagedoor.shells.kubernetes.live.namespace_directory import NamespaceDirectory
from stagedoor.shells.kubernetes.ports import Cluster

ADOPT_S = 10.0
"""The seconds between two checks of unserved namespaces that have objects of shells."""


class NamespaceRegistry:
    """The views of the namespaces that `directory` serves, and of others in which shells are left.

    A namespace that loses its label keeps its environment's key until another one has that environment.
    """

    def __init__(
        self,
        cluster: Cluster,
        directory: NamespaceDirectory,
        mirrors: ControllerMirrors,
        leaving: Iterable[str],
    ) -> None:
        self.by_environment: dict[str | None, NamespaceMirrors] = {}
        self.environments: dict[str, str | None] = {}
        """The key of each namespace in `by_environment`."""
        self._cluster = cluster
        self._directory = directory
        self._mirrors = mirrors
        self._unmanaged: set[str] = set()
        for name in leaving:
            self._leave(NamespaceMirrors(mirrors, name, may_offer=False))
        self.follow()

    def follow(self) -> list[str | None]:
        """Manage the namespaces that are served now. Return the keys of the views that have changed."""
        served, changed = self._directory.by_environment, list[str | None]()
        names = frozenset(served.values())
        for key, view in list(self.by_environment.items()):
            is_served = served.get(key) == view.namespace
            if is_served and not view.may_offer:
                view.may_offer = True
                changed.append(key)
            elif not is_served and (view.may_offer or view.namespace in names or key in served):
                self._remove(view)
                if view.namespace not in names and view.list_with_shell():
                    changed.append(self._leave(view, key if key not in served else None))
        for key, name in served.items():
            if key not in self.by_environment:
                self._put(key, NamespaceMirrors(self._mirrors, name))
                changed.append(key)
        self._follow_access()
        return changed

    def note_unmanaged(self, name: str) -> None:
        """Record that a namespace that is not managed has an app or an object of a shell."""
        self._unmanaged.add(name)

    async def adopt(self) -> list[str | None]:
        """Manage the remaining shells in recorded namespaces where this account may still write.

        Shells in the others may belong to another installation. Return the keys of the new views.
        """
        changed = list[str | None]()
        # Namespaces may be recorded while the API is asked.
        noted, self._unmanaged = self._unmanaged, set()
        for name in sorted(noted - self.environments.keys()):
            view = NamespaceMirrors(self._mirrors, name, may_offer=False)
            try:
                is_ours = bool(view.list_with_shell()) and await may_write(self._cluster, name)
            except ClusterError:
                self._unmanaged.add(name)  # the next call checks it again
                continue
            if is_ours and name not in self.environments:
                changed.append(self._leave(view))
        self._follow_access()
        return changed

    def forget_if_empty(self, view: NamespaceMirrors) -> None:
        """Forget a namespace that lost its label once no shell is left in it."""
        if not self._directory.is_fixed and not view.may_offer and not view.list_with_shell():
            self._remove(view)
            self._follow_access()

    def _leave(self, view: NamespaceMirrors, key: str | None = None) -> str:
        view.may_offer = False
        # The key is not a valid environment, since such a shell has no name that a developer could use.
        key = key or f"({view.namespace})"
        self._put(key, view)
        return key

    def _put(self, key: str | None, view: NamespaceMirrors) -> None:
        self.by_environment[key] = view
        self.environments[view.namespace] = key

    def _remove(self, view: NamespaceMirrors) -> None:
        del self.by_environment[self.environments.pop(view.namespace)]

    def _follow_access(self) -> None:
        """Check from now on whether this account may write in the managed namespaces."""
        if not self._directory.is_fixed:
            self._mirrors.access.follow(tuple(self.environments))
