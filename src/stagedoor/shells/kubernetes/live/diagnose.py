"""Diagnoses a shell's start: its current step, or the cause of its failure. Pure; time is an argument.

Status fields: core/v1 PodStatus and ContainerStatus, apps/v1 DeploymentCondition. Reasons: the kubelet's
`images/types.go` and `container/sync_result.go`. A problem that usually ends within seconds (a Secret that
the kubelet has not seen yet, a short failure of a registry) is a step, not a cause.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.model.shell import ProgressStep
from stagedoor.shells.kubernetes.derive.shell import PROGRESS_DEADLINE_S
from stagedoor.shells.kubernetes.live.events import (
    read_first_seen,
    read_last_seen,
    read_note,
    read_part,
    select_events,
)
from stagedoor.shells.kubernetes.names import CONTAINER, KIT_CONTAINER, PACKAGES_CONTAINER, PREFIX
from stagedoor.shells.kubernetes.ports import Cause
from stagedoor.shells.kubernetes.sentences import (
    clean_text,
    explain_container,
    explain_pull_failure,
    explain_refused_pod,
    explain_unschedulable,
    is_final_pull,
    take_last_lines,
)
from stagedoor.wire.rfc3339 import parse_time

CAUSE_LOG_LINES = 20
"""The number of lines at the end of a container's log that `LogRequest` requests."""

PATIENCE_S = 10
"""Seconds after which a problem that often goes away by itself counts as a cause: a volume that is not
mounted at the first attempt, or no network for the pod."""
AUTOSCALER_S = 15
"""Seconds after which it counts as a cause that no node can take the pod. The cluster autoscaler checks every
10 s, and reports its actions in Events."""
NODE_S = 600
"""Seconds to wait for a node that is being added. Most take two to five minutes."""

WAITING = "waiting for the controller"
CREATING = "creating the pod"
ENDING = "waiting for the last shell to end"
SCHEDULING = "scheduling"
PULLING = "pulling image"
STARTING = "starting container"
MOUNTING = "mounting volumes"
SSHD = "waiting for sshd"

_PULL_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ImageInspectError",
        "ErrImageNeverPull",
        "InvalidImageName",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError"})
_RUN_REASONS = frozenset(
    {"RunContainerError", "PreCreateHookError", "PreStartHookError", "PostStartHookError"}
)
_NODE_ADDED = ("TriggeredScaleUp", "Nominated")
"""Reasons of the Events that the cluster autoscaler and Karpenter create on the pod."""
_NODE_NOT_ADDED = "NotTriggerScaleUp"
_CACHE_IS_LATE = re.compile("failed to sync (secret|configmap) cache")
_VOLUME_EVENTS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LogRequest:
    """A request to read the last CAUSE_LOG_LINES lines of a container's log and pass them to `diagnose`."""

    pod: str
    container: str


Diagnosis = ProgressStep | Cause | LogRequest


def diagnose(
    shell: Object | None,
    replica_sets: Sequence[Object],
    pods: Sequence[Object],
    events: Sequence[Object],
    now: float,
    *,
    logs: Mapping[tuple[str, str], str] = MappingProxyType({}),
    failure: Cause | None = None,
) -> Diagnosis:
    """Return the step of a start, the cause if it has failed, or a request for a log needed to decide.

    `shell` is the shell's Deployment, None if there is none yet. `replica_sets` and `pods` are the
    namespace's objects with the shell's labels, `events` the Events about them (core/v1 or events.k8s.io/v1).
    `logs` has the logs that a `LogRequest` requested, by pod and container; an empty log counts as an answer.
    `failure` is the failure that the controller wrote to the lease (`objects.read_failure_cause`).
    """
    if failure is not None:
        return failure
    if shell is None or not shell.get("spec", {}).get("replicas", 1):
        return ProgressStep(WAITING)
    status = shell.get("status") or _NOTHING
    generation = (shell.get("metadata") or _NOTHING).get("generation", 0)
    # The status and the pods still belong to an older generation.
    if status.get("observedGeneration", generation) < generation:
        return ProgressStep(CREATING)
    alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    if alive:
        pod = max(alive, key=lambda pod: pod["metadata"].get("creationTimestamp") or "")
        diagnosis = _pod(pod, select_events(events, pod), now, logs)
        # Only a pull of a large image may take longer than the deadline.
        is_stuck = (
            diagnosis == ProgressStep(STARTING) and _is_overdue(shell) and not _is_young(pod, now)
        )
        if is_stuck:
            return _no_progress(STARTING, f"pod {pod['metadata']['name']}", pod)
        return diagnosis
    refusal = _refusal([*replica_sets, shell])
    if refusal is not None:
        return refusal
    if pods:
        return ProgressStep(ENDING, "waiting for its sessions to end")
    if _is_overdue(shell):
        return _no_progress(CREATING, f"deployment {shell['metadata']['name']}", shell)
    return ProgressStep(CREATING)


def find_cause(pod: Object, now: float) -> Cause | None:
    """Return why a pod cannot start, judging by its own state; None if it may still start, or has started."""
    diagnosis = _pod(pod, (), now, MappingProxyType({}))
    return diagnosis if isinstance(diagnosis, Cause) else None


def _refusal(owners: Iterable[Object]) -> Cause | None:
    """Return why the API lets none of the possible owners create the pod (ReplicaFailure), or None."""
    for owner in owners:
        for condition in (owner.get("status") or _NOTHING).get("conditions") or ():
            if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
                template = (owner.get("spec") or _NOTHING).get("template") or _NOTHING
                containers = _list_containers(template)
                return Cause(*explain_refused_pod(condition.get("message") or "", containers))
    return None


def _is_overdue(shell: Object) -> bool:
    conditions = (shell.get("status") or _NOTHING).get("conditions") or ()
    return any(condition.get("reason") == "ProgressDeadlineExceeded" for condition in conditions)


def _no_progress(step: str, what: str, thing: Object) -> Cause:
    namespace = thing["metadata"].get("namespace", "default")
    look = f"kubectl -n {namespace} describe {what}"
    return Cause(step, f"it makes no progress, and the cluster gives no reason; look with: {look}")


def _pod(
    pod: Object, events: Sequence[Object], now: float, logs: Mapping[tuple[str, str], str]
) -> Diagnosis:
    status = pod.get("status") or _NOTHING
    if status.get("phase") == "Failed":
        said = clean_text(status.get("message") or "the node gives no reason")
        return Cause(STARTING, f"the pod was given up ({status.get('reason', 'Failed')}): {said}")
    scheduling = _scheduling(status, events, now)
    if scheduling is not None:
        return scheduling
    initial = status.get("initContainerStatuses") or ()
    statuses = [*initial, *(status.get("containerStatuses") or ())]
    if any(item["name"] == CONTAINER and "running" in _state(item) for item in statuses):
        return ProgressStep(SSHD)
    steps = []
    for number, container in enumerate(statuses):
        diagnosis = _container(pod, container, number < len(initial), logs)
        if isinstance(diagnosis, Cause | LogRequest):
            return diagnosis
        if diagnosis is not None:
            steps.append(diagnosis)
    if steps:
        return steps[0]
    # Volumes and network are ready before the first container, so later on Events about them are outdated.
    if all("waiting" in _state(item) for item in statuses):
        obstacle = _obstacle(events, now)
        if obstacle is not None:
            return obstacle
    return _pulling(events) or ProgressStep(STARTING)


def _scheduling(
    status: Mapping[str, Any], events: Sequence[Object], now: float
) -> Diagnosis | None:
    """Diagnose a pod that has no node yet; None if it has one."""
    for condition in status.get("conditions") or ():
        if condition.get("type") != "PodScheduled" or condition.get("status") == "True":
            continue
        if condition.get("reason") != "Unschedulable":
            return ProgressStep(SCHEDULING, clean_text(condition.get("message") or ""))
        since = parse_time(condition.get("lastTransitionTime") or "")
        return _unschedulable(
            explain_unschedulable(condition.get("message") or ""), since, events, now
        )
    if not status.get("conditions") and not status.get("containerStatuses"):
        return ProgressStep(SCHEDULING)
    return None


def _unschedulable(
    why: str, since: float | None, events: Sequence[Object], now: float
) -> Diagnosis:
    """Diagnose a pod that no node has been able to take `since` that time (epoch seconds)."""
    added = [event for event in events if event.get("reason") in _NODE_ADDED]
    if added:
        last = max(map(read_last_seen, added))
        if now - last >= NODE_S:
            return Cause(
                SCHEDULING,
                f"{why}; the cluster began to add a node {NODE_S // 60} minutes ago, and it has not joined",
            )
        minutes = int((now - (since or now)) // 60)
        waited = f", for {minutes} minutes now" if minutes > 1 else ""
        return ProgressStep(SCHEDULING, f"the cluster is adding a node{waited}", patience_s=NODE_S)
    refusals = [
        clean_text(read_note(event)) for event in events if event.get("reason") == _NODE_NOT_ADDED
    ]
    if refusals:
        why = f"{why}; and the autoscaler adds none: {refusals[-1]}"
    is_final = since is not None and now - since >= AUTOSCALER_S
    return (Cause if is_final else ProgressStep)(SCHEDULING, why)


def _is_young(pod: Object, now: float) -> bool:
    """Return whether the pod has had a node for less than the Deployment's progress deadline.

    The Deployment's own deadline includes the wait for a node.
    """
    for condition in (pod.get("status") or _NOTHING).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "True":
            since = parse_time(condition.get("lastTransitionTime") or "")
            return since is not None and now - since < PROGRESS_DEADLINE_S
    return False


def _container(
    pod: Object,
    container: Mapping[str, Any],
    initial: bool,
    logs: Mapping[tuple[str, str], str],
) -> Diagnosis | None:
    """Diagnose one container; None if it does not delay the start."""
    name = container["name"]
    state = _state(container)
    waiting, ended = state.get("waiting"), state.get("terminated")
    if "running" in state:
        # A sidecar among the init containers keeps running, so the start does not wait for its end.
        is_awaited = initial and _spec(pod, name).get("restartPolicy") != "Always"
        detail = "copying the kit" if name == KIT_CONTAINER else f"init container {name} runs"
        return ProgressStep(STARTING, detail) if is_awaited else None
    if ended is not None:
        if initial and ended.get("exitCode") == 0:
            return None
        return _crash(pod, name, ended, logs)
    if waiting is None:
        return None
    reason, message = waiting.get("reason") or "", waiting.get("message") or ""
    if reason in _PULL_REASONS:
        why = explain_pull_failure(reason, message, str(_spec(pod, name).get("image", "")))
        return (Cause if is_final_pull(reason, message) else ProgressStep)(PULLING, why)
    if reason in _CONFIG_REASONS:
        return Cause(STARTING, f"container {name} cannot be created: {explain_container(message)}")
    if reason in _RUN_REASONS:
        return Cause(STARTING, f"container {name} cannot be started: {explain_container(message)}")
    if reason == "CrashLoopBackOff":
        last = (container.get("lastState") or _NOTHING).get("terminated")
        return _crash(pod, name, last or _NOTHING, logs)
    return None


def _crash(
    pod: Object, name: str, ended: Mapping[str, Any], logs: Mapping[tuple[str, str], str]
) -> Diagnosis:
    reason, output = ended.get("reason") or "", ended.get("message") or ""
    if reason in ("StartError", "ContainerCannotRun"):
        why = explain_container(output or reason)
        return Cause(STARTING, f"container {name} cannot be started: {why}")
    if not output:
        # Under the policy FallbackToLogsOnError the pod's status has the last lines of the log, except if the
        # container was killed from outside.
        key = (pod["metadata"]["name"], name)
        if key not in logs:
            return LogRequest(*key)
        output = logs[key]
    if name == PACKAGES_CONTAINER and "can't stat '/packages" in output:
        image = _spec(pod, name).get("image", "")
        return Cause(
            STARTING,
            f"the image {image} has no folder /packages, which {PREFIX}packages-image needs",
        )
    code = ended.get("exitCode")
    what = f"container {name} ended" if code is None else f"container {name} ended with code {code}"
    if reason == "OOMKilled":
        what += (
            f" (OOMKilled): it needs more memory than its limit allows; {PREFIX}resources gives it"
        )
    elif reason not in ("", "Error", "Completed"):
        what += f" ({clean_text(reason)})"
    elif ended.get("signal"):
        what += f" by signal {ended['signal']}"
    return Cause(STARTING, f"{what}.{take_last_lines(output)}")


def _obstacle(events: Sequence[Object], now: float) -> Cause | ProgressStep | None:
    """Return what delays a pod whose containers are not created yet, which only Events show; else None."""
    for event in sorted(events, key=read_last_seen, reverse=True):
        reason, said = event.get("reason"), clean_text(read_note(event))
        if reason in _VOLUME_EVENTS:
            why = f"a volume cannot be mounted: {said}"
            # A missing object, or a disk in use elsewhere, does not resolve itself. A busy kubelet that has
            # not read a Secret yet tries again for as long as it takes.
            is_final = "not found" in said or "Multi-Attach" in said
            is_lasting = now - read_first_seen(event) >= PATIENCE_S
            is_final |= is_lasting and not _CACHE_IS_LATE.search(said)
            return (Cause if is_final else ProgressStep)(MOUNTING, why)
        if reason == "FailedCreatePodSandBox":
            why = f"the node cannot set up the pod: {said}"
            return (Cause if _fails_again(events, event) else ProgressStep)(STARTING, why)
    return None


def _fails_again(events: Sequence[Object], last: Object) -> bool:
    """Return whether the kubelet has failed for `PATIENCE_S`, up to the Event `last`.

    Its first attempt may fail on a busy node, and the second take longer than that and succeed. An attempt's
    message may name its sandbox, and then it is an Event of its own.
    """
    alike = [event for event in events if event.get("reason") == last.get("reason")]
    return read_last_seen(last) - min(map(read_first_seen, alike)) >= PATIENCE_S


def _pulling(events: Sequence[Object]) -> ProgressStep | None:
    """Return the step with the image that is being pulled, or None."""
    pulled = {read_part(event) for event in events if event.get("reason") == "Pulled"}
    for event in events:
        if event.get("reason") == "Pulling" and read_part(event) not in pulled:
            image = clean_text(read_note(event)).removeprefix("Pulling image ").strip('"')
            return ProgressStep(PULLING, image)
    return None


def _state(container: Mapping[str, Any]) -> Mapping[str, Any]:
    return container.get("state") or _NOTHING


def _spec(pod: Object, name: str) -> Mapping[str, Any]:
    return next((item for item in _list_containers(pod) if item["name"] == name), _NOTHING)


def _list_containers(pod: Object) -> list[Mapping[str, Any]]:
    spec = pod.get("spec") or _NOTHING
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
