"""How the sshd kit comes into a shell's pod, and where a shell finds it. Pure.

The kit's side of this is `docs/reference/kit.md`.
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
OWN_PATHS = (KIT_PATH, RUN_PATH, HOST_KEY_PATH, SHELL_PATH, PACKAGES_PATH)
"""Where a shell has things of ours; nothing of the app's is mounted there or below."""

KIT_VOLUME = "stagedoor-kit"
RUN_VOLUME = "stagedoor-run"
HOST_KEY_VOLUME = "stagedoor-host"
SHELL_VOLUME = "stagedoor-shell"
PACKAGES_VOLUME = "stagedoor-packages"
OWN_VOLUMES = (KIT_VOLUME, RUN_VOLUME, HOST_KEY_VOLUME, SHELL_VOLUME, PACKAGES_VOLUME)

START = f"{KIT_PATH}/bin/start"

KIT_UID = 65532
"""By custom the uid of `nonroot`."""

_COPY = f"{KIT_PATH}/bin/copy"
_COPY_TO = "/kit-volume"
_KIT_MOUNT = {"name": KIT_VOLUME, "mountPath": KIT_PATH, "readOnly": True}
_PACKAGES_TO = "/packages-volume"
_CPU_LIMIT = "500m"
_CPU_REQUEST = "10m"


class KitSource(StrEnum):
    """How the kit comes into the pod."""

    SIBLING = "sibling"
    """A container listed first copies it, and its postStart hook, which waits for that, holds the next
    one back: the kubelet starts containers in their order. It then stays as long as the pod lives."""
    INIT = "init"
    """An init container copies it, which costs a turn of the kubelet's loop: a second until Ready."""
    IMAGE_VOLUME = "image-volume"
    """The image is mounted (Kubernetes 1.33 with the ImageVolume gate, or later)."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What an installation gives to each shell's pod: the kit's image, and how it is brought.

    `pull_policy` is an `imagePullPolicy`. `resources` are those of the containers that copy, None for
    small ones of ours; `uid` is what they run as where the app's pod says nothing, None for the cluster to
    choose one, as OpenShift does. `pod_labels` and `pod_annotations` stand beside a shell's own, for the
    cluster's policies and webhooks; `priority_class` is a PriorityClass.
    """

    image: str
    way: KitSource = KitSource.SIBLING
    pull_policy: str = "IfNotPresent"
    resources: Mapping[str, Mapping[str, str]] | None = None
    pod_labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    pod_annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    priority_class: str | None = None
    uid: int | None = KIT_UID


class KitParts(NamedTuple):
    """What the pod gets: containers before all others, volumes, and mounts of the shell's container."""

    init_containers: list[dict[str, Any]]
    containers: list[dict[str, Any]]
    volumes: list[dict[str, Any]]
    mounts: list[dict[str, Any]]


def bring(
    kit: Kit,
    packages_image: str | None,
    name: str,
    pod_security: Mapping[str, Any],
    cpu_limit: str | None,
) -> KitParts:
    """`name` is what the shell's Secret and ConfigMap are called.

    `pod_security` is the pod's securityContext, `cpu_limit` the shell's own: a quota that counts
    limits takes no container without one.
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
    """What a shell has with any kit: a folder to write to, its keys, and its settings."""
    volumes: list[dict[str, Any]] = [
        {"name": RUN_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        # Any uid must read them, and the pod has one container that matters: 0444.
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
    """The container that copies the kit, without its command."""
    return {
        "name": KIT_CONTAINER,
        "image": kit.image,
        "imagePullPolicy": kit.pull_policy,
        "securityContext": _restricted(pod_security, kit.uid),
        "resources": _resources(kit, "64Mi", cpu_limit),
        "volumeMounts": [{"name": KIT_VOLUME, "mountPath": _COPY_TO}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _kit(kit: Kit, copier: dict[str, Any], *, packages: bool) -> KitParts:
    """The kit itself. `packages`: an init container needs it."""
    if kit.way is KitSource.IMAGE_VOLUME:
        image = {"reference": kit.image, "pullPolicy": kit.pull_policy}
        # In the image the kit is at /kit too, and a whole image is mounted.
        mount = {**_KIT_MOUNT, "subPath": KIT_PATH.removeprefix("/")}
        return KitParts([], [], [{"name": KIT_VOLUME, "image": image}], [mount])
    volumes: list[dict[str, Any]] = [{"name": KIT_VOLUME, "emptyDir": {}}]
    # Another init container cannot wait for a sibling, so packages want the kit copied by one.
    if kit.way is KitSource.INIT or packages:
        return KitParts([{**copier, "command": [_COPY, _COPY_TO]}], [], volumes, [dict(_KIT_MOUNT)])
    # The hook takes a while to be started, and by then most is copied.
    stays = {
        "command": [_COPY, "--and-stay", _COPY_TO],
        "lifecycle": {"postStart": {"exec": {"command": [_COPY, "--wait", _COPY_TO]}}},
    }
    return KitParts([], [{**copier, **stays}], volumes, [dict(_KIT_MOUNT)])


def _packages(copier: dict[str, Any], kit_mount: dict[str, Any]) -> KitParts:
    """An image of packages, copied by `copier`; it need not have a program of its own."""
    copy = {
        **copier,
        "name": PACKAGES_CONTAINER,
        # The kit's busybox copies.
        "command": [f"{KIT_PATH}/bin/busybox", "cp", "-dR", f"{PACKAGES_PATH}/.", _PACKAGES_TO],
        "volumeMounts": [dict(kit_mount), {"name": PACKAGES_VOLUME, "mountPath": _PACKAGES_TO}],
    }
    mount = {"name": PACKAGES_VOLUME, "mountPath": PACKAGES_PATH, "readOnly": True}
    return KitParts([copy], [], [{"name": PACKAGES_VOLUME, "emptyDir": {}}], [mount])


def _restricted(pod_security: Mapping[str, Any], uid: int | None) -> dict[str, Any]:
    """As Pod Security `restricted` demands, whatever the app is allowed."""
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
    return _small(memory, cpu_limit)


def _small(memory: str, cpu_limit: str | None) -> dict[str, Any]:
    """Little for the scheduler, enough to copy quickly, and no more of a quota than need be."""
    limits, request = {"memory": memory}, _CPU_REQUEST
    if cpu_limit:
        limits["cpu"] = _lesser(cpu_limit, _CPU_LIMIT)
        # A request that is not made is as large as the limit, and one above it is refused.
        request = _lesser(cpu_limit, _CPU_REQUEST)
    requests = {"memory": "16Mi", "cpu": request}
    return {"requests": requests, "limits": limits}


def _lesser(one: str, other: str) -> str:
    return one if (parse_quantity(one) or 0) <= (parse_quantity(other) or 0) else other
