"""The labels, annotations and names that Stagedoor uses in Kubernetes objects."""

from stagedoor.model.target import MAX_LABEL_CHARS, SHELL_SUFFIX, is_valid_label

PREFIX = "stagedoor.dev/"
"""The prefix of every label and annotation of Stagedoor."""

OPT_IN = PREFIX + "shell"
"""The label of an app's Deployment or StatefulSet. With the value `true`, the app offers a shell."""

ENVIRONMENT = PREFIX + "environment"
"""The label of a namespace with its environment. Without it, the environment has the namespace's name."""

SHELL_OF = PREFIX + "shell-of"
"""The label of every object of a shell, its pods and its lease included: the app's name.

No object of an app has this label, and a shell's pod has none of the app's labels. So no Service or
PodDisruptionBudget of the app selects a shell's pod.
"""

INSTALLATION = PREFIX + "installation"
"""The label of a shell's Deployment and a run's Job by which admission policies know their installation's, if
`controller.installation` is set."""

MANAGED_BY = "app.kubernetes.io/managed-by"
"""The recommended label; its value is `stagedoor`."""

FIELD_MANAGER = "stagedoor"
"""The field manager of the controller's server-side applies."""

TEMPLATE = PREFIX + "template"
"""An annotation of a shell's Deployment: the hash of the derived pod template."""

SPEC = PREFIX + "spec"
"""An annotation of a shell's Deployment: the hash of its spec in the API when it was started. If the spec has
another hash now, another client has changed it."""

STALE = PREFIX + "stale"
"""An annotation of an outdated running shell's Deployment: the hash that it should have."""

REQUEST_COUNT = PREFIX + "asked"
"""An annotation of a shell's lease: the number of requests for the shell. A login that requests the shell
increases it, a renewal does not. A failure has the number of the request that it answers."""

REQUESTED_BY = PREFIX + "asked-by"
"""An annotation of a shell's lease: the user whose login requested the shell last."""

STALE_SINCE = PREFIX + "stale-since"
"""An annotation of a shell's Deployment: when its app changed, RFC 3339."""

NEW_IMAGE_NAME = PREFIX + "moved-on-to"
"""An annotation of a shell's Deployment: the image that its app has named since that change."""

IMAGE_NAME = PREFIX + "asked-image"
"""An annotation of a shell's Deployment: the image as its app named it when the shell was created. The pod
itself has it by digest."""

CONFIG_HASH = PREFIX + "policy"
"""An annotation of a shell's pod: the hash of its ConfigMap. Writing it makes the kubelet update the pod's
files at once, which it otherwise does once a minute."""

FAILURE = PREFIX + "failure"
"""An annotation of a shell's lease, by the controller: why the shell cannot be created, in JSON."""

IDLE_SINCE = PREFIX + "idle-since"
"""An annotation of a shell's Deployment: when it was first seen idle, or when it was stopped (RFC 3339).
With no replicas, it marks a stopped shell."""

KEYS_UNTIL = PREFIX + "keys-until"
"""An annotation of a shell's Deployment: when its keys end unless they are renewed, RFC 3339."""

NAMESPACES = PREFIX + "namespaces"
"""An annotation of the controllers' lease, by the leading one: the number of namespaces that it serves, and
the reasons for the others, in JSON (`live.leader`)."""

RUN_OF = PREFIX + "run-of"
"""The label of a run's lease, Job and pod: the app's name. No Service selects a pod by it."""

RUN_JOB = PREFIX + "run-job"
"""An annotation of a run's lease, by the controller: the uid of its Job. With it, no second Job is
created."""

RUN_CANCELLED = PREFIX + "run-cancelled"
"""An annotation of a run's lease: when the gateway asked to end it, RFC 3339."""

REGISTER = "stagedoor-apps"
"""The ConfigMap in which the gateway approves shells; see `live.register`."""

CONTAINER = "shell"
"""The container of a shell's pod in which sshd runs."""

KIT_CONTAINER = "kit"
"""The container that brings the kit into the pod."""

PACKAGES_CONTAINER = "packages"
"""The container that brings the app's own choice of tools (`stagedoor.dev/packages-image`)."""

SSHD_PORT = 2222
"""The port of sshd in the pod, on which any uid may listen. The Service maps port 22 to it."""

SSH_PORT_NAME = "ssh"
"""The name of sshd's port in the pod and in the Service."""

RESUME_PORT_NAME = "resume"
"""The name of the port of the endpoint of resumable tunnels in the pod and in the Service.

A gateway looks for an endpoint only in a pod that has this port: the kit of an earlier version has none.
"""

RESUME_PORT = 2223
"""The number of that port, on which the kit listens (`deploy/kit/source/kit.h`)."""

RUN_ENTRY = "run."
"""The prefix of runs' keys in REGISTER. It has a dot, which no app's name has."""

MAX_APP_CHARS = MAX_LABEL_CHARS - len(SHELL_SUFFIX)
"""The longest name of an app: with SHELL_SUFFIX it is a Service's name, an RFC 1123 label."""


def find_name_problem(app: str) -> str | None:
    """Return why an app of this name cannot have a shell, or None if it can."""
    if len(app) > MAX_APP_CHARS:
        return (
            f'with "{SHELL_SUFFIX}" its name is {len(app) + len(SHELL_SUFFIX)} characters long, and '
            f"{MAX_LABEL_CHARS} are allowed; give it a name of {MAX_APP_CHARS} at most"
        )
    if not is_valid_label(app):
        return f'its name "{app}" is no RFC 1123 label (a-z, 0-9, and - inside)'
    if app.endswith(SHELL_SUFFIX):
        return (
            f'its name "{app}" ends as a shell\'s does, in "{SHELL_SUFFIX}"; give it another name'
        )
    return None


def make_shell_name(app: str) -> str:
    """Return the name of the shell's Deployment, Service, ConfigMap, Secret and Lease, as `app01-ssh`."""
    return app + SHELL_SUFFIX


def make_run_name(run_id: str) -> str:
    """Return the name of a run's lease and Job, as `run-0123456789ab`."""
    return f"run-{run_id}"


def make_run_labels(app: str) -> dict[str, str]:
    """Return the labels of every object of a run."""
    return {MANAGED_BY: "stagedoor", RUN_OF: app}


def make_shell_labels(app: str) -> dict[str, str]:
    """Return the labels of every object of a shell, by which its Service selects its pod."""
    return {MANAGED_BY: "stagedoor", SHELL_OF: app}
