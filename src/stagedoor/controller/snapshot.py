"""The state of one app, which a reconcile reads before it decides."""

from collections.abc import Mapping
from dataclasses import dataclass

from stagedoor.controller.mirrors import NamespaceMirrors
from stagedoor.model.cluster import Object
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import (
    AppSettings,
    WrongSettings,
    is_offered,
    read_settings,
)
from stagedoor.shells.kubernetes.derive.compare import spec_hash
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.derive.shell import Derived, derive, running_digests
from stagedoor.shells.kubernetes.live import lifecycle
from stagedoor.shells.kubernetes.live.lifecycle import LifecycleState, ShellStatus
from stagedoor.shells.kubernetes.names import IDLE_SINCE, SPEC, STALE, TEMPLATE
from stagedoor.wire.rfc3339 import parse_time


@dataclass(frozen=True, slots=True)
class AppSnapshot:
    """The state of one app at one moment.

    `app` is its Deployment or StatefulSet, None if it is deleted; `derived` is the shell that would be
    created now, None if the app offers none; `state` is all that the decision depends on.
    """

    target: Target
    mirrors: NamespaceMirrors
    app: Object | None
    settings: AppSettings | WrongSettings
    derived: Derived | WrongSettings | None
    state: LifecycleState

    @property
    def problems(self) -> tuple[str, ...]:
        """Return the errors in the app's annotations, empty if there are none."""
        return self.derived.problems if isinstance(self.derived, WrongSettings) else ()


def read_app(
    target: Target,
    mirrors: NamespaceMirrors,
    kit: Kit,
    defaults: AppSettings,
    log: str | None = None,
) -> AppSnapshot:
    """Read the state of one app from the mirrors; `log` is as in `LifecycleState`."""
    app, shell = mirrors.app(target.app), mirrors.shell(target.app)
    offered = mirrors.offers and app is not None and is_offered(app)
    settings: AppSettings | WrongSettings = defaults
    derived: Derived | WrongSettings | None = None
    if app is not None and offered:
        settings = read_settings(app, defaults)
        derived = _derive(app, settings, kit, mirrors)
    lease = mirrors.lease(target.app)
    renewed_at = objects.renewed_at(lease) if lease else None
    state = LifecycleState(
        offered=offered,
        settings=derived if isinstance(derived, WrongSettings) else settings,
        template=derived.template if isinstance(derived, Derived) else None,
        renewed_at=renewed_at,
        stop_requested=lease is not None and renewed_at is None,
        shell=_status(shell, lifecycle.is_running(mirrors.shell_pods(target.app))),
        leftovers=lease is not None or mirrors.service(target.app) is not None,
        log=log,
    )
    return AppSnapshot(target, mirrors, app, settings, derived, state)


def _derive(
    app: Object, settings: AppSettings | WrongSettings, kit: Kit, mirrors: NamespaceMirrors
) -> Derived | WrongSettings:
    if isinstance(settings, WrongSettings):
        return settings
    digests: Mapping[str, str] = running_digests(app, mirrors.app_pods())
    return derive(app, settings, kit, digests=digests, claims=mirrors.claims())


def _status(shell: Object | None, running: bool) -> ShellStatus | None:
    if shell is None:
        return None
    annotations = shell["metadata"].get("annotations") or {}
    return ShellStatus(
        replicas=int(shell["spec"].get("replicas", 1)),
        template=str(annotations.get(TEMPLATE, "")),
        stale=annotations.get(STALE),
        idle_since=parse_time(str(annotations.get(IDLE_SINCE, ""))),
        running=running,
        modified=annotations.get(SPEC) != spec_hash(shell),
    )
