"""Why a shell does not start: objects as a real cluster gave them (`observed/`), and what is said."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.shell import ProgressStep
from stagedoor.shells.kubernetes.live.diagnose import (
    CREATING,
    ENDING,
    MOUNTING,
    PULLING,
    SCHEDULING,
    SSHD,
    STARTING,
    WAITING,
    Diagnosis,
    LogRequest,
    diagnose,
)
from stagedoor.shells.kubernetes.ports import Cause
from stagedoor.wire.rfc3339 import parse_time, show_time

OBSERVED = Path(__file__).parent / "observed"
NOW = parse_time("2026-11-26T09:31:00Z") or 0.0
"""Half a minute after what was observed."""

RESOURCES = "stagedoor.dev/resources on the app"


def observed(case: str) -> dict[str, Any]:
    document = yaml.safe_load((OBSERVED / f"{case}.yaml").read_text())
    assert isinstance(document, dict)
    return document


def judge(seen: dict[str, Any], now: float = NOW, **more: Any) -> Diagnosis:
    return diagnose(seen["shell"], seen["replica_sets"], seen["pods"], seen["events"], now, **more)


def pod(*, name: str = "app01-ssh-1", created: str = "2026-11-26T09:30:00Z", **status: Any) -> Any:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": created},
        "spec": {"containers": [{"name": "shell", "image": "registry.example/app01:7"}]},
        "status": {"phase": "Pending", "conditions": [SCHEDULED], **status},
    }


SCHEDULED = {"type": "PodScheduled", "status": "True"}
SHELL = {
    "metadata": {"name": "app01-ssh", "generation": 2},
    "spec": {"replicas": 1},
    "status": {"observedGeneration": 2},
}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": "shell", "state": state, "restartCount": 0}]}


def event(reason: str, note: str, *, first: str = "2026-11-26T09:30:59Z", **more: Any) -> Any:
    return {
        "metadata": {"name": "e", "creationTimestamp": first},
        "reason": reason,
        "note": note,
        "eventTime": None,
        "deprecatedFirstTimestamp": first,
        "deprecatedLastTimestamp": first,
        "regarding": {"kind": "Pod", "name": "app01-ssh-1", "uid": "uid-app01-ssh-1", **more},
    }


@pytest.mark.parametrize(
    ("case", "step", "message"),
    [
        ("badname", PULLING, '"UPPER/nope:1" is not an image name'),
        (
            "noimage",
            PULLING,
            "the image stagedoor.test/nope:1: the registry cannot be reached (ImagePullBackOff: "
            'failed to pull and unpack image "stagedoor.test/nope:1": failed to resolve reference '
            '"stagedoor.test/nope:1": failed to do request: Head '
            '"https://stagedoor.test/v2/nope/manifests/1": dial tcp: lookup stagedoor.test on '
            "192.0.2.53:53: dial udp 192.0.2.53:53: connect: network is unreachable)",
        ),
        (
            "never",
            PULLING,
            "the image stagedoor.test/nope:2 is not on the node, and its pull policy is Never",
        ),
        (
            "crash",
            STARTING,
            "container shell ended with code 3. Its last lines: first | cannot read key",
        ),
        ("init", STARTING, "container kit ended with code 1. Its last lines: no space left"),
        (
            "oom",
            STARTING,
            "container shell ended with code 137 (OOMKilled): it needs more memory than its limit "
            "allows; stagedoor.dev/resources gives it. Its last lines: filling",
        ),
        (
            "noprog",
            STARTING,
            'container shell cannot be started: exec: "/nope/start": stat /nope/start: no such '
            "file or directory",
        ),
        (
            "hook",
            STARTING,
            "container shell cannot be started: Exec lifecycle hook ([/bin/busybox false]) for "
            "Container \"shell\" failed - error: command '/bin/busybox false' exited with 1: , "
            'message: ""',
        ),
        ("nosecret", STARTING, 'container shell cannot be created: secret "nope" not found'),
        (
            "nokey",
            STARTING,
            "container shell cannot be created: couldn't find key nope in ConfigMap "
            "apps/kube-root-ca.crt",
        ),
        (
            "root",
            STARTING,
            "container shell cannot be created: container has runAsNonRoot and image will run as root",
        ),
        (
            "novol",
            MOUNTING,
            'a volume cannot be mounted: MountVolume.SetUp failed for volume "v" : secret "nope" '
            "not found",
        ),
        (
            "nopvc",
            SCHEDULING,
            "no node can take the shell's pod: 0/1 nodes are available: persistentvolumeclaim "
            '"nope" not found',
        ),
        (
            "big",
            SCHEDULING,
            "no node can take the shell's pod: 0/1 nodes are available: 1 Insufficient memory; ask "
            f"for less by {RESOURCES}",
        ),
        (
            "node",
            SCHEDULING,
            "no node can take the shell's pod: 0/1 nodes are available: 1 node(s) didn't match "
            "Pod's node affinity/selector",
        ),
        (
            "noaccount",
            "service account",
            "the app's service account nope does not exist; create it: kubectl create "
            "serviceaccount nope",
        ),
        (
            "nopriority",
            CREATING,
            'the cluster does not accept it: pods "nopriority-ssh-7d5866b656-" is forbidden: no '
            "PriorityClass with name nope was found",
        ),
        (
            "quota-pods",
            "quota",
            "the namespace's quota pods has no room (requested: pods=1, used: pods=0, limited: "
            f"pods=0); ask for more quota, or for less by {RESOURCES}",
        ),
        (
            "quota-memory",
            "quota",
            "the namespace's quota mem has no room (requested: requests.memory=1Gi, used: "
            "requests.memory=0, limited: requests.memory=512Mi); ask for more quota, or for less "
            f"by {RESOURCES}",
        ),
        (
            "quota-needs",
            "quota",
            "the namespace's quota mem wants every container to set limits.cpu for: shell; "
            f"limits.memory for: shell; set it in the app, or by {RESOURCES}",
        ),
        (
            "limit-range",
            CREATING,
            'the cluster does not accept it: Pod "a-ssh-7585b6bbc7-tzqjd" is invalid: '
            'spec.containers[0].resources.requests: Invalid value: "1Gi": must be less than or '
            "equal to memory limit of 512Mi",
        ),
        (
            "pod-security",
            "admission",
            "Pod Security (restricted:latest) of the namespace does not allow it: "
            'allowPrivilegeEscalation != false (container "shell" must set '
            "securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "
            '"shell" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true '
            '(pod or container "shell" must set securityContext.runAsNonRoot=true), '
            'seccompProfile (pod or container "shell" must set securityContext.seccompProfile.type '
            'to "RuntimeDefault" or "Localhost")',
        ),
    ],
)
def test_a_failed_start_is_told_by_its_cause(case: str, step: str, message: str) -> None:
    assert judge(observed(case)) == Cause(step, message)


def test_a_start_goes_by_its_steps() -> None:
    assert judge(observed("ok")) == ProgressStep(SSHD)
    assert judge(observed("initslow")) == ProgressStep(STARTING, "copying the kit")
    assert diagnose(None, (), (), (), NOW) == ProgressStep(WAITING)
    assert diagnose({**SHELL, "spec": {"replicas": 0}}, (), (), (), NOW) == ProgressStep(WAITING)
    assert diagnose(SHELL, (), (), (), NOW) == ProgressStep(CREATING)
    assert diagnose(SHELL, (), [pod(conditions=[])], (), NOW) == ProgressStep(SCHEDULING)
    creating = pod(**waiting("ContainerCreating"))
    assert diagnose(SHELL, (), [creating], (), NOW) == ProgressStep(STARTING)
    pulls = event(
        "Pulling", 'Pulling image "registry.example/app01:7"', fieldPath="spec.containers{shell}"
    )
    assert diagnose(SHELL, (), [creating], [pulls], NOW) == ProgressStep(
        PULLING, "registry.example/app01:7"
    )
    pulled = event("Pulled", "Successfully pulled", fieldPath="spec.containers{shell}")
    assert diagnose(SHELL, (), [creating], [pulls, pulled], NOW) == ProgressStep(STARTING)


def test_the_shell_before_has_to_end_first() -> None:
    ending = pod()
    ending["metadata"]["deletionTimestamp"] = "2026-11-26T09:30:30Z"
    diagnosis = diagnose(SHELL, (), [ending], (), NOW)
    assert diagnosis == ProgressStep(ENDING, "waiting for its sessions to end")


def test_the_youngest_pod_counts() -> None:
    evicted = pod(
        name="app01-ssh-0",
        created="2026-11-26T09:00:00Z",
        phase="Failed",
        reason="Evicted",
        message="The node was low on resource: memory.",
    )
    young = pod(**waiting("ContainerCreating"))
    assert diagnose(SHELL, (), [young, evicted], (), NOW) == ProgressStep(STARTING)
    assert diagnose(SHELL, (), [evicted], (), NOW) == Cause(
        STARTING, "the pod was given up (Evicted): The node was low on resource: memory."
    )


def test_what_an_older_wish_came_to_does_not_count() -> None:
    failed = observed("quota-pods")
    failed["shell"]["metadata"]["generation"] += 1
    assert judge(failed) == ProgressStep(CREATING)


def test_what_the_controller_found_comes_first() -> None:
    cause = Cause("reading the app's annotations", "annotation …")
    assert judge(observed("ok"), failure=cause) == cause


def test_a_log_is_asked_for_once_and_told() -> None:
    seen = observed("done")
    name = seen["pods"][0]["metadata"]["name"]
    assert judge(seen) == LogRequest(name, "shell")
    assert judge(seen, logs={(name, "shell"): "one\n\x1b[31mtwo\x07\n"}) == Cause(
        STARTING, "container shell ended with code 0. Its last lines: one | [31mtwo"
    )
    assert judge(seen, logs={(name, "shell"): ""}) == Cause(
        STARTING, "container shell ended with code 0."
    )


def test_an_image_of_packages_without_the_folder_is_named() -> None:
    said = "cp: can't stat '/packages/.': No such file or directory\n"  # busybox
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": said}}
    seen = pod(initContainerStatuses=[{"name": "packages", "state": ended}])
    seen["spec"]["initContainers"] = [{"name": "packages", "image": "tools:1"}]
    assert diagnose(SHELL, (), [seen], (), NOW) == Cause(
        STARTING,
        "the image tools:1 has no folder /packages, which stagedoor.dev/packages-image needs",
    )


@pytest.mark.parametrize(
    ("message", "why", "final"),
    [
        (
            'failed to pull and unpack image "docker.io/library/nope:1": failed to resolve '
            'reference "docker.io/library/nope:1": docker.io/library/nope:1: not found',
            "it does not exist",
            True,
        ),
        (
            'failed to resolve reference "docker.io/o/private:1": pull access denied, repository '
            "does not exist or may require authorization: server message: insufficient_scope: "
            "authorization failed",
            "it does not exist, or needs an imagePullSecret of the app's",
            True,
        ),
        (
            "failed to authorize: failed to fetch oauth token: unexpected status from GET request "
            "to https://ghcr.io/token: 403 Forbidden",
            "the registry does not let the node pull it; check the app's imagePullSecrets",
            True,
        ),
        (
            'failed to do request: Head "https://registry.example/v2/": dial tcp: lookup '
            "registry.example: no such host",
            "the registry cannot be reached",
            False,
        ),
        ("short read: expected 100 bytes but got 3: unexpected EOF", "it cannot be pulled", False),
    ],
)
def test_a_pull_that_may_yet_succeed_is_a_step(message: str, why: str, final: bool) -> None:
    said = f"the image registry.example/app01:7: {why} (ErrImagePull: {message})"
    diagnosis = diagnose(SHELL, (), [pod(**waiting("ErrImagePull", message))], (), NOW)
    assert diagnosis == (Cause if final else ProgressStep)(PULLING, said)
    # The kubelet has given up for now, with the same message after its own words.
    backed_off = f'Back-off pulling image "registry.example/app01:7": ErrImagePull: {message}'
    diagnosis = diagnose(SHELL, (), [pod(**waiting("ImagePullBackOff", backed_off))], (), NOW)
    assert diagnosis == Cause(PULLING, said.replace("(ErrImagePull", "(ImagePullBackOff"))


def test_a_node_may_be_on_its_way() -> None:
    big = observed("big")
    since = parse_time("2026-11-26T09:30:23Z") or 0.0
    assert isinstance(judge(big, since + 14), ProgressStep)
    assert isinstance(judge(big, since + 15), Cause)
    name = big["pods"][0]["metadata"]["name"]
    up = event("TriggeredScaleUp", "pod triggered scale-up", name=name)
    up["regarding"]["uid"] = big["pods"][0]["metadata"]["uid"]
    big["events"].append(up)
    assert judge(big, since + 100) == ProgressStep(SCHEDULING, "the cluster is adding a node")


def unplaced(*events: Any, at_s: float) -> Any:
    """Return the diagnosis of a pod for which there has been no node for that long."""
    since = parse_time("2026-11-26T09:31:00Z") or 0.0
    placed = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient memory.",
        "lastTransitionTime": "2026-11-26T09:31:00Z",
    }
    alone = {**pod(), "status": {"phase": "Pending", "conditions": [placed]}}
    return diagnose(SHELL, (), [alone], events, since + at_s)


@pytest.mark.parametrize("reason", ["TriggeredScaleUp", "Nominated"])
def test_a_node_that_is_being_added_is_waited_for_ten_minutes(reason: str) -> None:
    added = event(reason, "Pod should schedule on: nodeclaim/x", first="2026-11-26T09:31:08Z")
    step = unplaced(added, at_s=30)
    assert step == ProgressStep(SCHEDULING, "the cluster is adding a node")
    assert step.patience_s == 600
    assert unplaced(added, at_s=301).detail == "the cluster is adding a node, for 5 minutes now"
    assert isinstance(unplaced(added, at_s=607), ProgressStep)
    given_up = unplaced(added, at_s=608)
    assert isinstance(given_up, Cause)
    assert given_up.message.endswith(
        "; the cluster began to add a node 10 minutes ago, and it has not joined"
    )


def test_an_autoscaler_that_adds_no_node_says_why() -> None:
    refused = event(
        "NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached"
    )
    assert isinstance(unplaced(refused, at_s=14), ProgressStep)
    cause = unplaced(refused, at_s=15)
    assert isinstance(cause, Cause)
    assert (
        "the autoscaler adds none: pod didn't trigger scale-up: 1 max node group size"
        in cause.message
    )


def test_a_pod_that_has_just_got_its_node_is_not_late_for_what_came_before() -> None:
    overdue = {"type": "Progressing", "reason": "ProgressDeadlineExceeded"}
    late = {**SHELL, "status": {**SHELL.get("status", {}), "conditions": [overdue]}}

    def placed(at: str) -> Any:
        starting = pod(**waiting("ContainerCreating"))
        condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": at}
        return {**starting, "status": {**starting["status"], "conditions": [condition]}}

    assert diagnose(late, (), [placed("2026-11-26T09:30:00Z")], (), NOW) == ProgressStep(STARTING)
    assert isinstance(diagnose(late, (), [placed("2026-11-26T09:20:00Z")], (), NOW), Cause)


def test_what_passes_by_itself_is_a_cause_only_when_it_stays() -> None:
    creating = pod(**waiting("ContainerCreating"))
    note = 'MountVolume.SetUp failed for volume "v" : failed to sync secret cache: timed out'
    young = event("FailedMount", note)
    assert diagnose(SHELL, (), [creating], [young], NOW) == ProgressStep(
        MOUNTING, f"a volume cannot be mounted: {note}"
    )
    busy = event("FailedMount", note, first="2026-11-26T09:30:50Z")
    assert isinstance(diagnose(SHELL, (), [creating], [busy], NOW), ProgressStep)
    old = event("FailedMount", "exit status 32", first="2026-11-26T09:30:50Z")
    assert isinstance(diagnose(SHELL, (), [creating], [old], NOW), Cause)
    once = event("FailedCreatePodSandBox", "no network for 1", first="2026-11-26T09:30:30Z")
    assert isinstance(diagnose(SHELL, (), [creating], [once], NOW), ProgressStep)
    again = event("FailedCreatePodSandBox", "no network for 2", first="2026-11-26T09:30:50Z")
    assert diagnose(SHELL, (), [creating], [once, again], NOW) == Cause(
        STARTING, "the node cannot set up the pod: no network for 2"
    )
    attach = event("FailedAttachVolume", "Multi-Attach error for volume x: in use by pod(s) app01")
    assert isinstance(diagnose(SHELL, (), [creating], [attach], NOW), Cause)


def test_volumes_that_were_mounted_at_last_are_no_longer_spoken_of() -> None:
    seen = observed("initslow")
    late = event("FailedMount", "secret not found", first="2026-11-26T09:30:00Z")
    late["regarding"] |= {
        "name": seen["pods"][0]["metadata"]["name"],
        "uid": seen["pods"][0]["metadata"]["uid"],
    }
    seen["events"].append(late)
    assert judge(seen) == ProgressStep(STARTING, "copying the kit")

    # The kit is there, and the image of the shell is pulled.
    status = seen["pods"][0]["status"]
    status["initContainerStatuses"][0]["state"] = {"terminated": {"exitCode": 0}}
    assert judge(seen) == ProgressStep(STARTING)


def test_events_of_an_earlier_pod_of_that_name_do_not_count() -> None:
    other = event("FailedMount", "secret not found", uid="another")
    creating = pod(**waiting("ContainerCreating"))
    assert diagnose(SHELL, (), [creating], [other], NOW) == ProgressStep(STARTING)


def test_a_sidecar_does_not_hold_up_sshd() -> None:
    running = pod(
        phase="Running",
        containerStatuses=[
            {"name": "metrics", "state": {"terminated": {"exitCode": 1}}},
            {"name": "shell", "state": {"running": {}}},
        ],
    )
    assert diagnose(SHELL, (), [running], (), NOW) == ProgressStep(SSHD)


def test_a_sidecar_among_the_init_containers_is_not_waited_for() -> None:
    meshed = pod(
        initContainerStatuses=[{"name": "mesh", "state": {"running": {}}}],
        **waiting("PodInitializing"),
    )
    meshed["spec"]["initContainers"] = [{"name": "mesh", "restartPolicy": "Always"}]
    assert diagnose(SHELL, (), [meshed], (), NOW) == ProgressStep(STARTING)


def test_no_progress_at_all_is_told_in_the_end() -> None:
    stuck = {
        **SHELL,
        "status": {
            "observedGeneration": 2,
            "conditions": [
                {
                    "type": "Progressing",
                    "status": "False",
                    "reason": "ProgressDeadlineExceeded",
                    "message": "…",
                }
            ],
        },
    }
    assert diagnose(stuck, (), (), (), NOW) == Cause(
        CREATING,
        "it makes no progress, and the cluster gives no reason; look with: kubectl -n default describe "
        "deployment app01-ssh",
    )
    creating = pod(**waiting("ContainerCreating"))
    creating["metadata"]["namespace"] = "apps"
    assert diagnose(stuck, (), [creating], (), NOW) == Cause(
        STARTING,
        "it makes no progress, and the cluster gives no reason; look with: kubectl -n apps describe "
        "pod app01-ssh-1",
    )
    pulls = event("Pulling", 'Pulling image "large:1"', fieldPath="spec.containers{shell}")
    assert diagnose(stuck, (), [creating], [pulls], NOW) == ProgressStep(PULLING, "large:1")


@pytest.mark.parametrize(
    ("message", "step", "said"),
    [
        (
            'admission webhook "guard.example" denied the request: no shells\non Fridays',
            "admission",
            "the admission webhook guard.example does not allow it: no shells on Fridays",
        ),
        (
            'admission webhook "guard.example" denied the request without explanation',
            "admission",
            "the admission webhook guard.example does not allow it: it gives no reason",
        ),
        (
            "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'fence' with binding 'b' denied "
            "request: no host paths",
            "admission",
            "the admission policy fence does not allow it: no host paths",
        ),
        (
            'Internal error occurred: failed calling webhook "inject.example": failed to call '
            'webhook: Post "https://inject.example": connection refused',
            "admission",
            "the admission webhook inject.example cannot be asked: failed to call webhook: Post "
            '"https://inject.example": connection refused',
        ),
        (
            "deployments.apps \"x\" is forbidden: ValidatingAdmissionPolicy 'shells.s.s' with binding "
            "'shells.s.s' denied request: failed to configure binding: no params found for policy "
            "binding with `Deny` parameterNotFoundAction",
            "admission",
            "Stagedoor's own fence finds no ConfigMap stagedoor-apps in the namespace. If it is not "
            "there, helm upgrade makes it. If it is, the API server has stopped following ConfigMaps, "
            "and kube-apiserver must be restarted (kubernetes/kubernetes issue 130887)",
        ),
        (
            'pods "x" is forbidden: maximum memory usage per Container is 512Mi, but limit is 1Gi',
            "admission",
            "a LimitRange of the namespace does not allow it: maximum memory usage per Container "
            f"is 512Mi, but limit is 1Gi; change the resources by {RESOURCES}",
        ),
    ],
)
def test_who_does_not_allow_a_pod_is_named(message: str, step: str, said: str) -> None:
    maker = {"status": {"conditions": [failed_create(message)]}}
    assert diagnose(SHELL, [maker], (), (), NOW) == Cause(step, said)


LIMITED = 'pods "x" is forbidden: [minimum memory usage per Container is 64Mi, but request is {}]'


@pytest.mark.parametrize(
    ("amount", "whose", "advice"),
    [
        (
            "16Mi",
            "container kit",
            "an administrator can give it others",
        ),
        ("32Mi", "container shell", f"change the resources by {RESOURCES}"),
        ("8Mi", "it", f"change the resources by {RESOURCES}"),
    ],
)
def test_whose_resources_a_limit_range_refuses_is_named(
    amount: str, whose: str, advice: str
) -> None:
    containers = [
        {"name": "kit", "resources": {"requests": {"memory": "16Mi", "cpu": "10m"}}},
        {"name": "shell", "resources": {"requests": {"memory": "0.03125Gi"}}},
        {"name": "proxy"},
    ]
    maker = {
        "spec": {"template": {"spec": {"containers": containers}}},
        "status": {"conditions": [failed_create(LIMITED.format(amount))]},
    }
    assert diagnose(SHELL, [maker], (), (), NOW) == Cause(
        "admission",
        f"a LimitRange of the namespace does not allow {whose}: minimum memory usage per Container "
        f"is 64Mi, but request is {amount}; {advice}",
    )


def failed_create(message: str) -> dict[str, str]:
    return {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": message,
    }


REASONS = st.sampled_from(
    [
        "ErrImagePull",
        "ImagePullBackOff",
        "CreateContainerConfigError",
        "RunContainerError",
        "CrashLoopBackOff",
        "ContainerCreating",
        "SomethingNew",
    ]
)


@given(REASONS, st.text(), st.text(), st.floats(0, 4e9))
def test_whatever_a_cluster_says_is_one_printable_line(
    reason: str, message: str, log: str, now: float
) -> None:
    one = pod(**waiting(reason, message))
    two = pod(
        containerStatuses=[
            {"name": "shell", "state": {"terminated": {"exitCode": 1, "reason": message}}}
        ]
    )
    maker = {"status": {"conditions": [failed_create(message)]}}
    happening = event("FailedMount", message, first=show_time(now))
    for seen in ([one], [two], []):
        diagnosis = diagnose(
            SHELL,
            [maker],
            seen,
            [happening, event("Pulling", message)],
            now,
            logs={("app01-ssh-1", "shell"): log},
        )
        assert not isinstance(diagnosis, LogRequest)
        said = diagnosis.message if isinstance(diagnosis, Cause) else diagnosis.detail
        assert said == "" or said.isprintable()
        assert len(said) < 2000
