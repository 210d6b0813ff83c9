"""The lease and the Job of a run, and how to read its pod's state and its container's log. Pure.

A run's pod is derived as the app's shell is. It has no sshd and no key. Its one container runs the kit's
`task` (`deploy/kit/source/task.c`). Of the sidecars it has only init containers that keep running, which the
kubelet ends after the task. The Job never starts a second pod.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.model.run import (
    LOST_CODE,
    NOT_STARTED_CODE,
    TIMED_OUT_CODE,
    Output,
    RunOrder,
    RunState,
)
from stagedoor.shells.kubernetes.derive.kit import (
    HOST_KEY_VOLUME,
    INPUT_PATH,
    INPUT_VOLUME,
    KIT_PATH,
    SHELL_VOLUME,
    Kit,
    KitSource,
)
from stagedoor.shells.kubernetes.derive.objects import (
    format_shell_settings,
    make_owner,
    make_renewal,
    read_time,
)
from stagedoor.shells.kubernetes.derive.shell import Derived
from stagedoor.shells.kubernetes.names import (
    CONTAINER,
    INSTALLATION,
    RUN_CANCELLED,
    make_run_labels,
    make_run_name,
)
from stagedoor.shells.kubernetes.sentences import clean_text
from stagedoor.wire.rfc3339 import parse_time

TASK = f"{KIT_PATH}/bin/task"
POD_START_S = 900
"""The part of a Job's deadline for the start of its pod: a node may have to be added, an image pulled."""
END_S = 60
"""The part for the end of its pod."""
JOB_TTL_S = 3600
"""How long an ended Job is kept, and so the container's log."""
GRACE_S = 30
"""The pod's grace, 10 s of which the kit gives to the task (GRACE_MS)."""
MAX_LINE_BYTES = 32 * 1024
"""More than the kit writes in one line of its container's log."""
_INPUT = "input"
"""The file with a run's input, and its key in the Secret."""
_MAX_NUMBER = 2**53
"""More than any number that the kit writes. A status or a store could not represent a larger one."""
_LINE = re.compile(rb"(?:([0-9T:.Z+-]{20,35}) )?([oe]) ([0-9]{1,15}) (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PodEnd:
    """The end of a run's pod. `size` is the number of bytes of output, None if the kit did not report it.

    A run that a user has cancelled is LOST here too, since its pod was deleted.
    """

    state: RunState
    code: int
    detail: str = ""
    size: int | None = None


def make_run_kit(kit: Kit) -> Kit:
    """Return the kit for runs: with a container beside the task's, the pod would never end."""
    return replace(kit, source=KitSource.INIT) if kit.source is KitSource.SIBLING else kit


def build_run_lease(app: Object, run_id: str, holder: str, now: float) -> Object:
    """Return the lease with which the gateway `holder` requests a run's Job from the controller.

    The order itself is in the store, since not everyone who may write a lease here may run commands in the
    app.
    """
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": _metadata(app, run_id, make_owner(app)),
        "spec": make_renewal(holder, now)["spec"],
    }


def find_cancel_time(lease: Object | None) -> float | None:
    """Return when a gateway asked for a run to end, in seconds since the epoch; None if none has."""
    if lease is None:
        return None
    return read_time((lease["metadata"].get("annotations") or {}).get(RUN_CANCELLED))


def build_run_job(
    app: Object,
    derived: Derived,
    run_id: str,
    order: RunOrder,
    resources: Mapping[str, Mapping[str, str]] | None = None,
) -> Object:
    """Return the Job of a run, which does nothing before it is resumed.

    `derived` is the app's shell, derived with `make_run_kit`. `resources` are those of the run's size, None
    for the shell's.
    """
    name = app["metadata"]["name"]
    shell = derived.deployment["spec"]["template"]
    labels = {
        key: value
        for key, value in shell["metadata"]["labels"].items()
        if key not in derived.deployment["spec"]["selector"]["matchLabels"]
    }
    template = {
        "metadata": {**shell["metadata"], "labels": {**labels, **make_run_labels(name)}},
        "spec": _pod(derived, order, resources),
    }
    if order.has_input:
        _add_input(template["spec"], run_id)
    metadata = _metadata(app, run_id, make_owner(app))
    installation = derived.deployment["metadata"]["labels"].get(INSTALLATION)
    if installation is not None:
        metadata["labels"] = {**metadata["labels"], INSTALLATION: installation}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "suspend": True,
            "parallelism": 1,
            "completions": 1,
            "completionMode": "NonIndexed",
            "manualSelector": False,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": order.timeout_s + POD_START_S + END_S,
            "ttlSecondsAfterFinished": JOB_TTL_S,
            "template": template,
        },
    }


def build_run_input(app: Object, job: Object, run_id: str, data: bytes) -> Object:
    """Return the Secret with a run's whole input. The gateway creates it once it has compared `job`.

    It is deleted with the Job. The controller may not write it, since it could give the task other input.
    """
    metadata = job["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job"}
    owner |= {"name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(app, run_id, owner),
        "type": "Opaque",
        "immutable": True,
        "data": {_INPUT: base64.b64encode(data).decode("ascii")},
    }


def _add_input(pod: dict[str, Any], run_id: str) -> None:
    """Mount the file with the task's input."""
    volume = {"secretName": make_run_name(run_id), "defaultMode": 0o444}
    pod["volumes"].append({"name": INPUT_VOLUME, "secret": volume})
    (task,) = pod["containers"]
    mount = {"name": INPUT_VOLUME, "mountPath": INPUT_PATH, "readOnly": True}
    task["volumeMounts"].append(mount)
    task["command"].append(f"{INPUT_PATH}/{_INPUT}")


def _metadata(app: Object, run_id: str, owner: Object) -> dict[str, Any]:
    metadata = app["metadata"]
    return {
        "name": make_run_name(run_id),
        "namespace": metadata["namespace"],
        "labels": make_run_labels(metadata["name"]),
        "ownerReferences": [owner],
    }


def _pod(
    derived: Derived, order: RunOrder, resources: Mapping[str, Mapping[str, str]] | None
) -> dict[str, Any]:
    shell = derived.deployment["spec"]["template"]["spec"]
    volumes = [
        volume
        for volume in shell["volumes"]
        if volume["name"] not in (HOST_KEY_VOLUME, SHELL_VOLUME)
    ]
    container = next(item for item in shell["containers"] if item["name"] == CONTAINER)
    if resources is not None:
        amounts = {part: dict(values) for part, values in resources.items()}
        container = {**container, "resources": amounts}
        # Limits of the whole pod were meant for the shell.
        shell = {field: value for field, value in shell.items() if field != "resources"}
    return {
        **shell,
        "containers": [_container(container, derived, order)],
        "volumes": volumes,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_S,
    }


def _container(shell: Object, derived: Derived, order: RunOrder) -> dict[str, Any]:
    left_out = ("ports", "terminationMessagePolicy")
    kept = {field: value for field, value in shell.items() if field not in left_out}
    text = format_shell_settings(derived.settings)
    # The kubelet replaces $(NAME) in arguments by the container's variables; `$$` is a `$`.
    arguments = [argument.replace("$", "$$") for argument in (text, order.command)]
    return {
        **kept,
        "command": [*derived.settings.command, TASK, str(order.timeout_s), *arguments],
        "volumeMounts": [
            mount
            for mount in shell["volumeMounts"]
            if mount["name"] not in (HOST_KEY_VOLUME, SHELL_VOLUME)
        ],
    }


def _state(pod: Object) -> Object:
    """Return the state of the task's container, empty if it has none yet."""
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        if container["name"] == CONTAINER:
            return container.get("state") or {}
    return {}


def has_started(pod: Object) -> bool:
    """Return whether a run's container has a log."""
    state = _state(pod)
    return "running" in state or "terminated" in state


def read_end(pod: Object) -> PodEnd | None:
    """Return how a run's pod has ended, or None while it has not."""
    status = pod.get("status") or {}
    ended = _state(pod).get("terminated")
    if ended is not None:
        return _end_of(ended)
    if status.get("phase") not in ("Failed", "Succeeded"):
        return None
    why = clean_text(str(status.get("message") or status.get("reason") or "its pod has failed"))
    for container in status.get("initContainerStatuses") or ():
        code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode")
        if code:
            what = f"the container {container['name']} before it ended with code {code}"
            return PodEnd(RunState.NOT_STARTED, NOT_STARTED_CODE, what)
    return PodEnd(RunState.LOST, LOST_CODE, why)


def _end_of(ended: Object) -> PodEnd:
    """Return the end by a container's state `terminated`, which has the message of the kit's `task`."""
    try:
        message = json.loads(ended.get("message") or "")
        state, code = str(message["state"]), int(message["code"])
        killed_by, size = int(message["signal"]), int(message["size"])
        if not (0 <= killed_by < _MAX_NUMBER and 0 <= size < _MAX_NUMBER):
            raise ValueError("the task has written that message itself")
    except (ValueError, KeyError, TypeError, RecursionError):
        return _end_without_message(ended)
    if state == "stopped":
        return PodEnd(RunState.LOST, LOST_CODE, "the cluster deleted its pod", size)
    if state == "timed_out":
        return PodEnd(RunState.TIMED_OUT, TIMED_OUT_CODE, size=size)
    detail = f"ended by signal {killed_by}" if killed_by else ""
    if killed_by == 9 and ended.get("reason") == "OOMKilled":
        detail = "it used more memory than its limit"
    return PodEnd(RunState.EXITED, min(max(code, 0), 255), detail, size)


def _end_without_message(ended: Object) -> PodEnd:
    code, reason = int(ended.get("exitCode") or 0), str(ended.get("reason") or "")
    if reason == "OOMKilled":
        return PodEnd(RunState.EXITED, code, "it used more memory than its limit")
    if reason in ("StartError", "ContainerCannotRun"):
        why = clean_text(str(ended.get("message") or reason))
        return PodEnd(RunState.NOT_STARTED, NOT_STARTED_CODE, why)
    return PodEnd(RunState.LOST, LOST_CODE, f"its container was killed (code {code})")


def parse_line(line: bytes) -> Output | None:
    """Parse a line of the container's log, without its newline; None if it is not from the kit's `task`."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    parts = (part.replace(b"\\n", b"\n") for part in match[4].split(b"\\\\"))
    at = parse_time((match[1] or b"").decode("ascii"))
    return Output(int(match[3]), b"\\".join(parts), match[2] == b"e", at)


class LogParser:
    """A parser for a container's log that arrives in pieces. Lines that are not output are left out."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Output]:
        """Return the output in those lines that are complete now."""
        self._pending += data
        *lines, rest = self._pending.split(b"\n")
        self._pending = bytearray() if len(rest) > MAX_LINE_BYTES else bytearray(rest)
        return [output for line in lines if (output := parse_line(bytes(line))) is not None]
