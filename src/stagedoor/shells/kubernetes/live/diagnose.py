"""Where the start of a shell stands, or why it does not go on. Pure; time is an argument.

Status fields: core/v1 PodStatus and ContainerStatus, apps/v1 DeploymentCondition; reasons:
kubelet's `images/types.go` and `container/sync_result.go`. What mends itself within seconds (a
Secret that the kubelet has not seen yet, a registry that stumbles) is a step, not a cause.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.model.shell import StartStep
from stagedoor.shells.kubernetes.cause import Cause
from stagedoor.shells.kubernetes.derive.shell import PROGRESS_DEADLINE_S
from stagedoor.shells.kubernetes.live.events import about, first_seen, last_seen, note, part
from stagedoor.shells.kubernetes.names import CONTAINER, KIT_CONTAINER, PREFIX
from stagedoor.shells.kubernetes.sentences import (
    container_trouble,
    is_final_pull,
    last_lines,
    plain,
    pull_failure,
    refused_pod,
    unschedulable,
)
from stagedoor.wire.rfc3339 import parse_time

LOG_LINES = 20
"""How many last lines of a container's log `LogRequest` asks for."""

PATIENCE_S = 10
"""How long a trouble may last that often passes by itself: no node yet, a volume that is not
mounted at the first try, no network for the pod."""
AUTOSCALER_S = 15
"""The same where no node can take the pod: the cluster autoscaler looks every 10 s, and says what it does
in Events."""
NODE_S = 600
"""How long a node is waited for that is being added. Most take two to five minutes."""

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
"""Of the pod, by the cluster autoscaler and by Karpenter."""
_NODE_NOT_ADDED = "NotTriggerScaleUp"
_VOLUME_EVENTS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LogRequest:
    """Read the last LOG_LINES lines of this container's log and ask again with them in `logs`."""

    pod: str
    container: str


Found = StartStep | Cause | LogRequest


def diagnose(
    shell: Object | None,
    replica_sets: Sequence[Object],
    pods: Sequence[Object],
    events: Sequence[Object],
    now: float,
    *,
    logs: Mapping[tuple[str, str], str] = MappingProxyType({}),
    failure: Cause | None = None,
) -> Found:
    """The step that a start is at, a cause if it will not get further, or what else must be read.

    `shell` is the shell's Deployment, None while there is none; the rest are the namespace's objects
    with the shell's labels, and the Events about them (core/v1 or events.k8s.io/v1). `logs` are those
    asked for by `LogRequest`, by pod and container; an empty one is an answer. `failure` is what
    the controller wrote to the lease (`objects.failure_of`).
    """
    if failure is not None:
        return failure
    if shell is None or not shell.get("spec", {}).get("replicas", 1):
        return StartStep(WAITING)
    status = shell.get("status") or _NOTHING
    generation = (shell.get("metadata") or _NOTHING).get("generation", 0)
    # What its status says is about an older wish; so are its pods.
    if status.get("observedGeneration", generation) < generation:
        return StartStep(CREATING)
    alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    if alive:
        pod = max(alive, key=lambda each: each["metadata"].get("creationTimestamp") or "")
        found = _pod(pod, about(events, pod), now, logs)
        # A large image may be pulled for longer than any deadline; nothing else may.
        stuck = found == StartStep(STARTING) and _is_overdue(shell) and not _is_young(pod, now)
        return _no_progress(STARTING, f"pod {pod['metadata']['name']}", pod) if stuck else found
    refusal = _refusal([*replica_sets, shell])
    if refusal is not None:
        return refusal
    if pods:
        return StartStep(ENDING, "its sessions have their grace")
    if _is_overdue(shell):
        return _no_progress(CREATING, f"deployment {shell['metadata']['name']}", shell)
    return StartStep(CREATING)


def _refusal(makers: Iterable[Object]) -> Cause | None:
    """What the API said to the maker of the pod (apps/v1: ReplicaFailure)."""
    for maker in makers:
        for condition in (maker.get("status") or _NOTHING).get("conditions") or ():
            if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
                pod = ((maker.get("spec") or _NOTHING).get("template") or _NOTHING).get(
                    "spec"
                ) or {}
                containers = [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]
                return Cause(*refused_pod(condition.get("message") or "", containers))
    return None


def _is_overdue(shell: Object) -> bool:
    conditions = (shell.get("status") or _NOTHING).get("conditions") or ()
    return any(each.get("reason") == "ProgressDeadlineExceeded" for each in conditions)


def _no_progress(step: str, what: str, thing: Object) -> Cause:
    namespace = thing["metadata"].get("namespace", "default")
    look = f"kubectl -n {namespace} describe {what}"
    return Cause(step, f"it makes no progress, and nothing says why; look with: {look}")


def _pod(
    pod: Object, events: Sequence[Object], now: float, logs: Mapping[tuple[str, str], str]
) -> Found:
    status = pod.get("status") or _NOTHING
    if status.get("phase") == "Failed":
        said = plain(status.get("message") or "the node gives no reason")
        return Cause(STARTING, f"the pod was given up ({status.get('reason', 'Failed')}): {said}")
    unplaced = _placing(status, events, now)
    if unplaced is not None:
        return unplaced
    initial = status.get("initContainerStatuses") or ()
    statuses = [*initial, *(status.get("containerStatuses") or ())]
    if any(each["name"] == CONTAINER and "running" in _state(each) for each in statuses):
        return StartStep(SSHD)
    steps = []
    for number, each in enumerate(statuses):
        found = _container(pod, each, number < len(initial), logs)
        if isinstance(found, Cause | LogRequest):
            return found
        if found is not None:
            steps.append(found)
    if steps:
        return steps[0]
    # Volumes and network come before the first container, so what was said of them is past then.
    if not any("waiting" not in _state(each) for each in statuses):
        held_up = _held_up(events, now)
        if held_up is not None:
            return held_up
    return _pulling(events) or StartStep(STARTING)


def _placing(status: Mapping[str, Any], events: Sequence[Object], now: float) -> Found | None:
    """About the node; None once there is one."""
    for condition in status.get("conditions") or ():
        if condition.get("type") != "PodScheduled" or condition.get("status") == "True":
            continue
        if condition.get("reason") != "Unschedulable":
            return StartStep(SCHEDULING, plain(condition.get("message") or ""))
        since = parse_time(condition.get("lastTransitionTime") or "")
        return _unplaced(unschedulable(condition.get("message") or ""), since, events, now)
    if not status.get("conditions") and not status.get("containerStatuses"):
        return StartStep(SCHEDULING)
    return None


def _unplaced(why: str, since: float | None, events: Sequence[Object], now: float) -> Found:
    """No node can take the pod, since that time: whether one is being added."""
    added = [event for event in events if event.get("reason") in _NODE_ADDED]
    if added:
        last = max(map(last_seen, added))
        if now - last >= NODE_S:
            return Cause(SCHEDULING, f"{why}; one was to be added {NODE_S // 60} minutes ago")
        minutes = int((now - (since or now)) // 60)
        waited = f", for {minutes} minutes now" if minutes > 1 else ""
        return StartStep(SCHEDULING, f"the cluster is adding a node{waited}", patience_s=NODE_S)
    refused = [plain(note(event)) for event in events if event.get("reason") == _NODE_NOT_ADDED]
    if refused:
        why = f"{why}; and none is added: {refused[-1]}"
    lasts = since is not None and now - since >= AUTOSCALER_S
    return (Cause if lasts else StartStep)(SCHEDULING, why)


def _is_young(pod: Object, now: float) -> bool:
    """Whether it has had a node for less than the Deployment's deadline, which a wait for a node spends."""
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
) -> Found | None:
    """About one container that is not sshd's running one; None if it does not hold up the start."""
    name = container["name"]
    state = _state(container)
    waiting, ended = state.get("waiting"), state.get("terminated")
    if "running" in state:
        # A sidecar among the init containers goes on running.
        holds = initial and _spec(pod, name).get("restartPolicy") != "Always"
        return StartStep(STARTING, _running_detail(name)) if holds else None
    if ended is not None:
        if initial and ended.get("exitCode") == 0:
            return None
        return _crash(pod, name, ended, logs)
    if waiting is None:
        return None
    reason, message = waiting.get("reason") or "", waiting.get("message") or ""
    if reason in _PULL_REASONS:
        why = pull_failure(reason, message, str(_spec(pod, name).get("image", "")))
        return (Cause if is_final_pull(reason, message) else StartStep)(PULLING, why)
    if reason in _CONFIG_REASONS:
        return Cause(STARTING, f"container {name} cannot be made: {container_trouble(message)}")
    if reason in _RUN_REASONS:
        return Cause(STARTING, f"container {name} cannot be started: {container_trouble(message)}")
    if reason == "CrashLoopBackOff":
        last = (container.get("lastState") or _NOTHING).get("terminated")
        return _crash(pod, name, last or _NOTHING, logs)
    return None


def _running_detail(name: str) -> str:
    return "the kit is copied" if name == KIT_CONTAINER else f"init container {name} runs"


def _crash(
    pod: Object, name: str, ended: Mapping[str, Any], logs: Mapping[tuple[str, str], str]
) -> Found:
    reason, said = ended.get("reason") or "", ended.get("message") or ""
    if reason in ("StartError", "ContainerCannotRun"):
        why = container_trouble(said or reason)
        return Cause(STARTING, f"container {name} cannot be started: {why}")
    if not said:
        # A pod's status has the last lines itself when its policy is FallbackToLogsOnError; a kill
        # from outside leaves none there.
        key = (pod["metadata"]["name"], name)
        if key not in logs:
            return LogRequest(*key)
        said = logs[key]
    code = ended.get("exitCode")
    what = f"container {name} ended" if code is None else f"container {name} ended with code {code}"
    if reason == "OOMKilled":
        what += (
            f" (OOMKilled): it needs more memory than its limit allows; {PREFIX}resources gives it"
        )
    elif reason not in ("", "Error", "Completed"):
        what += f" ({plain(reason)})"
    elif ended.get("signal"):
        what += f" by signal {ended['signal']}"
    return Cause(STARTING, f"{what}.{last_lines(said)}")


def _held_up(events: Sequence[Object], now: float) -> Cause | StartStep | None:
    """What only Events tell of a pod whose containers are not made yet."""
    for event in sorted(events, key=last_seen, reverse=True):
        reason, said = event.get("reason"), plain(note(event))
        lasts = now - first_seen(event) >= PATIENCE_S
        if reason in _VOLUME_EVENTS:
            why = f"a volume cannot be mounted: {said}"
            # Neither waits for anything that is on its way.
            final = lasts or "not found" in said or "Multi-Attach" in said
            return (Cause if final else StartStep)(MOUNTING, why)
        if reason == "FailedCreatePodSandBox":
            why = f"the node cannot set up the pod: {said}"
            return (Cause if lasts else StartStep)(STARTING, why)
    return None


def _pulling(events: Sequence[Object]) -> StartStep | None:
    """The image that is being pulled, if one is."""
    pulled = {part(event) for event in events if event.get("reason") == "Pulled"}
    for event in events:
        if event.get("reason") == "Pulling" and part(event) not in pulled:
            image = plain(note(event)).removeprefix("Pulling image ").strip('"')
            return StartStep(PULLING, image)
    return None


def _state(container: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = container.get("state") or _NOTHING
    return found


def _spec(pod: Object, name: str) -> Mapping[str, Any]:
    spec = pod.get("spec") or _NOTHING
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or ():
            if container["name"] == name:
                found: Mapping[str, Any] = container
                return found
    return _NOTHING
