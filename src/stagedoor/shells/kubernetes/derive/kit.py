"""The parts of a pod that bring the sshd kit into a shell, and the kit's paths there. Pure.

`docs/reference/kit.md` describes the kit itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

from stagedoor.shells.kubernetes.duration import parse_quantity
from stagedoor.shells.kubernetes.names import KIT_CONTAINER, PACKAGES_CONTAINER

KIT_PATH = "/kit"
RUN_PATH = "/run/stagedoor"
HOST_KEY_PATH = "/etc/stagedoor/host"
SHELL_PATH = "/etc/stagedoor/shell"
PACKAGES_PATH = "/packages"
INPUT_PATH = "/run/stagedoor-input"
OWN_PATHS = (KIT_PATH, RUN_PATH, HOST_KEY_PATH, SHELL_PATH, PACKAGES_PATH, INPUT_PATH)
"""The folders that belong to Stagedoor in a shell; the app's volumes are not mounted there or below."""

KIT_VOLUME = "stagedoor-kit"
RUN_VOLUME = "stagedoor-run"
HOST_KEY_VOLUME = "stagedoor-host"
SHELL_VOLUME = "stagedoor-shell"
PACKAGES_VOLUME = "stagedoor-packages"
INPUT_VOLUME = "stagedoor-input"
OWN_VOLUMES = (
    KIT_VOLUME,
    RUN_VOLUME,
    HOST_KEY_VOLUME,
    SHELL_VOLUME,
    PACKAGES_VOLUME,
    INPUT_VOLUME,
)

START = f"{KIT_PATH}/bin/start"

KIT_UID = 65532
"""The customary uid of `nonroot`."""

PULL_POLICY = "IfNotPresent"
"""The imagePullPolicy of the kit. A release names its image by digest, so a copy on the node is right."""

_COPY = f"{KIT_PATH}/bin/copy"
_COPY_TO = "/kit-volume"
_KIT_MOUNT = {"name": KIT_VOLUME, "mountPath": KIT_PATH, "readOnly": True}
_PACKAGES_TO = "/packages-volume"
_CPU_LIMIT = "500m"
_CPU_REQUEST = "10m"


class KitSource(StrEnum):
    """The ways to bring the kit into a pod."""

    SIBLING = "sibling"
    """The first container copies it. The kubelet starts containers in order, and the first one's postStart
    hook waits for the copy, so the next starts only after it. The container runs as long as the pod."""
    INIT = "init"
    """An init container copies it. This takes another turn of the kubelet's loop, so Ready comes a second
    later."""
    IMAGE_VOLUME = "image-volume"
    """The image is mounted (Kubernetes 1.33 with the ImageVolume gate, or later)."""


@dataclass(frozen=True, slots=True)
class Kit:
    """The installation's settings for every shell's pod: the kit's image, and how it comes into the pod.

    `resources` are those of the containers that copy, None for small defaults. They run as `uid` if the app's
    pod sets no user; with None the cluster chooses one, as OpenShift does. `pod_labels` and `pod_annotations`
    are added to a shell's own, for the cluster's policies and webhooks; `app_labels` are the names of the
    app's labels that its shell has too; `priority_class` is a PriorityClass.
    """

    image: str
    source: KitSource = KitSource.SIBLING
    resources: Mapping[str, Mapping[str, str]] | None = None
    pod_labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    pod_annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    priority_class: str | None = None
    uid: int | None = KIT_UID
    app_labels: tuple[str, ...] = ()
    run_sizes: Mapping[str, Mapping[str, Mapping[str, str]]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """The resources that a run may have instead of its shell's, by the names of sizes."""
    installation: str | None = None
    """The value of the label INSTALLATION of Deployments and Jobs."""


class KitParts(NamedTuple):
    """The parts to add to a pod: its first containers, volumes, and mounts of the shell's container."""

    init_containers: list[dict[str, Any]]
    containers: list[dict[str, Any]]
    volumes: list[dict[str, Any]]
    mounts: list[dict[str, Any]]


def build_kit_parts(
    kit: Kit,
    packages_image: str | None,
    name: str,
    pod_security: Mapping[str, Any],
    cpu_limit: str | None,
) -> KitParts:
    """Return the parts of a shell's pod that bring the kit, the packages and the shell's files into it.

    `name` is that of the shell's Secret and ConfigMap. `pod_security` is the pod's securityContext.
    `cpu_limit` is the limit of the shell's container. If it has one, the containers that copy get one too,
    since a quota on limits accepts no container without.
    """
    copier = _copier(kit, pod_security, cpu_limit)
    the_kit = _kit(kit, copier, packages=packages_image is not None)
    parts = [_files(name), the_kit]
    if packages_image is not None:
        resources = _resources(kit, "128Mi", cpu_limit)
        copier |= {"image": packages_image, "resources": resources}
        parts.append(_packages(copier, the_kit.mounts[0]))
    return KitParts(*(list(chain(*lists)) for lists in zip(*parts, strict=True)))


def _files(name: str) -> KitParts:
    """Return the parts that every shell has: a folder to write to, its keys, and its settings."""
    volumes: list[dict[str, Any]] = [
        {"name": RUN_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        # 0444, since sshd's container may run with any uid; no other container mounts them.
        {"name": HOST_KEY_VOLUME, "secret": {"secretName": name, "defaultMode": 0o444}},
        {"name": SHELL_VOLUME, "configMap": {"name": name, "defaultMode": 0o444}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": RUN_VOLUME, "mountPath": RUN_PATH},
        {"name": HOST_KEY_VOLUME, "mountPath": HOST_KEY_PATH, "readOnly": True},
        {"name": SHELL_VOLUME, "mountPath": SHELL_PATH, "readOnly": True},
    ]
    return KitParts([], [], volumes, mounts)


def _copier(kit: Kit, pod_security: Mapping[str, Any], cpu_limit: str | None) -> dict[str, Any]:
    """Return the container that copies the kit, without its command."""
    return {
        "name": KIT_CONTAINER,
        "image": kit.image,
        "imagePullPolicy": PULL_POLICY,
        "securityContext": _restricted(pod_security, kit.uid),
        "resources": _resources(kit, "64Mi", cpu_limit),
        "volumeMounts": [{"name": KIT_VOLUME, "mountPath": _COPY_TO}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _kit(kit: Kit, copier: dict[str, Any], *, packages: bool) -> KitParts:
    """Return the parts for the kit. With `packages`, an init container copies it before the packages."""
    if kit.source is KitSource.IMAGE_VOLUME:
        image = {"reference": kit.image, "pullPolicy": PULL_POLICY}
        # The whole image is mounted, and the kit is in its folder /kit.
        mount = {**_KIT_MOUNT, "subPath": KIT_PATH.removeprefix("/")}
        return KitParts([], [], [{"name": KIT_VOLUME, "image": image}], [mount])
    volumes: list[dict[str, Any]] = [{"name": KIT_VOLUME, "emptyDir": {}}]
    # An init container cannot wait for an ordinary one, so with packages it is an init container that copies
    # the kit.
    if kit.source is KitSource.INIT or packages:
        return KitParts([{**copier, "command": [_COPY, _COPY_TO]}], [], volumes, [dict(_KIT_MOUNT)])
    # By the time that the kubelet starts the hook, most of the kit is copied.
    stays = {
        "command": [_COPY, "--and-stay", _COPY_TO],
        "lifecycle": {"postStart": {"exec": {"command": [_COPY, "--wait", _COPY_TO]}}},
    }
    return KitParts([], [{**copier, **stays}], volumes, [dict(_KIT_MOUNT)])


def _packages(copier: dict[str, Any], kit_mount: dict[str, Any]) -> KitParts:
    """Return the parts that copy an image of packages with `copier`. The image needs no program."""
    copy = {
        **copier,
        "name": PACKAGES_CONTAINER,
        # The kit's busybox does the copy.
        "command": [f"{KIT_PATH}/bin/busybox", "cp", "-dR", f"{PACKAGES_PATH}/.", _PACKAGES_TO],
        "volumeMounts": [dict(kit_mount), {"name": PACKAGES_VOLUME, "mountPath": _PACKAGES_TO}],
    }
    mount = {"name": PACKAGES_VOLUME, "mountPath": PACKAGES_PATH, "readOnly": True}
    return KitParts([copy], [], [{"name": PACKAGES_VOLUME, "emptyDir": {}}], [mount])


def _restricted(pod_security: Mapping[str, Any], uid: int | None) -> dict[str, Any]:
    """Return a securityContext that passes Pod Security `restricted`, whatever the app has."""
    context: dict[str, Any] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if not pod_security.get("runAsUser") and uid is not None:
        context["runAsUser"] = uid
    return context


def _resources(kit: Kit, memory: str, cpu_limit: str | None) -> dict[str, Any]:
    if kit.resources is not None:
        return {part: dict(amounts) for part, amounts in kit.resources.items()}
    # Small requests for the scheduler, and limits that let the copy be quick.
    limits, requests = {"memory": memory}, {"memory": "16Mi", "cpu": _CPU_REQUEST}
    if cpu_limit:
        limits["cpu"] = _lesser(cpu_limit, _CPU_LIMIT)
        # Without a request, the API sets it to the limit; a request above the limit is refused.
        requests["cpu"] = _lesser(cpu_limit, _CPU_REQUEST)
    return {"requests": requests, "limits": limits}


def _lesser(first: str, second: str) -> str:
    return first if (parse_quantity(first) or 0) <= (parse_quantity(second) or 0) else second
