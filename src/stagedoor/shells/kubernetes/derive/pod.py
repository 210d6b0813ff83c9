"""The fields of a shell's pod other than containers and volumes: its node, its account, its network. Pure.

Every field of core/v1 PodSpec is listed here: copied, written, or left out with the reason.
"""

from collections.abc import Mapping
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.derive.annotations import SERVICE_ACCOUNT, AppSettings
from stagedoor.shells.kubernetes.derive.container import DEFAULT_CONTAINER
from stagedoor.shells.kubernetes.derive.notes import (
    Note,
    note_change,
    note_left_out,
    note_omitted,
    note_warning,
)
from stagedoor.shells.kubernetes.derive.unique import drop_duplicates, join_aliases
from stagedoor.shells.kubernetes.names import PREFIX

_POD_COPIED = (
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostUsers",
    "hostname",
    "nodeSelector",
    "os",
    "resources",
    "runtimeClassName",
    "schedulerName",
    "securityContext",
    "tolerations",
)
_POD_MADE = frozenset(
    {
        "affinity",
        "automountServiceAccountToken",
        "containers",
        "hostAliases",
        "imagePullSecrets",
        "initContainers",
        "restartPolicy",
        "serviceAccount",  # the deprecated alias of serviceAccountName
        "serviceAccountName",
        "terminationGracePeriodSeconds",
        "volumes",
    }
)
_POD_LEFT_OUT: Mapping[str, str] = {
    "activeDeadlineSeconds": "a shell lives while it is used",
    "hostIPC": "a shell stays in its pod",
    "hostNetwork": "a shell stays in its pod",
    "hostPID": "a shell stays in its pod",
    "hostnameOverride": "the pod has a name of its own",
    "nodeName": "the scheduler finds a node",
    "overhead": "the RuntimeClass says it again",
    "preemptionPolicy": "a shell pushes nothing off a node for the app's sake",
    "priority": "a shell pushes nothing off a node for the app's sake",
    "priorityClassName": "a shell pushes nothing off a node for the app's sake",
    "readinessGates": "a shell serves no traffic",
    "resourceClaims": "a device would be taken from the app",
    "schedulingGates": "a shell is wanted at once",
    "setHostnameAsFQDN": "the pod has a name of its own",
    "shareProcessNamespace": "a shell sees its own processes",
    "subdomain": "the shell's pod is not one of the app's",
    "topologySpreadConstraints": "they spread the app's replicas",
}


def derive_pod(
    app: Object, pod: Object, settings: AppSettings, same_node: bool, notes: list[Note]
) -> dict[str, Any]:
    """Return the pod's fields other than containers and volumes, and add to `notes`.

    `same_node` binds the pod to the node on which the app's pod has its disk.
    """
    spec = {field: pod[field] for field in _POD_COPIED if field in pod}
    if settings.resources is not None and spec.pop("resources", None):
        notes.append(note_left_out("pod's resources", f"{PREFIX}resources is about the container"))
    spec["restartPolicy"] = "Always"
    spec["terminationGracePeriodSeconds"] = settings.grace_s
    spec |= _account(pod, settings, notes)
    affinity = pod.get("affinity") or {}
    kept = {"nodeAffinity": affinity["nodeAffinity"]} if "nodeAffinity" in affinity else {}
    notes += [
        note_left_out(f"affinity.{kind}", "it places the app's pods by each other")
        for kind in ("podAffinity", "podAntiAffinity")
        if affinity.get(kind)
    ]
    if same_node and app["spec"].get("replicas", 1) != 0:
        # A disk is attached to one node; a shell on another node would wait for it for ever.
        term = {"labelSelector": app["spec"]["selector"], "topologyKey": "kubernetes.io/hostname"}
        kept["podAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
        notes.append(note_change("affinity", "the shell is bound to the node of the app's disk"))
    if kept:
        spec["affinity"] = kept
    added = ({"ip": address, "hostnames": names} for address, names in settings.host_aliases)
    if aliases := join_aliases([*(pod.get("hostAliases") or ()), *added], notes):
        spec["hostAliases"] = aliases
    if secrets := drop_duplicates(pod.get("imagePullSecrets") or (), notes):
        spec["imagePullSecrets"] = secrets
    notes += note_omitted(pod, "pod's ", {*_POD_COPIED, *_POD_MADE}, _POD_LEFT_OUT)
    return spec


def _account(pod: Object, settings: AppSettings, notes: list[Note]) -> dict[str, Any]:
    """Return the fields that set the account with which the pod calls the cluster's API.

    Without the privilege the shell has the namespace's default account and no token. Even the name of the
    app's account is left out, since the webhooks of clouds give a pod credentials by this name.
    """
    name = pod.get("serviceAccountName") or pod.get("serviceAccount")
    mounts = pod.get("automountServiceAccountToken")
    if SERVICE_ACCOUNT in settings.privileges:
        why = f"{name or 'default'}: all who enter the shell have its rights in the cluster"
        notes.append(note_warning("service account", why))
        given = {"serviceAccountName": name, "automountServiceAccountToken": mounts}
        return {field: value for field, value in given.items() if value is not None}
    if name or mounts is not False:
        why = f"the shell has no token; the annotation {PREFIX}privileges: {SERVICE_ACCOUNT} brings it"
        notes.append(note_left_out(f"service account {name or 'default'}", why))
    return {"automountServiceAccountToken": False}


def note_pod_annotations(metadata: Object) -> list[Note]:
    """Return a note on the app's pod annotations, which the shell's pod does not have.

    Admission webhooks act on them, so a shell lacks whatever such a webhook would inject.
    """
    names = sorted(set(metadata.get("annotations") or {}) - {DEFAULT_CONTAINER})
    return [note_left_out("pod's annotations", ", ".join(names))] if names else []
