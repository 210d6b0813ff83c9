"""Rewords what a cluster's parts refuse, for the waiting developer. Pure.

The messages of the cluster's parts are no stable interface. Known ones are recognised by their form
(k8s.io/apiserver admission and quota, the kubelet's images and container errors, containerd); others are
passed on whole. Text from an image or its log is untrusted, so it is made printable, one line, and short.
"""

import re
from collections.abc import Iterable

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.duration import parse_quantity
from stagedoor.shells.kubernetes.names import KIT_CONTAINER, PACKAGES_CONTAINER, PREFIX, REGISTER
from stagedoor.wire.oneline import fold

MAX_CHARS = 700
MAX_LOG_LINES = 5
MAX_LOG_CHARS = 500

_RESOURCES = f"{PREFIX}resources on the app"

_LIMIT_RANGE = re.compile(
    r"(?P<why>(?:maximum|minimum) \S+ usage per (?:Container|Pod) is .+)$", re.S
)
_REFUSALS = (
    (
        re.compile(r"exceeded quota: (?P<quota>[^,\s]+), (?P<figures>requested: .+)$", re.S),
        "quota",
        "the namespace's quota {quota} has no room ({figures}); ask for more quota, or for less by "
        + _RESOURCES,
    ),
    (
        re.compile(r"failed quota: (?P<quota>[^:\s]+): must specify (?P<what>.+)$", re.S),
        "quota",
        "the namespace's quota {quota} wants every container to set {what}; set it in the app, or by "
        + _RESOURCES,
    ),
    (
        re.compile(r'violates PodSecurity "(?P<level>[^"]+)": (?P<why>.+)$', re.S),
        "admission",
        "Pod Security ({level}) of the namespace does not allow it: {why}",
    ),
    (
        re.compile(
            r'admission webhook "(?P<who>[^"]+)" denied the request'
            r"(?:: (?P<why>.+)| without explanation)$",
            re.S,
        ),
        "admission",
        "the admission webhook {who} does not allow it: {why}",
    ),
    (
        # Of k8s.io/apiserver's admission policies with `parameterNotFoundAction: Deny` if the parameter is
        # missing.
        re.compile("failed to configure binding: no params found"),
        "admission",
        f"Stagedoor's own fence finds no ConfigMap {REGISTER} in the namespace. If it is not there, helm "
        "upgrade makes it. If it is, the API server has stopped following ConfigMaps, and "
        "kube-apiserver must be restarted (kubernetes/kubernetes issue 130887)",
    ),
    (
        re.compile(
            r"ValidatingAdmissionPolicy '(?P<who>[^']+)' with binding '[^']+' denied request: "
            r"(?P<why>.+)$",
            re.S,
        ),
        "admission",
        "the admission policy {who} does not allow it: {why}",
    ),
    (
        re.compile(r'failed calling webhook "(?P<who>[^"]+)": (?P<why>.+)$', re.S),
        "admission",
        "the admission webhook {who} cannot be asked: {why}",
    ),
    (
        _LIMIT_RANGE,
        "admission",
        "a LimitRange of the namespace does not allow {whose}: {why}; {advice}",
    ),
    (
        re.compile(r'serviceaccount "(?P<name>[^"]+)" not found'),
        "service account",
        "the app's service account {name} does not exist; create it: "
        "kubectl create serviceaccount {name}",
    ),
)
"""The messages of quotas and admissions, each with the step of the start that fails and a sentence."""

_LIMITED = re.compile(
    r"(?:maximum|minimum) (?P<resource>\S+) usage per Container is \S+, "
    r"but (?P<part>request|limit) is (?P<amount>[0-9A-Za-z.]+)"
)

_NO_IMAGE = re.compile(
    r"not found|manifest unknown|name unknown|repository does not exist|no such image", re.I
)
_NOT_ALLOWED = re.compile(
    r"pull access denied|unauthorized|authentication required|authorization failed|forbidden|denied",
    re.I,
)
_UNREACHABLE = re.compile(
    r"no such host|connection refused|unreachable|i/o timeout|deadline exceeded|no route to host|TLS|x509",
    re.I,
)
_PULL_PREFIX = re.compile(
    r'^Back-off pulling image "[^"]*"(?:: (?:ErrImagePull|ImageInspectError): )?'
)

_SCHEDULER_REST = re.compile(
    r"(?<=\.)\s+(?:preemption:|no new claims to deallocate|not found).*$", re.S
)
_RUNTIME = re.compile(r"^.*(?:unable to start container process|OCI runtime create failed): ", re.S)
_POD_NAME = re.compile(r' \(pod: "[^"]*", container: [^)]*\)| in Pod "[^"]*"')


def clean_text(text: str, most: int = MAX_CHARS) -> str:
    """Return `text` as one line of printable characters, cut at `most`."""
    line = fold(text)
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def take_last_lines(text: str) -> str:
    """Return the last lines of a log, for the end of a sentence: ` Its last lines: one | two`."""
    lines = [
        printable for line in text.splitlines() if (printable := clean_text(line, MAX_LOG_CHARS))
    ]
    tail = " | ".join(lines[-MAX_LOG_LINES:])
    if len(tail) > MAX_LOG_CHARS:
        # The reason is usually at the end.
        tail = "…" + tail[1 - MAX_LOG_CHARS :].lstrip()
    return f" Its last lines: {tail}" if tail else ""


def explain_refused_pod(message: str, containers: Iterable[Object] = ()) -> tuple[str, str]:
    """Return why the API refused a pod, as (step, sentence).

    `message` is that of a ReplicaSet's `FailedCreate`, or of the refused request itself; `containers` are
    those of the pod.
    """
    return explain_refusal(message, containers) or (
        "creating the pod",
        f"the cluster does not accept it: {clean_text(message)}",
    )


def explain_refusal(message: str, containers: Iterable[Object] = ()) -> tuple[str, str] | None:
    """Return why a quota or an admission refused an object, as (step, sentence).

    Return None if it was refused by neither.
    """
    for pattern, step, sentence in _REFUSALS:
        if match := pattern.search(message):
            groups = {
                name: clean_text(text or "it gives no reason")
                for name, text in match.groupdict().items()
            }
            if pattern is _LIMIT_RANGE:
                groups["why"] = groups["why"].rstrip("]")
                groups["whose"], groups["advice"] = _limited(message, containers)
            return step, sentence.format_map(groups)
    return None


def _limited(message: str, containers: Iterable[Object]) -> tuple[str, str]:
    """Return the containers that a LimitRange refuses, and how to change them.

    The cluster names only the amounts, so the containers are recognised by these.
    """
    refused = {
        (match["resource"], f"{match['part']}s", match["amount"])
        for match in _LIMITED.finditer(message)
    }
    names = [
        str(container["name"])
        for container in containers
        if any(
            parse_quantity(((container.get("resources") or {}).get(part) or {}).get(resource, ""))
            == parse_quantity(amount)
            for resource, part, amount in refused
        )
    ]
    advice = []
    if not names or set(names) - {KIT_CONTAINER, PACKAGES_CONTAINER}:
        advice.append(f"change the resources by {_RESOURCES}")
    if set(names) & {KIT_CONTAINER, PACKAGES_CONTAINER}:
        advice.append("an administrator can give it others")
    whose = f"container {' and '.join(names)}" if names else "it"
    return whose, "; ".join(advice)


def explain_pull_failure(reason: str, message: str, image: str) -> str:
    """Return why an image cannot be pulled; `reason` and `message` are those of a waiting container."""
    said = clean_text(_PULL_PREFIX.sub("", message))
    if reason == "InvalidImageName" or "invalid reference format" in said:
        return f'"{clean_text(image)}" is not an image name'
    if reason == "ErrImageNeverPull":
        return f"the image {clean_text(image)} is not on the node, and its pull policy is Never"
    if _UNREACHABLE.search(said):
        why = "the registry cannot be reached"
    elif re.search(r"repository does not exist or may require", said):
        why = "it does not exist, or needs an imagePullSecret of the app's"
    elif _NO_IMAGE.search(said):
        why = "it does not exist"
    elif _NOT_ALLOWED.search(said):
        why = "the registry does not let the node pull it; check the app's imagePullSecrets"
    else:
        why = "it cannot be pulled"
    return f"the image {clean_text(image)}: {why} ({reason}{': ' + said if said else ''})"


def is_final_pull(reason: str, message: str) -> bool:
    """Return whether a retry will not help soon. It may help if the registry fails only briefly."""
    if reason in ("InvalidImageName", "ErrImageNeverPull", "ImagePullBackOff"):
        return True
    if _UNREACHABLE.search(message):
        return False
    return bool(_NO_IMAGE.search(message) or _NOT_ALLOWED.search(message))


def explain_unschedulable(message: str) -> str:
    """Return the scheduler's sentence, without the parts about preemption and devices."""
    said = clean_text(_SCHEDULER_REST.sub("", message)).rstrip(".")
    hint = f"; ask for less by {_RESOURCES}" if "Insufficient" in said else ""
    return f"no node can take the shell's pod: {said}{hint}"


def explain_container(message: str) -> str:
    """Return why a container cannot be created or started, without the prefixes of the layers in between."""
    said = _RUNTIME.sub("", message).removesuffix(": unknown")
    return clean_text(_POD_NAME.sub("", said))
