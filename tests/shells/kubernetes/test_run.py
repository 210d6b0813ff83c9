"""A run's Job, and what its pod and its container's log report."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from stagedoor.model.run import Output, RunOrder, RunState
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive.compare import find_job_differences
from stagedoor.shells.kubernetes.derive.kit import HOST_KEY_VOLUME, INPUT_VOLUME, SHELL_VOLUME
from stagedoor.shells.kubernetes.derive.run import (
    LogParser,
    build_run_job,
    make_run_kit,
    parse_line,
    read_end,
)
from tests.shells.kubernetes import samples

APPS = sorted(path.stem for path in Path(samples.HERE, "apps").iterdir())
RUN = "0123456789ab"


def job(
    name: str = "rich",
    command: str = "./manage.py migrate",
    *,
    has_input: bool = False,
    **resources: dict[str, str],
) -> dict[str, Any]:
    app = samples.app(name)
    shell = samples.derived(app, make_run_kit(samples.KIT), **samples.DIGESTS)
    order = RunOrder(Target(app["metadata"]["name"]), command, timeout_s=60, has_input=has_input)
    return dict(build_run_job(app, shell, RUN, order, resources or None))


def as_created(desired: dict[str, Any]) -> dict[str, Any]:
    """The Job as the API server returns it."""
    made = copy.deepcopy(desired)
    made["metadata"] |= {"uid": "u-1", "generation": 1}
    made["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}
    made["spec"]["template"]["metadata"]["labels"] |= {
        "batch.kubernetes.io/controller-uid": "u-1",
        "batch.kubernetes.io/job-name": f"run-{RUN}",
        "controller-uid": "u-1",
        "job-name": f"run-{RUN}",
    }
    return made


@pytest.mark.platform(5, 11)
@pytest.mark.parametrize("name", APPS)
def test_a_job_starts_one_pod_once_which_no_service_selects(name: str) -> None:
    made, app = job(name), samples.app(name)
    spec, pod = made["spec"], made["spec"]["template"]["spec"]
    assert spec["suspend"], "the controller resumes it"
    assert (spec["backoffLimit"], spec["podReplacementPolicy"]) == (0, "Failed")
    assert pod["restartPolicy"] == "Never"
    labels = spec["template"]["metadata"]["labels"]
    assert labels["stagedoor.dev/run-of"] == app["metadata"]["name"]
    assert "stagedoor.dev/shell-of" not in labels
    assert not app["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert [item["name"] for item in pod["containers"]] == ["shell"]
    assert not {HOST_KEY_VOLUME, SHELL_VOLUME} & {volume["name"] for volume in pod["volumes"]}
    shell = samples.container(samples.derived(app, samples.KIT, **samples.DIGESTS))
    (task,) = pod["containers"]
    assert task.get("env") == shell.get("env")
    assert task.get("envFrom") == shell.get("envFrom")


def test_a_size_replaces_the_resources_of_the_shell() -> None:
    large = job(requests={"memory": "4Gi"})
    (task,) = large["spec"]["template"]["spec"]["containers"]
    assert task["resources"] == {"requests": {"memory": "4Gi"}}
    assert job_without_resources(large) == job_without_resources(job())


def job_without_resources(made: dict[str, Any]) -> dict[str, Any]:
    pod = made["spec"]["template"]["spec"]
    pod.pop("resources", None)
    pod["containers"][0].pop("resources", None)
    return made


@pytest.mark.platform(8)
def test_a_run_with_input_has_it_in_a_file_from_its_start() -> None:
    made = job(has_input=True)
    (volume,) = (item for item in _pod(made)["volumes"] if item["name"] == INPUT_VOLUME)
    assert volume["secret"]["secretName"] == f"run-{RUN}"
    (mount,) = (item for item in _task(made)["volumeMounts"] if item["name"] == INPUT_VOLUME)
    assert _task(made)["command"][-1] == f"{mount['mountPath']}/input"
    assert find_job_differences(job(), as_created(made)), (
        "a gateway without input does not approve it"
    )


def test_the_kubelet_leaves_a_command_as_it_is() -> None:
    (task,) = job(command='echo "$(HOME) $HOME"')["spec"]["template"]["spec"]["containers"]
    assert task["command"][-1] == 'echo "$$(HOME) $$HOME"'


@pytest.mark.platform(10)
def test_what_the_api_adds_is_no_difference_and_all_else_is() -> None:
    desired = job()
    assert find_job_differences(desired, as_created(desired)) == ()
    bends: dict[str, Any] = {
        "command": lambda made: _task(made)["command"].append("x"),
        "image": lambda made: _task(made).update(image="x.example/y"),
        "env": lambda made: _task(made).update(env=[{"name": "X", "value": "y"}]),
        "uid": lambda made: _task(made).update(securityContext={"runAsUser": 0}),
        "host network": lambda made: _pod(made).update(hostNetwork=True),
        "volume": lambda made: _pod(made)["volumes"].append({"name": "x", "hostPath": {}}),
        "sidecar": lambda made: _pod(made)["containers"].append({"name": "x", "image": "y"}),
        "label": lambda made: made["spec"]["template"]["metadata"]["labels"].update(app="app01"),
        "retries": lambda made: made["spec"].update(backoffLimit=6),
        "pods": lambda made: made["spec"].update(parallelism=2),
        "owner": lambda made: made["metadata"].update(ownerReferences=[]),
        "a field of a later version": lambda made: made["spec"].update(later=True),
    }
    for what, bend in bends.items():
        bent = as_created(desired)
        bend(bent)
        assert find_job_differences(desired, bent), what


def _pod(made: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = made["spec"]["template"]["spec"]
    return pod


def _task(made: dict[str, Any]) -> dict[str, Any]:
    task: dict[str, Any] = _pod(made)["containers"][0]
    return task


def terminated(message: object = None, **fields: object) -> dict[str, Any]:
    text = message if isinstance(message, str | None) else json.dumps(message)
    ended = {"exitCode": 1, **({} if text is None else {"message": text}), **fields}
    return {
        "status": {
            "phase": "Failed",
            "containerStatuses": [{"name": "shell", "state": {"terminated": ended}}],
        }
    }


def kit_message(state: str, code: int, signal: int = 0) -> dict[str, object]:
    return {"state": state, "code": code, "signal": signal, "size": 5}


@pytest.mark.platform(1, 4, 5)
@pytest.mark.parametrize(
    ("pod", "state", "code"),
    [
        (terminated(kit_message("exited", 7)), RunState.EXITED, 7),
        (terminated(kit_message("exited", 137, 9)), RunState.EXITED, 137),
        (terminated(kit_message("timed_out", 124)), RunState.TIMED_OUT, 124),
        (terminated(kit_message("stopped", 143)), RunState.LOST, 76),
        (terminated(reason="OOMKilled", exitCode=137), RunState.EXITED, 137),
        (terminated(reason="StartError", exitCode=128), RunState.NOT_STARTED, 126),
        (terminated("{", exitCode=137), RunState.LOST, 76),
        (terminated({"state": 1}, exitCode=137), RunState.LOST, 76),
        (terminated({**kit_message("exited", 0), "size": 2**70}, exitCode=0), RunState.LOST, 76),
        (terminated({**kit_message("exited", 0), "size": -1}, exitCode=0), RunState.LOST, 76),
        (terminated({**kit_message("exited", 0), "signal": 10**999}), RunState.LOST, 76),
        ({"status": {"phase": "Failed", "reason": "Evicted"}}, RunState.LOST, 76),
    ],
)
def test_the_end_of_a_pod(pod: dict[str, Any], state: RunState, code: int) -> None:
    end = read_end(pod)
    assert end is not None
    assert (end.state, end.code) == (state, code)


def test_a_pod_that_runs_has_no_end() -> None:
    assert read_end({"status": {"phase": "Pending"}}) is None
    running = {"containerStatuses": [{"name": "shell", "state": {"running": {}}}]}
    assert read_end({"status": {"phase": "Running", **running}}) is None


@pytest.mark.platform(3)
def test_lines_of_the_log_are_output_at_its_offsets() -> None:
    line = parse_line(rb"e 120 a\nb\\nc\\\n")
    assert line is not None
    assert (line.start, line.data, line.is_error) == (120, b"a\nb\\nc\\\n", True)
    assert line.at is None
    timed = parse_line(rb"1970-01-01T00:01:40.250000000Z o 7 2026-12-01T00:00:00Z o 1 x")
    assert timed == Output(7, b"2026-12-01T00:00:00Z o 1 x", False, 100.25)
    assert parse_line(b"stagedoor: cannot start") is None
    parser = LogParser()
    pieces = [parser.feed(piece) for piece in (b"o 0 a", b"\\n\no 2 b\nfore", b"ign\n")]
    assert [[line.data for line in piece] for piece in pieces] == [[], [b"a\n", b"b"], []]
