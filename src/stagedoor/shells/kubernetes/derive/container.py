"""The shell's own container: the app's, with sshd in the place of the app's process. Pure.

Every field of core/v1 Container is listed here: copied, written, or left out with the reason.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.derive.annotations import AppSettings
from stagedoor.shells.kubernetes.derive.environment import shell_environment
from stagedoor.shells.kubernetes.derive.kit import START
from stagedoor.shells.kubernetes.derive.notes import Note, changed, left_out, note_omitted, warning
from stagedoor.shells.kubernetes.derive.security import shell_security
from stagedoor.shells.kubernetes.names import CONTAINER, PREFIX, SSHD_PORT

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
    "livenessProbe": "a shell serves nobody",
    "ports": "a shell serves nobody",
    "readinessProbe": "a shell serves nobody",
    "resizePolicy": "a shell is not resized",
    "restartPolicy": "sshd is started again if it ends",
    "restartPolicyRules": "sshd is started again if it ends",
    "startupProbe": "a shell serves nobody",
    "stdin": "a shell has its terminals by SSH",
    "stdinOnce": "a shell has its terminals by SSH",
    "tty": "a shell has its terminals by SSH",
}


def app_container(
    containers: Sequence[Object], metadata: Object, settings: AppSettings, notes: list[Note]
) -> Object | None:
    """Return the app's container: the one in the settings, else kubectl's default, else the first.

    Return None if there is no container of the name in the settings. Adds to `notes`.
    """
    if settings.container is not None:
        return next((item for item in containers if item["name"] == settings.container), None)
    default = (metadata.get("annotations") or {}).get(DEFAULT_CONTAINER)
    for container in containers:
        if container["name"] == default:
            return container
    if len(containers) > 1:
        notes.append(
            warning(
                f"container {containers[0]['name']}",
                f"taken as the first of {len(containers)}; {PREFIX}container names another",
            )
        )
    return containers[0]


def shell_container(
    container: Object,
    metadata: Object,
    pod: Object,
    settings: AppSettings,
    digests: Mapping[str, str],
    present: frozenset[str],
    notes: list[Note],
) -> dict[str, Any]:
    """Return sshd's container without its mounts; adds to `notes`.

    `present` are the app's other containers in the shell's pod; the other arguments are as in `derive`.
    """
    made = {field: container[field] for field in _CONTAINER_COPIED if field in container}
    made["name"] = CONTAINER
    made["command"] = [*settings.command, START]
    # The image's STOPSIGNAL may be a signal that ends sshd at once.
    made["lifecycle"] = {"preStop": {"exec": {"command": [START, "stop"]}}}
    made["ports"] = [{"name": "ssh", "containerPort": SSHD_PORT, "protocol": "TCP"}]
    # The pod's status then has the last lines of a failed start.
    made["terminationMessagePolicy"] = "FallbackToLogsOnError"
    _image(made, container, settings, digests, notes)
    environment, environment_notes = shell_environment(container, metadata, settings, present)
    security, security_notes = shell_security(
        container.get("securityContext") or {}, pod.get("securityContext") or {}, settings
    )
    made |= environment
    made["securityContext"] = security
    notes += environment_notes + security_notes
    _resources(made, container, settings, notes)
    if settings.command:
        notes.append(changed("command", f"{PREFIX}command runs before sshd"))
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
        # The app's policy was meant for its own image; the API has a default for this one.
        made.pop("imagePullPolicy", None)
        notes.append(changed("image", f"{settings.image} by {PREFIX}image"))
    elif container["name"] in digests:
        made["image"] = digests[container["name"]]
        made["imagePullPolicy"] = "IfNotPresent"


def _resources(
    made: dict[str, Any], container: Object, settings: AppSettings, notes: list[Note]
) -> None:
    resources = {
        part: dict(amounts)
        for part, amounts in (container.get("resources") or {}).items()
        if part != "claims"
    }
    if "claims" in (container.get("resources") or {}):
        notes.append(left_out("resources.claims", "a device would be taken from the app"))
    if settings.resources is not None:
        resources = {part: dict(amounts) for part, amounts in settings.resources.items()}
        notes.append(changed("resources", f"set by {PREFIX}resources"))
    if resources:
        made["resources"] = resources
    extended = sorted(name for name in resources.get("limits", {}) if "/" in name)
    if extended and settings.resources is None:
        notes.append(
            warning(
                "resources",
                f"the shell takes {', '.join(extended)} too; {PREFIX}resources says otherwise",
            )
        )
