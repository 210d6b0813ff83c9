"""The settings of shells on Kubernetes: the tables `[kubernetes]` and `[controller]`."""

import re
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field

from stagedoor.model.hostname import is_valid_subdomain
from stagedoor.model.name import is_lock
from stagedoor.model.target import is_valid_environment, is_valid_label
from stagedoor.model.units import DAY_S, HOUR_S, MINUTE_S
from stagedoor.settings.form import Table

_RESOURCE = re.compile(r"[a-z0-9.]+(?:/[a-z0-9]+)?")

_LABEL_VALUE = re.compile(r"|[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", re.ASCII)
_LABEL = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
    rf"=(?:{_LABEL_VALUE.pattern})",
    re.ASCII,
)
_OWN_KEYS = ("app.kubernetes.io/managed-by", "kubectl.kubernetes.io/default-container")

WholeSeconds = Annotated[int, Meta(ge=1, le=366 * DAY_S)]


class KubernetesSettings(Table, frozen=True):
    """Shells of apps on a Kubernetes cluster."""

    namespaces: Annotated[
        dict[str, str],
        Meta(
            description="Where apps are: the namespace of each environment. Names without an environment "
            '(`app01.ssh`) are in the environment `""`. Empty: no shells on Kubernetes.'
        ),
    ] = field(default_factory=dict)
    namespace_selector: Annotated[
        str | None,
        Meta(
            description="The label of the namespaces whose apps may have shells, in place of `namespaces`, "
            "such as `stagedoor.dev/shells=true`; several with commas. The environment is the namespace's "
            "label `stagedoor.dev/environment`, else its name; an empty label stands for names without an "
            "environment. It needs rights in the whole cluster to list and watch, and a separate "
            "`stagedoor controller --bind FILE`, which gives the accounts their rights in each namespace."
        ),
    ] = None
    leaving: Annotated[
        tuple[str, ...],
        Meta(
            description="Namespaces whose apps offer no shells any more, whatever their labels say: the "
            "controller accepts no new sessions in the shells that are left, and removes each after its "
            "last session has ended."
        ),
    ] = ()
    kubeconfig: Annotated[
        Path | None,
        Meta(
            description="The kubeconfig file for access to the cluster. None: the pod's service account; "
            "outside a cluster `$KUBECONFIG`, then `~/.kube/config`."
        ),
    ] = None
    authorise: Annotated[
        str | None,
        Meta(
            description="Users also need a permission of the cluster to enter: to `create` this resource "
            "(`pods/exec`) in the app's namespace, by their name and groups here. They need a grant as "
            "well. None: grants decide alone."
        ),
    ] = None
    register: Annotated[
        bool,
        Meta(
            description="Whether the gateway lists in the ConfigMap `stagedoor-apps` of each namespace the "
            "shells that may start: those that the controller made as the gateway would. The chart makes "
            "these ConfigMaps, and a policy of the cluster that reads them. Needs `[controller]` with the "
            "same values as the controller's."
        ),
    ] = False
    shells_per_user: Annotated[
        int,
        Meta(
            ge=1,
            description="The most running shells that one user's logins may have started. A login that would "
            "start another one is refused; running shells can still be entered.",
        ),
    ] = 20
    shells_per_namespace: Annotated[
        int,
        Meta(
            ge=1,
            description="The most shells that may run in a namespace. At this number, logins start no more.",
        ),
    ] = 500
    controller: Annotated[
        bool,
        Meta(
            description="Whether `stagedoor serve` also runs the controller, in a separate process. For an "
            "installation on one machine; the chart runs the controller in separate pods."
        ),
    ] = False

    def __post_init__(self) -> None:
        for environment, namespace in self.namespaces.items():
            if environment and not is_valid_environment(environment):
                raise ValueError(
                    f"kubernetes.namespaces: {environment!r} is not a valid name for an environment: use "
                    "lower-case letters, digits and inner hyphens, 63 characters at most, and not ssh "
                    'alone; "" is the one of names without an environment'
                )
            if not is_valid_label(namespace):
                raise ValueError(
                    f"kubernetes.namespaces: {namespace!r} is not a valid name for a namespace"
                )
        if len(set(self.namespaces.values())) < len(self.namespaces):
            raise ValueError(
                "kubernetes.namespaces: two environments have the same namespace, so an app would "
                "have two names"
            )
        for namespace in self.leaving:
            if not is_valid_label(namespace) or namespace in self.namespaces.values():
                raise ValueError(
                    f"kubernetes.leaving: {namespace!r} is not a valid name for a namespace, or is among "
                    "kubernetes.namespaces as well"
                )
        if self.namespace_selector is not None:
            if self.namespaces:
                raise ValueError(
                    "kubernetes.namespaces and kubernetes.namespace_selector exclude each other; keep one"
                )
            if not all(map(_LABEL.fullmatch, self.namespace_selector.split(","))):
                raise ValueError(
                    f"kubernetes.namespace_selector: {self.namespace_selector!r} is not a list of labels; "
                    "write stagedoor.dev/shells=true"
                )
        if self.authorise is not None and not _RESOURCE.fullmatch(self.authorise):
            raise ValueError(
                f"kubernetes.authorise: {self.authorise!r} is not a resource; write pods/exec"
            )

    @property
    def is_used(self) -> bool:
        """Return whether apps on a cluster may have shells."""
        return bool(self.namespaces) or self.namespace_selector is not None

    @property
    def is_controlled(self) -> bool:
        """Return whether a controller has work: shells may be on a cluster, or may be left there."""
        return self.is_used or bool(self.leaving)

    @property
    def by_environment(self) -> dict[str | None, str]:
        """Return the namespaces by environment as targets have it: None for names without one."""
        return {name or None: namespace for name, namespace in self.namespaces.items()}


CONTROLLER_LEASE = "stagedoor-controller"
"""The lease by which the controller's replicas elect a leader. The chart's rules name it too."""


class ControllerSettings(Table, frozen=True):
    """The controller, which makes and removes shells on Kubernetes.

    An app's own annotations take precedence over these settings.
    """

    kit_image: Annotated[
        str | None,
        Meta(
            description="The image with the sshd for every shell (`deploy/kit`). The controller needs it; "
            "a digest is better than a tag."
        ),
    ] = None
    kit_way: Annotated[
        Literal["init", "sibling", "image-volume"],
        Meta(
            description="How the kit gets into a pod: copied by an init container; copied by a container "
            "beside the shell's, which starts sooner; or mounted (Kubernetes 1.33 or later with image "
            "volumes)."
        ),
    ] = "sibling"
    kit_resources: Annotated[
        dict[str, dict[str, str]] | None,
        Meta(
            description="The resources of the containers that copy the kit into a pod, in place of all "
            'defaults: `{ requests = { cpu = "50m", memory = "64Mi" }, limits = { memory = "64Mi" } }`. '
            "For namespaces whose LimitRange has a higher minimum. None: 10m and 16Mi, 64Mi at most."
        ),
    ] = None
    kit_uid: Annotated[
        int,
        Meta(
            ge=0,
            le=2**31 - 1,
            description="The uid of these containers if the app's pod names none. 0: the pod names no uid, "
            "and the cluster chooses one: OpenShift gives each namespace its own uids, and refuses others.",
        ),
    ] = 65532
    pod_labels: Annotated[
        dict[str, str],
        Meta(
            description="Additional labels of every shell's pod, for policies that require some. A Service "
            "or NetworkPolicy that selects by one of them also selects the shells."
        ),
    ] = field(default_factory=dict)
    run_sizes: Annotated[
        dict[str, dict[str, dict[str, str]]],
        Meta(
            description="The sizes of `stagedoor run --size NAME` with the resources of each: `{ large = { "
            'requests = { cpu = "2", memory = "4Gi" } } }`. Without a size, a run has the resources of its '
            "app's shell."
        ),
    ] = field(default_factory=dict)
    app_labels: Annotated[
        tuple[str, ...],
        Meta(
            description="The names of labels that the pods of shells and runs take from the app, for reports "
            'of costs by team: `["team", "example.com/cost-center"]`. Those of its pods come before those of '
            "its Deployment or StatefulSet. A label by which the app selects its pods is left out."
        ),
    ] = ()
    pod_annotations: Annotated[
        dict[str, str],
        Meta(
            description="Annotations of every shell's pod, for webhooks and autoscalers: "
            '`{ "sidecar.istio.io/inject" = "false" }`, '
            '`{ "cluster-autoscaler.kubernetes.io/safe-to-evict" = "false" }`.'
        ),
    ] = field(default_factory=dict)
    priority_class: Annotated[
        str | None,
        Meta(description="The PriorityClass of every shell's pod. None: the cluster's default."),
    ] = None
    installation: Annotated[
        str | None,
        Meta(
            description="A label's value for this installation's shells and runs "
            "(`stagedoor.dev/installation`), by which its admission policies find them. The chart sets it "
            "with `apps.namespaceSelector`."
        ),
    ] = None
    privileges: Annotated[
        tuple[Literal["service-account", "capabilities", "host-path"], ...],
        Meta(
            description="What an app may request by `stagedoor.dev/privileges`, and its shell does not get "
            "otherwise: the token of its service account, more capabilities than containers have by "
            "default, folders of the node. The last two may give all users of the shell access to the node."
        ),
    ] = ("service-account",)
    idle_stop_s: Annotated[
        WholeSeconds,
        Meta(description="A shell without a session for this time is scaled to zero."),
    ] = int(30 * MINUTE_S)
    idle_delete_s: Annotated[
        WholeSeconds,
        Meta(description="After this time at zero, the shell and all its objects are deleted."),
    ] = int(DAY_S)
    tmux_grace_s: Annotated[
        WholeSeconds,
        Meta(description="A tmux without an attached client keeps its shell for this time."),
    ] = int(8 * HOUR_S)
    grace_s: Annotated[
        WholeSeconds,
        Meta(
            description="Sessions have this time to end when their pod is terminated (a drain of the node)."
        ),
    ] = int(10 * MINUTE_S)
    namespace: Annotated[
        str | None,
        Meta(
            description="The namespace of the lease by which the controller's replicas elect a leader. "
            "None: `$POD_NAMESPACE`, or else the namespace of the service account or of the kubeconfig."
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.namespace is not None and not is_valid_label(self.namespace):
            raise ValueError(
                f"controller.namespace: {self.namespace!r} is not a valid name for a namespace"
            )
        if self.installation is not None and not _LABEL_VALUE.fullmatch(self.installation):
            raise ValueError(f"controller.installation: {self.installation!r} is not a label value")
        for name, value in self.pod_labels.items():
            _check_key(name, "controller.pod_labels")
            if not _LABEL_VALUE.fullmatch(value):
                raise ValueError(f"controller.pod_labels: {value!r} is not a label value")
        for name in self.run_sizes:
            if not is_lock(name):
                raise ValueError(f"controller.run_sizes: {name!r} is not a valid name for a size")
        for name in self.app_labels:
            _check_key(name, "controller.app_labels")
            if name in self.pod_labels:
                raise ValueError(
                    f"controller.app_labels: {name!r} is in controller.pod_labels as well; keep one"
                )
        for name in self.pod_annotations:
            _check_key(name, "controller.pod_annotations")
        if self.priority_class is not None and not is_valid_subdomain(self.priority_class):
            raise ValueError(
                f"controller.priority_class: {self.priority_class!r} is not a valid name for a PriorityClass"
            )


def _check_key(key: str, setting: str) -> None:
    """Raise ValueError unless `key` is a label's or annotation's key, and not one that Stagedoor sets."""
    prefix, _, name = key.rpartition("/")
    if (prefix and not is_valid_subdomain(prefix)) or not name or not _LABEL_VALUE.fullmatch(name):
        raise ValueError(f"{setting}: {key!r} is not a key; write NAME or example.com/NAME")
    if key in _OWN_KEYS or prefix == "stagedoor.dev":
        raise ValueError(f"{setting}: {key!r} is Stagedoor's own")
