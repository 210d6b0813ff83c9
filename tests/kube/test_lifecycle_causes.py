"""Why a shell does not start reaches the developer's terminal, in words that name the cause."""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fixtures.cluster import Cluster, KubeGateway, shared_kube, until
from tests.kube.apps import deployment

Make = Callable[..., KubeGateway]
pytestmark = pytest.mark.timeout(400)  # real clocks, on a machine that does other things too
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared(
    cluster: Cluster, kit: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubeGateway]:
    """For tests that break nothing but an app of their own."""
    with shared_kube(cluster, kit, tmp_path_factory.mktemp("causes")) as kube:
        yield kube


@pytest.fixture
def refusal(make_kube: Make, shared: KubeGateway) -> Callable[..., str]:
    """Return a function that gives the words of OpenSSH's client for a broken app."""

    def ask(
        change: Callable[[dict[str, Any]], None] = lambda app: None,
        labels: dict[str, str] | None = None,
        quota: dict[str, str] | None = None,
        **how: Any,
    ) -> str:
        kube = make_kube() if labels or quota else shared
        for name, value in (labels or {}).items():
            kube.cluster.kubectl("label", "namespace", kube.namespace, f"{name}={value}")
        if quota:
            limit_to(kube, quota)
        app = deployment(kube.namespace, name := f"broken{next(_numbers)}", **how)
        change(app)
        kube.deploy(app)
        done = kube.ssh(name, access_method="jump")
        assert done.returncode != 0
        return done.stderr

    return ask


def limit_to(kube: KubeGateway, hard: dict[str, str]) -> None:
    """A ResourceQuota `small` that is in force."""
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "small", "namespace": kube.namespace},
            "spec": {"hard": hard},
        }
    )

    def in_force() -> bool:
        small = kube.cluster.administrator.named("ResourceQuota", kube.namespace, "small")
        return "hard" in small["status"]

    until(in_force, "the quota is in force")


def pod_of(app: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = app["spec"]["template"]["spec"]
    return spec


def test_a_quota(refusal: Callable[..., str]) -> None:
    said = refusal(quota={"pods": "0"})
    assert "could not be started; quota: the namespace's quota small has no room" in said


def test_a_quota_that_does_not_take_the_deployment_itself(make_kube: Make) -> None:
    kube = make_kube()
    limit_to(kube, {"count/deployments.apps": "1"})
    kube.app()
    done = kube.ssh("app01", access_method="jump")
    cause = "quota: the namespace's quota small has no room"
    assert f"the shell app01-ssh could not be started; {cause}" in done.stderr

    def event() -> bool:
        events = json.loads(
            kube.kubectl("get", "events", "--field-selector", "reason=ShellFailed", "-o", "json")
        )
        return any(item["message"].startswith(cause) for item in events["items"])

    until(event, "there is an Event on the app")


def test_an_admission_that_is_denied(refusal: Callable[..., str]) -> None:
    said = refusal(
        labels={"pod-security.kubernetes.io/enforce": "restricted"},
        securityContext={"runAsUser": 0, "runAsNonRoot": False},
    )
    assert "could not be started; admission: Pod Security (restricted" in said


def test_no_node_that_fits(refusal: Callable[..., str]) -> None:
    said = refusal(lambda app: pod_of(app).update(nodeSelector={"disk": "made-of-gold"}))
    assert "scheduling: " in said
    assert "node" in said


def test_a_crash_with_its_last_lines(refusal: Callable[..., str]) -> None:
    words = json.dumps(["/bin/sh", "-c", "echo the database is gone >&2; exit 3"])
    said = refusal(annotations={"command": words})
    assert "ended with code 3" in said
    assert "the database is gone" in said


def test_a_secret_that_is_not_there(refusal: Callable[..., str]) -> None:
    said = refusal(envFrom=[{"secretRef": {"name": "no-such-secret"}}])
    assert "no-such-secret" in said


def test_an_image_that_is_not_there_until_the_app_is_mended(shared: KubeGateway) -> None:
    kube = shared
    kube.app("mended", image="stagedoor.test/no-such-image:1")
    for access_method in ("connect", "jump"):
        done = kube.ssh("mended", access_method=access_method)
        assert done.returncode != 0
        assert "the shell mended-ssh could not be started; pulling image: " in done.stderr
        assert "stagedoor.test/no-such-image:1" in done.stderr
    kube.app("mended")
    kube.must("mended")


def test_a_wrong_annotation_is_told_once_and_stands_in_an_event_on_the_app(
    shared: KubeGateway,
) -> None:
    kube = shared
    kube.app("wrong", annotations={"idle-stop": "soon"})

    def event() -> bool:
        events = json.loads(
            kube.kubectl(
                "get", "events", "--field-selector", "reason=WrongAnnotation", "-o", "json"
            )
        )
        return any("stagedoor.dev/idle-stop" in item["message"] for item in events["items"])

    # Before a client has asked for the shell.
    until(event, "there is an Event")
    seen = len(kube.gateway.lines)
    done = kube.ssh("wrong", access_method="connect")
    assert done.returncode != 0
    assert "cannot be entered now (503): " in done.stderr
    assert "annotation stagedoor.dev/idle-stop of Deployment wrong" in done.stderr
    assert "try again in 60 s" in done.stderr
    # The client has not tried again by itself what must be mended first.
    kube.gateway.wait_for(lambda line: line.get("outcome") == "denied", after=seen)
    assert sum(line.get("outcome") == "denied" for line in kube.gateway.lines[seen:]) == 1
    # Mended, it works at the next login.
    kube.app("wrong", annotations={"idle-stop": "1h"})
    kube.must("wrong")
