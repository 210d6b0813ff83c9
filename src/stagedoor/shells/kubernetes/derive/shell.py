"""The derivation of a shell's Deployment and Service from its app's Deployment or StatefulSet. Pure.

`pod` and `container` list every field that a shell has. A field that is not listed there is left out with a
note, so that no field of a newer Kubernetes gets into a shell unnoticed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.derive.annotations import AppSettings, WrongSettings, describe
from stagedoor.shells.kubernetes.derive.compare import hash_template
from stagedoor.shells.kubernetes.derive.container import (
    DEFAULT_CONTAINER,
    choose_container,
    derive_container,
)
from stagedoor.shells.kubernetes.derive.images import MAX_CHARS as MAX_IMAGE_CHARS
from stagedoor.shells.kubernetes.derive.images import selects
from stagedoor.shells.kubernetes.derive.kit import Kit, KitParts, build_kit_parts
from stagedoor.shells.kubernetes.derive.notes import Note
from stagedoor.shells.kubernetes.derive.objects import build_service, make_metadata, read_image
from stagedoor.shells.kubernetes.derive.pod import derive_pod, note_pod_annotations
from stagedoor.shells.kubernetes.derive.sidecars import Sidecars, derive_companions
from stagedoor.shells.kubernetes.derive.volumes import (
    derive_mounts,
    derive_volumes,
    list_used_volumes,
)
from stagedoor.shells.kubernetes.names import (
    CONTAINER,
    INSTALLATION,
    PREFIX,
    TEMPLATE,
    find_name_problem,
    make_shell_labels,
    make_shell_name,
)
from stagedoor.shells.kubernetes.sentences import clean_text

PROGRESS_DEADLINE_S = 120
"""Seconds without progress after which the Deployment's status reports that a start has failed."""


@dataclass(frozen=True, slots=True)
class Derived:
    """The desired shell of an app, by its `settings`.

    `deployment` has no `replicas` (see `with_replicas`). Its annotation `names.TEMPLATE` is `template`, the
    hash of the pod's template: a running shell with another hash is outdated. `container` is the name of the
    app's container that the shell is derived from. `image` is the image that the shell runs, and `image_name`
    its name as the app's author wrote it, on one line.
    """

    settings: AppSettings
    deployment: Object
    service: Object
    template: str
    container: str
    image: str
    image_name: str
    notes: tuple[Note, ...]


def derive(
    app: Object,
    settings: AppSettings,
    kit: Kit,
    *,
    digests: Mapping[str, str],
    claims: Mapping[str, Sequence[str]],
) -> Derived | WrongSettings:
    """Derive the shell of `app`, or return the reasons why it cannot have one.

    `digests` maps the app's containers to the images that they run (`images.find_running_digests`), so that
    the shell runs the same image even if the tag has moved. A container that is missing there keeps the
    template's image. `claims` maps the namespace's PersistentVolumeClaims to their access modes
    (`spec.accessModes`). A claim that is missing there counts as one for a single pod.
    """
    metadata, pod = app["spec"]["template"].get("metadata") or {}, app["spec"]["template"]["spec"]
    notes: list[Note] = []
    container = choose_container(pod["containers"], metadata, settings, notes)
    others = derive_companions(pod, container, settings, digests) if container else None
    labels = list_pod_labels(app, kit)
    problems = _problems(app, settings, container, others, labels)
    if problems or container is None or others is None:
        return WrongSettings(tuple(problems), settings)
    spec = _derive_spec(app, settings, kit, container, others, digests, claims, notes)
    annotations = {**kit.pod_annotations, DEFAULT_CONTAINER: CONTAINER}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}
    digest = hash_template(template)
    deployment = _deployment(app, kit, template, digest)
    return Derived(
        settings,
        deployment,
        build_service(app),
        digest,
        container["name"],
        read_image(deployment),
        clean_text(settings.image or container["image"], MAX_IMAGE_CHARS),
        tuple(notes),
    )


def _derive_spec(
    app: Object,
    settings: AppSettings,
    kit: Kit,
    container: Object,
    others: Sidecars,
    digests: Mapping[str, str],
    claims: Mapping[str, Sequence[str]],
    notes: list[Note],
) -> dict[str, Any]:
    """Return the spec of the shell's pod, derived from `container` and `others`, and add to `notes`."""
    metadata, pod = app["spec"]["template"].get("metadata") or {}, app["spec"]["template"]["spec"]
    given = pod.get("volumes") or ()
    present = frozenset(item["name"] for item in (*others.init_containers, *others.sidecars))
    used = list_used_volumes([container, *others.init_containers, *others.sidecars])
    volumes = derive_volumes(given, used, container["name"], present, settings, claims, notes)
    template_volumes = frozenset(volume["name"] for volume in given)
    shell = derive_container(container, metadata, pod, settings, digests, present, notes)
    mounts = derive_mounts(container, volumes.omitted, template_volumes, notes)
    others = others.with_mounts(volumes.omitted, template_volumes)
    notes += others.notes
    name = make_shell_name(app["metadata"]["name"])
    cpu_limit = ((shell.get("resources") or {}).get("limits") or {}).get("cpu")
    pod_security = pod.get("securityContext") or {}
    brought = build_kit_parts(kit, settings.packages_image, name, pod_security, cpu_limit)
    mounts["volumeMounts"] = [*mounts.get("volumeMounts", ()), *brought.mounts]
    spec = derive_pod(app, pod, settings, volumes.same_node, notes)
    spec |= _containers(brought, shell | mounts, others)
    spec["volumes"] = [*volumes.volumes, *brought.volumes]
    if kit.priority_class is not None:
        spec["priorityClassName"] = kit.priority_class
    notes += note_pod_annotations(metadata)
    return spec


def _containers(brought: KitParts, shell: Object, others: Sidecars) -> dict[str, Any]:
    """Return the pod's containers in the order in which the kubelet should start them."""
    first = [*brought.init_containers, *others.init_containers]
    containers = {"containers": [*brought.containers, shell, *others.sidecars]}
    return {"initContainers": first, **containers} if first else containers


def list_pod_labels(app: Object, kit: Kit) -> dict[str, str]:
    """Return the labels of the shell's pod: the installation's, the app's that it names, and Stagedoor's own.

    The app's labels are those of its pods, or else of its Deployment or StatefulSet. Labels by which the app
    selects its pods are never used, since its Service most likely selects by the same.
    """
    metadata = app["spec"]["template"].get("metadata") or {}
    given = {**(app["metadata"].get("labels") or {}), **(metadata.get("labels") or {})}
    selector = app["spec"].get("selector") or {}
    selecting = {*(selector.get("matchLabels") or ())}
    selecting |= {str(term.get("key")) for term in selector.get("matchExpressions") or ()}
    copied = {key: given[key] for key in kit.app_labels if key in given and key not in selecting}
    return {**kit.pod_labels, **copied, **make_shell_labels(app["metadata"]["name"])}


def with_replicas(deployment: Object, replicas: int) -> Object:
    """Return the manifest to apply. Without `replicas`, a server-side apply would create one replica."""
    return {**deployment, "spec": {"replicas": replicas, **deployment["spec"]}}


def _problems(
    app: Object,
    settings: AppSettings,
    container: Object | None,
    others: Sidecars | None,
    labels: Mapping[str, str],
) -> list[str]:
    about = describe(app)
    problems = []
    problem = find_name_problem(app["metadata"]["name"])
    if problem is not None:
        problems.append(f"{about} can have no shell: {problem}")
    if selects(app["spec"].get("selector") or {}, labels):
        problems.append(
            f"{about} can have no shell: its selector selects the shell's pod; "
            "let it select a label of the app's own"
        )
    if (app["spec"]["template"]["spec"].get("os") or {}).get("name") == "windows":
        problems.append(f"{about} can have no shell: its pods run Windows")
    names = ", ".join(item["name"] for item in app["spec"]["template"]["spec"]["containers"])
    if container is None:
        problems.append(
            f'annotation {PREFIX}container of {about}: there is no container "{settings.container}"; '
            f"allowed: {names}"
        )
    if others is not None:
        problems += [
            f'annotation {PREFIX}{setting} of {about}: there is no such container "{name}"; '
            f"allowed: {', '.join(allowed) or 'none, as it has none'}"
            for setting, name, allowed in others.unknown
        ]
    return problems


def _deployment(app: Object, kit: Kit, pod_template: dict[str, Any], digest: str) -> dict[str, Any]:
    metadata = make_metadata(app)
    if kit.installation is not None:
        metadata = {**metadata, "labels": {**metadata["labels"], INSTALLATION: kit.installation}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "annotations": {TEMPLATE: digest}},
        "spec": {
            "selector": {"matchLabels": make_shell_labels(app["metadata"]["name"])},
            # A replaced shell keeps its sessions until its grace ends; the new one starts at once.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": PROGRESS_DEADLINE_S,
            "template": pod_template,
        },
    }
