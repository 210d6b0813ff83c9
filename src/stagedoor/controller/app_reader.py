"""The apps that have a shell, read from the API when the shell starts and whenever the app changes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from stagedoor.controller.mirrors import NamespaceMirrors
from stagedoor.controller.snapshot import find_served_app
from stagedoor.model.cluster import Kind, Object
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive.annotations import (
    AppSettings,
    WrongSettings,
    read_settings,
)
from stagedoor.shells.kubernetes.derive.shell import Derived, list_pod_labels
from stagedoor.shells.kubernetes.live.namespace_cache import is_shell_offered
from stagedoor.shells.kubernetes.live.register import DeriveContext, derive_app
from stagedoor.shells.kubernetes.ports import Cluster


@dataclass(frozen=True, slots=True)
class AppRecord:
    """An app as it was read, with its version, the time, and the shell that it would have.

    `labels` are those of the app's pods, `shell_labels` those that the shell's pod would have.
    """

    version: str
    at: float
    derived: Derived | WrongSettings
    labels: dict[str, str]
    shell_labels: dict[str, str]


@dataclass
class AppReader:
    """The reader of apps that have a shell, or are to have one.

    A change of an app or of its pods changes the app's version, since the API then writes its status. `clock`
    is monotonic, in seconds.
    """

    cluster: Cluster
    context: DeriveContext
    clock: Callable[[], float] = time.monotonic
    readings: dict[Target, AppRecord] = field(default_factory=dict)

    async def derive(
        self, target: Target, mirrors: NamespaceMirrors, since: float
    ) -> Derived | WrongSettings | None:
        """Return the shell that the app would have now, or None if it needs or offers none.

        The app is read if it has changed, or was not read `since` that time. Raises ClusterError.
        """
        app = find_served_app(target, mirrors)
        if app is None or not self._is_needed(target, mirrors, app):
            self.readings.pop(target, None)
            return None
        record = self.readings.get(target)
        if record is None or record.version != _version(app) or record.at < since:
            record = await self._read(app)
            if record is None:
                # The watch will report it in a moment. A StatefulSet of the same name may be left.
                mirrors.forget_app(app)
                return await self.derive(target, mirrors, since)
            self.readings[target] = record
        return record.derived

    def _is_needed(self, target: Target, mirrors: NamespaceMirrors, app: Object) -> bool:
        if mirrors.find_shell(target.app) is not None or mirrors.find_lease(target.app) is not None:
            return True
        settings = read_settings(app, self.context.defaults)
        return isinstance(settings, AppSettings) and settings.warm

    async def _read(self, mirrored: Object) -> AppRecord | None:
        """Read an app that a mirror has, and its pods.

        Return None if it was deleted or no longer offers a shell.
        """
        at, metadata = self.clock(), mirrored["metadata"]
        app = await self.cluster.get(
            Kind(mirrored["kind"]), metadata["namespace"], metadata["name"]
        )
        if app is None or not is_shell_offered(app):
            return None
        derived = await derive_app(self.cluster, app, self.context)
        labels = (app["spec"]["template"].get("metadata") or {}).get("labels") or {}
        shell_labels = list_pod_labels(app, self.context.kit)
        return AppRecord(_version(app), at, derived, labels, shell_labels)


def _version(app: Object) -> str:
    return str(app["metadata"].get("resourceVersion", ""))
