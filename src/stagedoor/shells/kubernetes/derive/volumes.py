"""The app's volumes that its shell has too, and their mounts. Pure.

A volume for a single pod is left out: the shell would take it away from the app, or could not start. Scratch
volumes belong to one pod, so the shell has empty ones. All other kinds can be shared.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.derive.annotations import (
    HOST_PATH,
    READ_WRITE_ONCE,
    SERVICE_ACCOUNT,
    AppSettings,
)
from stagedoor.shells.kubernetes.derive.kit import OWN_PATHS, OWN_VOLUMES
from stagedoor.shells.kubernetes.derive.notes import (
    Note,
    NoteKind,
    note_change,
    note_left_out,
    note_warning,
)
from stagedoor.shells.kubernetes.names import CONTAINER, PREFIX

_SHARED = frozenset(
    {
        "azureFile",
        "cephfs",
        "configMap",
        "csi",
        "glusterfs",
        "image",
        "nfs",
        "projected",
        "quobyte",
        "secret",
    }
)
"""Fields of core/v1 VolumeSource for contents from the API, a registry or a network file system."""

_DISKS = frozenset(
    {
        "awsElasticBlockStore",
        "azureDisk",
        "cinder",
        "fc",
        "flexVolume",
        "flocker",
        "gcePersistentDisk",
        "iscsi",
        "photonPersistentDisk",
        "portworxVolume",
        "rbd",
        "scaleIO",
        "storageos",
        "vsphereVolume",
    }
)
"""Fields of core/v1 VolumeSource for disks, which are attached to one node at a time."""

_SOURCES = frozenset({"configMap", "downwardAPI", "secret", "serviceAccountToken"})
"""Fields of core/v1 VolumeProjection that a shell may have too."""

_BRING_RWO = f"the annotation {PREFIX}volumes: {READ_WRITE_ONCE} brings it, on the app's node"
_BRING_HOST = f"the annotation {PREFIX}privileges: {HOST_PATH} brings it"


class Volumes(NamedTuple):
    """The volumes of a shell's pod.

    `omitted` has the names of the app's volumes that are left out; `same_node` is True if a volume binds the
    shell to the node of the app's pod.
    """

    volumes: list[dict[str, Any]]
    omitted: frozenset[str]
    same_node: bool


def derive_volumes(
    volumes: Iterable[Object],
    used: frozenset[str],
    container: str,
    present: frozenset[str],
    settings: AppSettings,
    claims: Mapping[str, Sequence[str]],
    notes: list[Note],
) -> Volumes:
    """Return the volumes that a shell's pod has, and add to `notes`.

    `volumes` are those of the app's pod template, `used` the names of those that are mounted.
    `container` is the app's container, which is called CONTAINER in the shell; `present` are the app's other
    containers in the shell's pod; `claims` is as in `derive`.
    """
    kept: list[dict[str, Any]] = []
    omitted: set[str] = set()
    same_node = False
    for volume in volumes:
        name = volume["name"]
        if name not in used:
            continue
        kind = next((key for key in volume if key != "name"), "emptyDir")
        verdict = _judge(name, kind, volume.get(kind) or {}, settings, claims)
        if name in OWN_VOLUMES:
            verdict = note_left_out(f"volume {name}", "the name is one of Stagedoor's own volumes")
        if verdict is not None:
            notes.append(verdict)
        if verdict is not None and verdict.kind is NoteKind.LEFT_OUT:
            omitted.add(name)
        elif kind == "ephemeral":
            kept.append({"name": name, "emptyDir": {}})
        elif kind == "downwardAPI":
            kept.append({"name": name, kind: _rename_container(volume[kind], container, present)})
        elif kind == "projected":
            projected = volume[kind]
            given = _without_tokens(name, projected.get("sources") or (), settings, notes)
            sources, unknown = _sources(given, container, present)
            notes += [
                note_change(
                    f"volume {name}", f"sources of the kind {field} are not known to this version"
                )
                for field in unknown
            ]
            kept.append({"name": name, kind: {**projected, "sources": sources}})
        else:
            kept.append(dict(volume))
            same_node = same_node or kind in _DISKS or _is_single(kind, volume, claims)
    return Volumes(kept, frozenset(omitted), same_node)


def derive_mounts(
    container: Object, omitted: frozenset[str], template_volumes: frozenset[str], notes: list[Note]
) -> dict[str, Any]:
    """Return a shell's `volumeMounts` and `volumeDevices` for the app's `container`, and add to `notes`.

    `omitted` is as in `Volumes`. `template_volumes` are the names of the pod template's volumes: the other
    mounts of a StatefulSet are of its volumeClaimTemplates.
    """
    mounts = []
    devices = []
    for mount in container.get("volumeMounts") or ():
        name, path = mount["name"], mount["mountPath"]
        if name not in template_volumes:
            notes.append(
                note_left_out(
                    f"volume {name}",
                    "it comes from the StatefulSet's volumeClaimTemplates, which give each pod its own",
                )
            )
        elif name in omitted:
            continue
        elif any(_overlap(path, own) for own in OWN_PATHS):
            notes.append(note_left_out(f"mount {path}", "the shell has things of its own there"))
        elif mount.get("mountPropagation") == "Bidirectional":
            notes.append(note_change(f"mount {path}", "mounts made in the shell stay in the shell"))
            mounts.append({**mount, "mountPropagation": "HostToContainer"})
        else:
            mounts.append(dict(mount))
    for device in container.get("volumeDevices") or ():
        if device["name"] not in template_volumes:
            notes.append(
                note_left_out(f"volume {device['name']}", "a block device of the app's own")
            )
        elif device["name"] not in omitted:
            devices.append(dict(device))
    fields = {"volumeMounts": mounts, "volumeDevices": devices}
    return {field: value for field, value in fields.items() if value}


def list_used_volumes(containers: Iterable[Object]) -> frozenset[str]:
    """Return the names of all volumes that these containers mount."""
    return frozenset(
        mount["name"]
        for container in containers
        for part in ("volumeMounts", "volumeDevices")
        for mount in container.get(part) or ()
    )


def _judge(
    name: str,
    kind: str,
    source: Object,
    settings: AppSettings,
    claims: Mapping[str, Sequence[str]],
) -> Note | None:
    subject, allowed = f"volume {name}", settings.volumes
    if kind == "emptyDir":
        return note_change(subject, "an emptyDir is each pod's own: the shell has an empty one")
    if kind == "ephemeral":
        return note_change(
            subject, "a generic ephemeral volume is each pod's own: an emptyDir instead"
        )
    if kind == "hostPath":
        where = source.get("path", "?")
        if HOST_PATH in settings.privileges:
            return note_warning(subject, f"it is {where} of the node, for all who enter the shell")
        return note_left_out(subject, f"it is {where} of the node; {_BRING_HOST}")
    if kind == "persistentVolumeClaim":
        return _judge_claim(subject, source, allowed, claims)
    if kind in _DISKS:
        why = f"a disk ({kind}) is on one node at a time; {_BRING_RWO}"
        return None if READ_WRITE_ONCE in allowed else note_left_out(subject, why)
    if kind in _SHARED or kind == "downwardAPI":
        return None
    return note_left_out(subject, f"volumes of the kind {kind} are not known to this version")


def _judge_claim(
    subject: str, source: Object, allowed: frozenset[str], claims: Mapping[str, Sequence[str]]
) -> Note | None:
    claim = source.get("claimName", "")
    modes = claims.get(claim)
    if modes is None:
        why = f"the access modes of the claim {claim} are not known"
    elif _is_shareable(modes):
        return None
    elif "ReadWriteOncePod" in modes:
        return note_left_out(subject, f"the claim {claim} is ReadWriteOncePod: for one pod alone")
    else:
        why = f"the claim {claim} is {', '.join(modes) or 'of no access mode'}"
    if READ_WRITE_ONCE in allowed:
        return None
    return note_left_out(subject, f"{why}; {_BRING_RWO}")


def _is_shareable(modes: Sequence[str]) -> bool:
    # A disk may be both ReadWriteOnce and ReadOnlyMany, but while it is written to, it is on one node.
    return "ReadWriteMany" in modes or ("ReadOnlyMany" in modes and "ReadWriteOnce" not in modes)


def _is_single(kind: str, volume: Object, claims: Mapping[str, Sequence[str]]) -> bool:
    if kind != "persistentVolumeClaim":
        return False
    return not _is_shareable(claims.get(volume[kind].get("claimName", ""), ()))


def _rename_container(source: Object, container: str, present: frozenset[str]) -> dict[str, Any]:
    """Return a downwardAPI source in which each `resourceFieldRef` names a container of the shell's pod.

    Items about containers that the shell's pod does not have are left out.
    """
    items = []
    for item in source.get("items") or ():
        resource = item.get("resourceFieldRef")
        if resource is None or resource.get("containerName") in present:
            items.append(item)
        elif resource.get("containerName") == container:
            items.append({**item, "resourceFieldRef": {**resource, "containerName": CONTAINER}})
    return {**source, "items": items}


def _sources(
    sources: Iterable[Object], container: str, present: frozenset[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the sources of a projected volume that the shell has too, and the kinds of the others."""
    kept: list[dict[str, Any]] = []
    unknown: list[str] = []
    for source in sources:
        if strange := sorted(set(source) - _SOURCES):
            unknown += strange
        elif "downwardAPI" in source:
            kept.append(
                {"downwardAPI": _rename_container(source["downwardAPI"], container, present)}
            )
        else:
            kept.append(dict(source))
    return kept, unknown


def _without_tokens(
    name: str, sources: Iterable[Object], settings: AppSettings, notes: list[Note]
) -> list[Object]:
    """Return a projected volume's `sources` without tokens of the app's account, unless it asks for them."""
    sources = list(sources)
    kept = [source for source in sources if "serviceAccountToken" not in source]
    if SERVICE_ACCOUNT in settings.privileges or len(kept) == len(sources):
        return sources
    why = f"without its token; the annotation {PREFIX}privileges: {SERVICE_ACCOUNT} brings it"
    notes.append(note_change(f"volume {name}", why))
    return kept


def _overlap(path: str, own: str) -> bool:
    clean = "/" + path.strip("/")
    # A mount above one of Stagedoor's paths (`/etc`, `/run`) is fine: the kubelet mounts deeper paths later.
    return clean == own or clean.startswith(f"{own}/")
