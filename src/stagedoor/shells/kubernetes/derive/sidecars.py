"""The app's init containers and sidecars that its shell's pod has too. Pure.

By default there are none. An app's init container, such as a migration, is meant for rollouts and must not
run at every login; a sidecar serves the app's process.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.derive.annotations import AppSettings
from stagedoor.shells.kubernetes.derive.notes import Note, note_left_out
from stagedoor.shells.kubernetes.derive.security import drop_privileges, restrict_capabilities
from stagedoor.shells.kubernetes.derive.unique import keep_last
from stagedoor.shells.kubernetes.derive.values import ALL
from stagedoor.shells.kubernetes.derive.volumes import derive_mounts
from stagedoor.shells.kubernetes.names import (
    CONTAINER,
    KIT_CONTAINER,
    PACKAGES_CONTAINER,
    PREFIX,
)

_OWN = (CONTAINER, KIT_CONTAINER, PACKAGES_CONTAINER)
_DROPPED = ("livenessProbe", "readinessProbe", "ports")


@dataclass(frozen=True, slots=True)
class Sidecars:
    """The init containers and sidecars of a shell's pod, in the app's order.

    Init containers that keep running (`restartPolicy: Always`) are sidecars, but stay in the list of init
    containers, as in the app. `unknown` has the names in the settings that are not the app's, each with its
    setting and the allowed names.
    """

    init_containers: tuple[Mapping[str, Any], ...]
    sidecars: tuple[Mapping[str, Any], ...]
    notes: list[Note]
    unknown: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def with_mounts(self, omitted: frozenset[str], template_volumes: frozenset[str]) -> "Sidecars":
        """Return a copy with the mounts that a shell has; the arguments are as in `volumes.derive_mounts`."""
        notes = list(self.notes)

        def mount(container: Mapping[str, Any]) -> dict[str, Any]:
            rest = {
                field: value
                for field, value in container.items()
                if field not in ("volumeMounts", "volumeDevices")
            }
            return rest | derive_mounts(container, omitted, template_volumes, notes)

        return replace(
            self,
            init_containers=tuple(map(mount, self.init_containers)),
            sidecars=tuple(map(mount, self.sidecars)),
            notes=notes,
        )


def derive_companions(
    pod: Object, container: Object, settings: AppSettings, digests: Mapping[str, str]
) -> Sidecars:
    """Return the init containers and sidecars that the app's settings ask for; `digests` as in `derive`."""
    notes: list[Note] = []
    initial = pod.get("initContainers") or ()
    init_names = tuple(item["name"] for item in initial if not _keeps_running(item))
    sidecar_names = (
        *(item["name"] for item in initial if _keeps_running(item)),
        *(item["name"] for item in pod["containers"] if item is not container),
    )
    chosen = {
        *_choose(settings.init_containers, init_names),
        *_choose(settings.sidecars, sidecar_names),
    }

    def keep(containers: Iterable[Object]) -> tuple[Mapping[str, Any], ...]:
        kept = []
        for item in containers:
            if item is container:
                continue
            note = _explain_omission(item, item["name"] in chosen, _kind(item, initial))
            if note is None:
                kept.append(_copy(item, settings, digests, notes))
            else:
                notes.append(note)
        return tuple(kept)

    return Sidecars(
        keep(initial),
        keep(pod["containers"]),
        notes,
        tuple(
            (setting, name, allowed)
            for setting, names, allowed in (
                ("init-containers", settings.init_containers, init_names),
                ("sidecars", settings.sidecars, sidecar_names),
            )
            for name in names
            if name != ALL and name not in allowed
        ),
    )


def _keeps_running(container: Object) -> bool:
    return container.get("restartPolicy") == "Always"


def _kind(container: Object, initial: Iterable[Object]) -> str:
    is_initial = any(container is item for item in initial)
    return "init container" if is_initial and not _keeps_running(container) else "sidecar"


def _choose(names: Sequence[str], available: Sequence[str]) -> Sequence[str]:
    return available if ALL in names else names


def _explain_omission(container: Object, is_chosen: bool, kind: str) -> Note | None:
    """Return the note on a container that is left out, or None for one that the shell has too."""
    name = container["name"]
    subject = f"{kind} {name}"
    if not is_chosen:
        setting = f"{PREFIX}{'sidecars' if kind == 'sidecar' else 'init-containers'}"
        return note_left_out(subject, f"the annotation {setting}: {name} brings it")
    if name in _OWN:
        return note_left_out(subject, "the shell has a container of that name")
    return None


def _copy(
    container: Object, settings: AppSettings, digests: Mapping[str, str], notes: list[Note]
) -> dict[str, Any]:
    copy = {field: value for field, value in container.items() if field not in _DROPPED}
    if "env" in copy:
        copy["env"] = keep_last(copy["env"] or (), notes)
    if container["name"] in digests:
        copy |= {"image": digests[container["name"]], "imagePullPolicy": "IfNotPresent"}
    if container.get("securityContext"):
        subject = f"container {container['name']}"
        context = drop_privileges(subject, container["securityContext"], notes)
        restrict_capabilities(subject, context, settings, notes)
        copy["securityContext"] = context
    return copy
