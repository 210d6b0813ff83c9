"""Which of an app's volumes its shell may have too, and where they are mounted. Pure.

A volume that one pod only may have would be taken from the app, or would keep the shell from
starting; a scratch volume is the pod's own. The rest is shared by nature.
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
from stagedoor.shells.kubernetes.derive.notes import Note, NoteKind, changed, left_out, warning
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
"""core/v1 VolumeSource: read from the API, from a registry, or a network file system."""

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
"""core/v1 VolumeSource: a disk, which one node has at a time."""

_SOURCES = frozenset({"configMap", "downwardAPI", "secret", "serviceAccountToken"})
"""core/v1 VolumeProjection: those that a shell may have too."""

_BRING_RWO = f"the annotation {PREFIX}volumes: {READ_WRITE_ONCE} brings it, on the app's node"
_BRING_HOST = f"the annotation {PREFIX}privileges: {HOST_PATH} brings it"


class Volumes(NamedTuple):
    """`volumes` of the shell's pod; `gone` are the names of those left out; `same_node` says that
    one of them binds the shell to the node of the app's pod."""

    volumes: list[dict[str, Any]]
    gone: frozenset[str]
    same_node: bool
    notes: list[Note]


def shell_volumes(
    volumes: Iterable[Object],
    used: frozenset[str],
    container: str,
    present: frozenset[str],
    settings: AppSettings,
    claims: Mapping[str, Sequence[str]],
) -> Volumes:
    """Of `volumes` (of a pod template) those whose names are in `used` by what the shell has.

    `container` is the app's container, which is called CONTAINER in the shell; `present` are the
    app's other containers that come along; `claims` as in `derive`.
    """
    kept: list[dict[str, Any]] = []
    gone: set[str] = set()
    same_node = False
    notes: list[Note] = []
    for volume in volumes:
        name = volume["name"]
        if name not in used:
            continue
        kind = next((key for key in volume if key != "name"), "emptyDir")
        verdict = _judge(name, kind, volume.get(kind) or {}, settings, claims)
        if name in OWN_VOLUMES:
            verdict = left_out(f"volume {name}", "the name is one of Stagedoor's own volumes")
        if verdict is not None:
            notes.append(verdict)
        if verdict is not None and verdict.kind is NoteKind.LEFT_OUT:
            gone.add(name)
        elif kind == "ephemeral":
            kept.append({"name": name, "emptyDir": {}})
        elif kind == "downwardAPI":
            kept.append({"name": name, kind: _renamed(volume[kind], container, present)})
        elif kind == "projected":
            projected = volume[kind]
            given = _without_tokens(name, projected.get("sources") or (), settings, notes)
            sources, unknown = _sources(given, container, present)
            notes += [
                changed(
                    f"volume {name}", f"sources of the kind {one} are not known to this version"
                )
                for one in unknown
            ]
            kept.append({"name": name, kind: {**projected, "sources": sources}})
        else:
            kept.append(dict(volume))
            same_node = same_node or kind in _DISKS or _is_single(kind, volume, claims)
    return Volumes(kept, frozenset(gone), same_node, notes)


def shell_mounts(
    container: Object, gone: frozenset[str], known: frozenset[str]
) -> tuple[dict[str, Any], list[Note]]:
    """`volumeMounts` and `volumeDevices` as a shell has them, in a mapping of those fields.

    `known` are the names of the pod template's volumes: a StatefulSet mounts others, out of its
    volumeClaimTemplates.
    """
    notes = []
    mounts = []
    devices = []
    for mount in container.get("volumeMounts") or ():
        name, path = mount["name"], mount["mountPath"]
        if name not in known:
            notes.append(
                left_out(
                    f"volume {name}",
                    "it is out of the StatefulSet's volumeClaimTemplates, one for each of its pods",
                )
            )
        elif name in gone:
            continue
        elif any(_overlap(path, own) for own in OWN_PATHS):
            notes.append(left_out(f"mount {path}", "the shell has things of its own there"))
        elif mount.get("mountPropagation") == "Bidirectional":
            notes.append(changed(f"mount {path}", "mounts made in the shell stay in the shell"))
            mounts.append({**mount, "mountPropagation": "HostToContainer"})
        else:
            mounts.append(dict(mount))
    for device in container.get("volumeDevices") or ():
        if device["name"] not in known:
            notes.append(left_out(f"volume {device['name']}", "a block device of the app's own"))
        elif device["name"] not in gone:
            devices.append(dict(device))
    found = {"volumeMounts": mounts, "volumeDevices": devices}
    return {field: value for field, value in found.items() if value}, notes


def used_volumes(containers: Iterable[Object]) -> frozenset[str]:
    """The names of all volumes that these containers mount."""
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
        return changed(subject, "an emptyDir is each pod's own: the shell has an empty one")
    if kind == "ephemeral":
        return changed(subject, "a generic ephemeral volume is each pod's own: an emptyDir instead")
    if kind == "hostPath":
        where = source.get("path", "?")
        if HOST_PATH in settings.privileges:
            return warning(subject, f"it is {where} of the node, for all who enter the shell")
        return left_out(subject, f"it is {where} of the node; {_BRING_HOST}")
    if kind == "persistentVolumeClaim":
        return _judge_claim(subject, source, allowed, claims)
    if kind in _DISKS:
        why = f"a disk ({kind}) is on one node at a time; {_BRING_RWO}"
        return None if READ_WRITE_ONCE in allowed else left_out(subject, why)
    if kind in _SHARED or kind == "downwardAPI":
        return None
    return left_out(subject, f"volumes of the kind {kind} are not known to this version")


def _judge_claim(
    subject: str, source: Object, allowed: frozenset[str], claims: Mapping[str, Sequence[str]]
) -> Note | None:
    claim = source.get("claimName", "")
    modes = claims.get(claim)
    if modes is None:
        why = f"the access modes of the claim {claim} are not known"
    elif _shareable(modes):
        return None
    elif "ReadWriteOncePod" in modes:
        return left_out(subject, f"the claim {claim} is ReadWriteOncePod: for one pod alone")
    else:
        why = f"the claim {claim} is {', '.join(modes) or 'of no access mode'}"
    if READ_WRITE_ONCE in allowed:
        return None
    return left_out(subject, f"{why}; {_BRING_RWO}")


def _shareable(modes: Sequence[str]) -> bool:
    # A disk may be ReadWriteOnce and ReadOnlyMany: written to, it is on one node.
    return "ReadWriteMany" in modes or ("ReadOnlyMany" in modes and "ReadWriteOnce" not in modes)


def _is_single(kind: str, volume: Object, claims: Mapping[str, Sequence[str]]) -> bool:
    if kind != "persistentVolumeClaim":
        return False
    return not _shareable(claims.get(volume[kind].get("claimName", ""), ()))


def _renamed(source: Object, container: str, present: frozenset[str]) -> dict[str, Any]:
    """A downwardAPI source, whose `resourceFieldRef` names the container it speaks of: as the pod
    has it. A file about a container that is not there cannot be made."""
    items = []
    for item in source.get("items") or ():
        of = item.get("resourceFieldRef")
        if of is None or of.get("containerName") in present:
            items.append(item)
        elif of.get("containerName") == container:
            items.append({**item, "resourceFieldRef": {**of, "containerName": CONTAINER}})
    return {**source, "items": items}


def _sources(
    sources: Iterable[Object], container: str, present: frozenset[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Of a projected volume those that the shell has too, and the kinds of the others."""
    kept: list[dict[str, Any]] = []
    unknown: list[str] = []
    for source in sources:
        if strange := sorted(set(source) - _SOURCES):
            unknown += strange
        elif "downwardAPI" in source:
            kept.append({"downwardAPI": _renamed(source["downwardAPI"], container, present)})
        else:
            kept.append(dict(source))
    return kept, unknown


def _without_tokens(
    name: str, sources: Iterable[Object], settings: AppSettings, notes: list[Note]
) -> list[Object]:
    """Return a projected volume's `sources` without tokens of the app's account, unless it asks for them."""
    found = list(sources)
    kept = [source for source in found if "serviceAccountToken" not in source]
    if SERVICE_ACCOUNT in settings.privileges or len(kept) == len(found):
        return found
    why = f"without its token; the annotation {PREFIX}privileges: {SERVICE_ACCOUNT} brings it"
    notes.append(changed(f"volume {name}", why))
    return kept


def _overlap(path: str, own: str) -> bool:
    clean = "/" + path.strip("/")
    # Above one of ours (`/etc/stagedoor`, `/run`) is fine: the kubelet mounts the deeper ones later.
    return clean == own or clean.startswith(f"{own}/")
