"""The state of one app, which the reconciler reads before it decides."""

from dataclasses import dataclass

from stagedoor.controller.mirrors import NamespaceMirrors
from stagedoor.model.cluster import Object
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import (
    AppSettings,
    WrongSettings,
    read_settings,
)
from stagedoor.shells.kubernetes.derive.shell import Derived
from stagedoor.shells.kubernetes.live import lifecycle
from stagedoor.shells.kubernetes.live.lifecycle import LifecycleState, ShellStatus
from stagedoor.shells.kubernetes.names import IDLE_SINCE, SPEC, STALE, TEMPLATE
from stagedoor.wire.rfc3339 import parse_time


@dataclass(frozen=True, slots=True)
class AppSnapshot:
    """The state of one app at one moment.

    `app` is the metadata of its Deployment or StatefulSet, None if it offers no shell; `derived` is the shell
    that would be created now, None if the app offers none or was not read; `state` is all that the decision
    depends on.
    """

    target: Target
    mirrors: NamespaceMirrors
    app: Object | None
    derived: Derived | WrongSettings | None
    state: LifecycleState


def take_snapshot(
    target: Target,
    mirrors: NamespaceMirrors,
    derived: Derived | WrongSettings | None,
    defaults: AppSettings,
    log: str | None = None,
) -> AppSnapshot:
    """Return the state of one app according to the mirrors.

    `derived` is the shell derived from the app as it was last read (`AppReader`), None if it was not read;
    `log` is as in `LifecycleState`.
    """
    app, shell = find_served_app(target, mirrors), mirrors.find_shell(target.app)
    settings = defaults if app is None else read_settings(app, defaults)
    if app is None:
        derived = None  # the offer may have been withdrawn while the app was read
    elif isinstance(settings, WrongSettings):
        derived = settings
    lease = mirrors.find_lease(target.app)
    renewed_at = objects.read_renewal(lease) if lease else None
    state = LifecycleState(
        offered=app is not None,
        settings=derived if isinstance(derived, WrongSettings) else settings,
        template=derived.template if isinstance(derived, Derived) else None,
        renewed_at=renewed_at,
        stop_requested=lease is not None and renewed_at is None,
        shell=_status(shell, lifecycle.is_running(mirrors.list_shell_pods(target.app))),
        leftovers=lease is not None or mirrors.find_config(target.app) is not None,
        log=log,
    )
    return AppSnapshot(target, mirrors, app, derived, state)


def find_served_app(target: Target, mirrors: NamespaceMirrors) -> Object | None:
    """Return the metadata of an app that offers a shell in a served namespace, else None."""
    return mirrors.find_app(target.app) if mirrors.may_offer else None


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
        modified=annotations.get(SPEC) != shell["hash"],
    )
