"""Why a shell does not start reaches the developer's terminal, in words that name the cause."""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.fixtures import Cluster
from tests.kube.apps import deployment
from tests.kube.house import House, shared_house, until

Make = Callable[..., House]
pytestmark = pytest.mark.timeout(400)  # real clocks, on a machine that does other things too
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared(cluster: Cluster, kit: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """For tests that break nothing but an app of their own."""
    with shared_house(cluster, kit, tmp_path_factory.mktemp("causes")) as house:
        yield house


@pytest.fixture
def told(make_house: Make, shared: House) -> Callable[..., str]:
    """What OpenSSH's client says when the shell of a broken app is asked for."""

    def ask(
        change: Callable[[dict[str, Any]], None] = lambda app: None,
        labels: dict[str, str] | None = None,
        quota: dict[str, str] | None = None,
        way: str = "jump",
        **how: Any,
    ) -> str:
        house = make_house() if labels or quota else shared
        for name, value in (labels or {}).items():
            house.cluster.kubectl("label", "namespace", house.namespace, f"{name}={value}")
        if quota:
            limit_to(house, quota)
        app = deployment(house.namespace, name := f"broken{next(_numbers)}", **how)
        change(app)
        house.deploy(app)
        done = house.ssh(name, way=way)
        assert done.returncode != 0
        return done.stderr

    return ask


def limit_to(house: House, hard: dict[str, str]) -> None:
    """A ResourceQuota `small` that is in force."""
    house.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "small", "namespace": house.namespace},
            "spec": {"hard": hard},
        }
    )

    def in_force() -> bool:
        small = house.cluster.administrator.named("ResourceQuota", house.namespace, "small")
        return "hard" in small["status"]

    until(in_force, "the quota is in force")


def pod_of(app: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = app["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("way", ["connect", "jump"])
def test_an_image_that_is_not_there(told: Callable[..., str], way: str) -> None:
    said = told(image="stagedoor.test/no-such-image:1", way=way)
    assert re.search(r"the shell broken\d+-ssh could not be started; pulling image: ", said)
    assert "stagedoor.test/no-such-image:1" in said


def test_a_cause_is_told_once_and_at_once_and_not_waited_for(make_house: Make) -> None:
    house = make_house()
    house.app(annotations={"idle-stop": "soon"})
    done = house.ssh("app01", way="connect")
    assert "cannot be entered now (503): " in done.stderr
    assert "annotation stagedoor.dev/idle-stop" in done.stderr
    assert "try again in 60 s" in done.stderr
    # The client has not tried again by itself what must be mended first.
    house.gateway.wait_for(lambda line: line.get("outcome") == "denied")
    assert sum(line.get("outcome") == "denied" for line in house.gateway.lines) == 1


def test_a_quota(told: Callable[..., str]) -> None:
    said = told(quota={"pods": "0"})
    assert "could not be started; quota: the namespace's quota small has no room" in said


def test_a_quota_that_does_not_take_the_deployment_itself(make_house: Make) -> None:
    house = make_house()
    limit_to(house, {"count/deployments.apps": "1"})
    house.app()
    done = house.ssh("app01", way="jump")
    cause = "quota: the namespace's quota small has no room"
    assert f"the shell app01-ssh could not be started; {cause}" in done.stderr

    def event() -> bool:
        found = json.loads(
            house.kubectl("get", "events", "--field-selector", "reason=ShellFailed", "-o", "json")
        )
        return any(one["message"].startswith(cause) for one in found["items"])

    until(event, "there is an Event on the app")


def test_an_admission_that_is_denied(told: Callable[..., str]) -> None:
    said = told(
        labels={"pod-security.kubernetes.io/enforce": "restricted"},
        securityContext={"runAsUser": 0, "runAsNonRoot": False},
    )
    assert "could not be started; admission: Pod Security (restricted" in said


def test_no_node_that_fits(told: Callable[..., str]) -> None:
    said = told(lambda app: pod_of(app).update(nodeSelector={"disk": "made-of-gold"}))
    assert "scheduling: " in said
    assert "node" in said


def test_a_crash_with_its_last_lines(told: Callable[..., str]) -> None:
    words = json.dumps(["/bin/sh", "-c", "echo the database is gone >&2; exit 3"])
    said = told(annotations={"command": words})
    assert "ended with code 3" in said
    assert "the database is gone" in said


def test_a_secret_that_is_not_there(told: Callable[..., str]) -> None:
    said = told(envFrom=[{"secretRef": {"name": "no-such-secret"}}])
    assert "no-such-secret" in said


def test_a_wrong_annotation_is_told_and_stands_in_an_event_on_the_app(shared: House) -> None:
    house = shared
    house.app("wrong", annotations={"idle-stop": "soon"})

    def event() -> bool:
        found = json.loads(
            house.kubectl(
                "get", "events", "--field-selector", "reason=WrongAnnotation", "-o", "json"
            )
        )
        return any("stagedoor.dev/idle-stop" in one["message"] for one in found["items"])

    # Before anybody has asked for the shell.
    until(event, "there is an Event")
    done = house.ssh("wrong")
    assert done.returncode != 0
    assert "annotation stagedoor.dev/idle-stop of Deployment wrong" in done.stderr
    # Mended, it works at the next login.
    house.app("wrong", annotations={"idle-stop": "1h"})
    house.must("wrong")


def test_a_shell_that_could_not_start_does_once_its_app_is_mended(shared: House) -> None:
    house = shared
    house.app("mended", image="stagedoor.test/no-such-image:1")
    assert house.ssh("mended", way="jump").returncode != 0
    house.app("mended")
    house.must("mended")
