"""The words that stand in Kubernetes objects: labels, annotations, names of objects and files."""

import re

PREFIX = "stagedoor.dev/"
"""Of every label and annotation of ours."""

OPT_IN = PREFIX + "shell"
"""On an app's Deployment or StatefulSet, as a label or an annotation: `true` offers a shell."""

SHELL_OF = PREFIX + "shell-of"
"""Label of everything that belongs to a shell, its pods and its lease included: the app's name.

No object of an app bears it, so no Service or PodDisruptionBudget of the app selects a shell's pod.
"""

MANAGED_BY = "app.kubernetes.io/managed-by"
"""The recommended label; ours is `stagedoor`."""

FIELD_MANAGER = "stagedoor"
"""Of all that is applied by the controller (server-side apply)."""

TEMPLATE = PREFIX + "template"
"""Annotation of a shell's Deployment: the hash of what it was derived from."""

SPEC = PREFIX + "spec"
"""Annotation of a shell's Deployment: the hash of its spec as the API had it when it was started. A
spec that has another one now was changed by somebody else."""

STALE = PREFIX + "stale"
"""Annotation of a shell's Deployment: the hash that it should have, while a live shell has another."""

ASKED = PREFIX + "asked"
"""Annotation of a shell's lease: a count that each login raises which asks for the shell. A renewal does
not; a failure says which count it answers."""

STALE_SINCE = PREFIX + "stale-since"
"""Annotation of a shell's Deployment: when its app moved on, RFC 3339."""

MOVED_ON = PREFIX + "moved-on-to"
"""Annotation of a shell's Deployment: the image that its app names then."""

ASKED_IMAGE = PREFIX + "asked-image"
"""Annotation of a shell's Deployment: the image as its app named it when the shell was made. The pod
itself has it by digest."""

FAILURE = PREFIX + "failure"
"""Annotation of a shell's lease, written by the controller: why the shell cannot be made, in JSON."""

IDLE_SINCE = PREFIX + "idle-since"
"""Annotation of a shell's Deployment: when it was seen idle first, RFC 3339."""

KEYS_UNTIL = PREFIX + "keys-until"
"""Annotation of a shell's Deployment: when the keys in it end unless they are renewed, RFC 3339."""

NAMESPACES = PREFIX + "namespaces"
"""Annotation of the lease of the controllers, by the one that leads: how many namespaces it serves, and
why not the others, in JSON (`live.leader`)."""

REGISTER = "stagedoor-apps"
"""The ConfigMap in which the gateway says which shells may start; see `register`."""

CONTAINER = "shell"
"""The container of a shell's pod in which sshd runs."""

KIT_CONTAINER = "kit"
"""The container that brings the kit into the pod."""

PACKAGES_CONTAINER = "packages"
"""The one that brings the app's own choice of tools (`stagedoor.dev/packages-image`)."""

SSHD_PORT = 2222
"""Where sshd listens in the pod, as any uid may; the Service has it at 22."""

SUFFIX = "-ssh"

MAX_APP_CHARS = 63 - len(SUFFIX)
"""A Service's name is an RFC 1123 label, 63 characters at most, and ends in SUFFIX."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)


def name_problem(app: str) -> str | None:
    """Why an app of this name can have no shell, None if it can."""
    if not _LABEL.fullmatch(app):
        return f'its name "{app}" is no RFC 1123 label (a-z, 0-9, and - inside)'
    if len(app) > MAX_APP_CHARS:
        return (
            f'with "{SUFFIX}" its name is {len(app) + len(SUFFIX)} characters long, and '
            f"{MAX_APP_CHARS + len(SUFFIX)} are allowed; give it a name of {MAX_APP_CHARS} at most"
        )
    if app.endswith(SUFFIX):
        return f'its name "{app}" ends as a shell\'s does, in "{SUFFIX}"; give it another name'
    return None


def shell_object(app: str) -> str:
    """The name of the shell's Deployment, Service, ConfigMap, Secret and Lease: `app01-ssh`."""
    return app + SUFFIX


def shell_labels(app: str) -> dict[str, str]:
    """The labels of all that belongs to a shell, by which its Service finds its pod."""
    return {MANAGED_BY: "stagedoor", SHELL_OF: app}
