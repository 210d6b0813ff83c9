"""Init containers and sidecars: which of the app's come into its shell's pod. Pure.

None by default. An init container of the app's (a migration, say) runs on its rollouts, and is not
to run whenever somebody logs in; a sidecar serves the app's process.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.derive.annotations import AppSettings
from stagedoor.shells.kubernetes.derive.notes import Note, left_out
from stagedoor.shells.kubernetes.derive.security import companion_security
from stagedoor.shells.kubernetes.derive.unique import last_wins
from stagedoor.shells.kubernetes.derive.values import ALL
from stagedoor.shells.kubernetes.derive.volumes import shell_mounts
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
    """Both kinds, in the app's order. Sidecars that are init containers which go on running
    (`restartPolicy: Always`) are among the init containers, as in the app.

    `unknown` are names that were asked for and are not there: setting, name, and what is allowed.
    """

    init_containers: tuple[Mapping[str, Any], ...]
    sidecars: tuple[Mapping[str, Any], ...]
    notes: list[Note]
    unknown: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def mounting(self, gone: frozenset[str], known: frozenset[str]) -> "Sidecars":
        """The same with the mounts that are left; see `volumes.shell_mounts`."""
        notes = list(self.notes)

        def mounted(container: Mapping[str, Any]) -> dict[str, Any]:
            mounts, said = shell_mounts(container, gone, known)
            notes.extend(said)
            rest = {
                field: value
                for field, value in container.items()
                if field not in ("volumeMounts", "volumeDevices")
            }
            return rest | mounts

        return replace(
            self,
            init_containers=tuple(mounted(each) for each in self.init_containers),
            sidecars=tuple(mounted(each) for each in self.sidecars),
            notes=notes,
        )


def companions(
    pod: Object, container: Object, settings: AppSettings, digests: Mapping[str, str]
) -> Sidecars:
    """Those of the app's pod template that its settings ask for; `digests` as in `derive`."""
    notes: list[Note] = []
    initial = pod.get("initContainers") or ()
    init_names = tuple(each["name"] for each in initial if not _goes_on(each))
    sidecar_names = (
        *(each["name"] for each in initial if _goes_on(each)),
        *(each["name"] for each in pod["containers"] if each is not container),
    )
    chosen = {
        *_chosen(settings.init_containers, init_names),
        *_chosen(settings.sidecars, sidecar_names),
    }

    def kept(containers: Iterable[Object]) -> tuple[Mapping[str, Any], ...]:
        return tuple(
            _copied(each, digests, notes)
            for each in containers
            if each is not container
            and _is_kept(each, each["name"] in chosen, _kind(each, initial), notes)
        )

    return Sidecars(
        kept(initial),
        kept(pod["containers"]),
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


def _goes_on(container: Object) -> bool:
    return container.get("restartPolicy") == "Always"


def _kind(container: Object, initial: Iterable[Object]) -> str:
    starts_first = any(container is each for each in initial)
    return "init container" if starts_first and not _goes_on(container) else "sidecar"


def _chosen(names: Sequence[str], there: Sequence[str]) -> Sequence[str]:
    return there if ALL in names else names


def _is_kept(container: Object, chosen: bool, kind: str, notes: list[Note]) -> bool:
    name = container["name"]
    subject = f"{kind} {name}"
    if not chosen:
        setting = f"{PREFIX}{'sidecars' if kind == 'sidecar' else 'init-containers'}"
        notes.append(left_out(subject, f"the annotation {setting}: {name} brings it"))
        return False
    if name in _OWN:
        notes.append(left_out(subject, "the shell has a container of that name"))
        return False
    return True


def _copied(container: Object, digests: Mapping[str, str], notes: list[Note]) -> dict[str, Any]:
    made = {field: value for field, value in container.items() if field not in _DROPPED}
    if "env" in made:
        made["env"], doubled = last_wins(made["env"] or ())
        notes += doubled
    if container["name"] in digests:
        made |= {"image": digests[container["name"]], "imagePullPolicy": "IfNotPresent"}
    if container.get("securityContext"):
        made["securityContext"], said = companion_security(
            container["name"], container["securityContext"]
        )
        notes += said
    return made
