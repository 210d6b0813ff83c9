"""The shell's own container: the app's, but with sshd instead of the app's process. Pure.

Every field of core/v1 Container is listed here: copied, written, or left out with the reason.

`ssh app01.ssh env` should print the same as `kubectl exec` in the app's container. So a reference to a field
of the pod stays a reference, unless the field has another value in the shell's pod.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.derive.annotations import KEEP, AppSettings
from stagedoor.shells.kubernetes.derive.kit import START
from stagedoor.shells.kubernetes.derive.notes import (
    Note,
    note_change,
    note_left_out,
    note_omitted,
    note_warning,
)
from stagedoor.shells.kubernetes.derive.security import derive_security
from stagedoor.shells.kubernetes.derive.unique import keep_last
from stagedoor.shells.kubernetes.names import (
    CONTAINER,
    PREFIX,
    RESUME_PORT,
    RESUME_PORT_NAME,
    SSH_PORT_NAME,
    SSHD_PORT,
)

_KEYED = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def derive_environment(
    container: Object,
    template_metadata: Object,
    settings: AppSettings,
    present: frozenset[str],
    notes: list[Note],
) -> dict[str, Any]:
    """Return a mapping with the fields `env` and `envFrom`, and add to `notes`.

    `container` is the app's, `template_metadata` the metadata of its pod template; `present` are the app's
    other containers in the shell's pod. A variable that `env_add` overrides keeps its place, since `$(NAME)`
    in a value can refer only to earlier entries.
    """
    dropped = set(settings.env_drop)
    entries: list[dict[str, Any]] = []
    added = dict(settings.env_add)
    for entry in container.get("env") or ():
        name = entry["name"]
        if name in settings.env_drop:
            dropped.discard(name)
        elif name in settings.env_add:
            if name in added:
                entries.append({"name": name, "value": added.pop(name)})
        else:
            kept = _entry(entry, template_metadata, container["name"], present, notes)
            entries += [kept] if kept is not None else []
    entries += [{"name": name, "value": value} for name, value in added.items()]
    entries = keep_last(entries, notes)
    sources = []
    for source in container.get("envFrom") or ():
        name = format_source(source)
        if name in settings.env_drop:
            dropped.discard(name)
        else:
            sources.append(dict(source))
    notes += _note_changes(settings, dropped)
    fields = {"env": entries, "envFrom": sources}
    return {field: value for field, value in fields.items() if value}


def _note_changes(settings: AppSettings, unknown: set[str]) -> Iterator[Note]:
    """Yield what env-drop and env-add changed. The container has no variable or source named in `unknown`."""
    for name in settings.env_drop:
        if name in unknown:
            yield note_warning(
                f"variable {name}",
                f"{PREFIX}env-drop names it, but the container has no such entry; to drop a variable "
                "from envFrom, drop its whole source, as secret/NAME or configmap/NAME",
            )
        else:
            yield note_change(f"variable {name}", f"left out by {PREFIX}env-drop")
    for name in settings.env_add:
        yield note_change(f"variable {name}", f"set by {PREFIX}env-add")


def _entry(
    entry: Object,
    template_metadata: Object,
    container: str,
    present: frozenset[str],
    notes: list[Note],
) -> dict[str, Any] | None:
    source = entry.get("valueFrom") or {}
    subject = f"variable {entry['name']}"
    if "fileKeyRef" in source:
        notes.append(
            note_left_out(subject, "it is read from a file that the app's containers write")
        )
        return None
    resource = source.get("resourceFieldRef") or {}
    named = resource.get("containerName")
    if named == container:
        of = {**resource, "containerName": CONTAINER}
        return {**entry, "valueFrom": {**source, "resourceFieldRef": of}}
    if named and named not in present:
        notes.append(note_left_out(subject, f"it refers to container {named}, which is left out"))
        return None
    path = (source.get("fieldRef") or {}).get("fieldPath", "")
    keyed = _KEYED.fullmatch(path)
    if keyed is None:
        return dict(entry)
    values: Mapping[str, str] = template_metadata.get(keyed[1]) or {}
    if keyed[2] not in values:
        why = f"{path} is not in the app's template; it may be empty here"
        notes.append(note_warning(subject, why))
        return dict(entry)
    # The shell's pod lacks the app's labels and annotations, but their values are known. A literal `$` is
    # written `$$`.
    notes.append(note_change(subject, f"the app's own {path}"))
    return {"name": entry["name"], "value": values[keyed[2]].replace("$", "$$")}


def format_source(source: Object) -> str:
    """Return a source of `envFrom` as `secret/NAME` or `configmap/NAME`; an empty text if it is neither."""
    for field, kind in (("secretRef", "secret"), ("configMapRef", "configmap")):
        if field in source:
            return f"{kind}/{source[field].get('name', '')}"
    return ""


DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
"""An annotation of a pod: the container that kubectl uses unless another is named."""

_CONTAINER_COPIED = ("imagePullPolicy", "workingDir")
_CONTAINER_MADE = frozenset(
    {
        "env",
        "envFrom",
        "image",
        "name",
        "resources",
        "securityContext",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "volumeDevices",
        "volumeMounts",
    }
)
_CONTAINER_LEFT_OUT: Mapping[str, str] = {
    "args": "sshd runs in its place",
    "command": "sshd runs in its place",
    "lifecycle": "its hooks are for the app's process",
    "livenessProbe": "a shell serves no traffic",
    "ports": "a shell serves no traffic",
    "readinessProbe": "a shell serves no traffic",
    "resizePolicy": "a shell is not resized",
    "restartPolicy": "sshd is started again if it ends",
    "restartPolicyRules": "sshd is started again if it ends",
    "startupProbe": "a shell serves no traffic",
    "stdin": "a shell has its terminals by SSH",
    "stdinOnce": "a shell has its terminals by SSH",
    "tty": "a shell has its terminals by SSH",
}


def choose_container(
    containers: Sequence[Object], metadata: Object, settings: AppSettings, notes: list[Note]
) -> Object | None:
    """Return the app's container: the one in the settings, or kubectl's default, or the first.

    Return None if the settings name a container that does not exist. Adds to `notes`.
    """
    if settings.container is not None:
        return next((item for item in containers if item["name"] == settings.container), None)
    default = (metadata.get("annotations") or {}).get(DEFAULT_CONTAINER)
    for container in containers:
        if container["name"] == default:
            return container
    if len(containers) > 1:
        notes.append(
            note_warning(
                f"container {containers[0]['name']}",
                f"taken as the first of {len(containers)}; {PREFIX}container names another",
            )
        )
    return containers[0]


def derive_container(
    container: Object,
    metadata: Object,
    pod: Object,
    settings: AppSettings,
    digests: Mapping[str, str],
    present: frozenset[str],
    notes: list[Note],
) -> dict[str, Any]:
    """Return sshd's container without its mounts, and add to `notes`.

    `present` are the app's other containers in the shell's pod; the other arguments are as in `derive`.
    """
    made = {field: container[field] for field in _CONTAINER_COPIED if field in container}
    made["name"] = CONTAINER
    made["command"] = [*settings.command, START]
    # The image's STOPSIGNAL may be one that ends sshd at once.
    made["lifecycle"] = {"preStop": {"exec": {"command": [START, "stop"]}}}
    made["ports"] = [
        {"name": SSH_PORT_NAME, "containerPort": SSHD_PORT, "protocol": "TCP"},
        {"name": RESUME_PORT_NAME, "containerPort": RESUME_PORT, "protocol": "TCP"},
    ]
    # The pod's status then contains the last lines of a failed start.
    made["terminationMessagePolicy"] = "FallbackToLogsOnError"
    _image(made, container, settings, digests, notes)
    made |= derive_environment(container, metadata, settings, present, notes)
    made["securityContext"] = derive_security(
        container.get("securityContext") or {}, pod.get("securityContext") or {}, settings, notes
    )
    _resources(made, container, settings, notes)
    if settings.command:
        notes.append(note_change("command", f"{PREFIX}command runs before sshd"))
    notes += note_omitted(
        container, "", {*_CONTAINER_COPIED, *_CONTAINER_MADE}, _CONTAINER_LEFT_OUT
    )
    return made


def _image(
    made: dict[str, Any],
    container: Object,
    settings: AppSettings,
    digests: Mapping[str, str],
    notes: list[Note],
) -> None:
    made["image"] = container.get("image", "")
    if settings.image is not None:
        made["image"] = settings.image
        # The app's policy is for its own image; for this one, the API's default is right.
        made.pop("imagePullPolicy", None)
        notes.append(note_change("image", f"{settings.image} by {PREFIX}image"))
    elif container["name"] in digests:
        made["image"] = digests[container["name"]]
        made["imagePullPolicy"] = "IfNotPresent"


def _resources(
    made: dict[str, Any], container: Object, settings: AppSettings, notes: list[Note]
) -> None:
    """Set the resources, without extended ones such as GPUs: a node seldom has more than its apps need."""
    given = {
        part: dict(amounts)
        for part, amounts in (container.get("resources") or {}).items()
        if part != "claims"
    }
    devices = sorted({name for amounts in given.values() for name in amounts if "/" in name})
    if KEEP in settings.devices or settings.resources is not None:
        devices = []
    resources = {
        part: kept
        for part, amounts in given.items()
        if (kept := {name: amount for name, amount in amounts.items() if name not in devices})
    }
    if "claims" in (container.get("resources") or {}):
        notes.append(note_left_out("resources.claims", "a device would be taken from the app"))
    if settings.resources is not None:
        resources = {part: dict(amounts) for part, amounts in settings.resources.items()}
        notes.append(note_change("resources", f"set by {PREFIX}resources"))
    if resources:
        made["resources"] = resources
    if devices:
        why = f"the app's own pods need them; {PREFIX}devices: {KEEP} gives the shell as many"
        notes.append(note_left_out(f"resources {', '.join(devices)}", why))
