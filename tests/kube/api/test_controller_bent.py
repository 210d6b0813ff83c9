"""A shell's Deployment that another client changed is made straight again by the controller.

Against the real API server; there is no kubelet, so no developer is inside. When one is, the table in
`tests/shells/kubernetes/test_lifecycle.py` says what happens.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stagedoor.kube.cluster import KubeCluster
from stagedoor.model.cluster import Kind, Object
from stagedoor.shells.kubernetes.names import KEYS_UNTIL
from tests.kube.api.one_app import ALL, BOUND_S, OneApp, brought
from tests.kube.apps import deployment

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server

SHELL = "app01-ssh"


def in_pod(**fields: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": fields}}}


BENDS: dict[str, dict[str, Any]] = {
    "toleration": in_pod(tolerations=[{"operator": "Exists"}]),
    "nodeSelector": in_pod(nodeSelector={"node-role.kubernetes.io/control-plane": ""}),
    "processes": in_pod(shareProcessNamespace=True),
    "gid": in_pod(securityContext={"runAsGroup": 0, "supplementalGroups": [0]}),
    "aliases": in_pod(hostAliases=[{"ip": "192.0.2.1", "hostnames": ["db"]}]),
    "network": in_pod(hostNetwork=True),
    "annotation of the pod": {
        "spec": {"template": {"metadata": {"annotations": {"x.example/y": "z"}}}}
    },
    "paused": {"spec": {"paused": True}},
    "history": {"spec": {"revisionHistoryLimit": 7}},
}


@pytest.fixture
async def one_app(cluster: KubeCluster, namespace: str) -> OneApp:
    made = OneApp(cluster, namespace)
    made.app = await cluster.apply(deployment(namespace))
    return made


async def shell(one_app: OneApp) -> Object:
    resource = await one_app.cluster.get(Kind.DEPLOYMENT, one_app.namespace, SHELL)
    assert resource is not None
    return resource


async def becomes(one_app: OneApp, wanted: Callable[[Object], bool]) -> Object:
    async with asyncio.timeout(BOUND_S):
        while True:
            resource = await one_app.cluster.get(Kind.DEPLOYMENT, one_app.namespace, SHELL)
            if resource is not None and wanted(resource):
                return resource
            await asyncio.sleep(0.02)  # each look is a request


@pytest.mark.parametrize("bend", BENDS.values(), ids=BENDS)
async def test_a_bent_shell_is_made_straight(one_app: OneApp, bend: dict[str, Any]) -> None:
    await one_app.request_shell()
    async with one_app.controller(one_app.cluster):
        await one_app.until(ALL)
        straight = await shell(one_app)
        bent = await one_app.cluster.merge(Kind.DEPLOYMENT, one_app.namespace, SHELL, bend)
        assert bent["spec"] != straight["spec"]
        resource = await becomes(one_app, lambda one: one["spec"] == straight["spec"])
    # Keys that are written again end later.
    assert {**resource["metadata"]["annotations"], KEYS_UNTIL: ""} == {
        **straight["metadata"]["annotations"],
        KEYS_UNTIL: "",
    }


async def test_a_shell_that_was_bent_while_no_controller_ran_is_made_straight(
    one_app: OneApp,
) -> None:
    await one_app.request_shell()
    await brought(one_app, ALL)
    straight = await shell(one_app)
    await one_app.cluster.merge(Kind.DEPLOYMENT, one_app.namespace, SHELL, BENDS["toleration"])
    async with one_app.controller(one_app.cluster):
        await becomes(one_app, lambda one: one["spec"] == straight["spec"])


async def test_a_shell_that_was_bent_while_it_was_stopped_starts_straight(one_app: OneApp) -> None:
    await one_app.request_shell()
    await brought(one_app, ALL)
    straight = await shell(one_app)
    finalizer = {"metadata": {"finalizers": ["example.com/keep"]}}
    for patch in (BENDS["processes"], finalizer, {"spec": {"replicas": 0}}):
        await one_app.cluster.merge(Kind.DEPLOYMENT, one_app.namespace, SHELL, patch)
    async with one_app.controller(one_app.cluster):
        resource = await becomes(one_app, lambda one: one["spec"] == straight["spec"])
    assert "finalizers" not in resource["metadata"]


async def test_of_more_pods_one_is_left(one_app: OneApp) -> None:
    await one_app.request_shell()
    async with one_app.controller(one_app.cluster):
        await one_app.until(ALL)
        straight = await shell(one_app)
        patch = {"spec": {"replicas": 3}}
        await one_app.cluster.merge(Kind.DEPLOYMENT, one_app.namespace, SHELL, patch)
        resource = await becomes(one_app, lambda one: one["spec"]["replicas"] == 1)
    assert resource["metadata"]["uid"] == straight["metadata"]["uid"], "it is the same shell"


async def test_a_shell_that_nobody_bent_is_left_alone(one_app: OneApp) -> None:
    await one_app.request_shell()
    await brought(one_app, ALL)
    before = await shell(one_app)
    async with one_app.controller(one_app.cluster):
        # Something of the shell's changes, so that it is looked at.
        await one_app.cluster.merge(
            Kind.DEPLOYMENT,
            one_app.namespace,
            SHELL,
            {"metadata": {"labels": {"x.example/y": "z"}}},
        )
        await one_app.request_shell()
        await one_app.until(ALL)
        app = {"metadata": {"annotations": {"stagedoor.dev/grace": "7m"}}}
        await one_app.cluster.merge(Kind.DEPLOYMENT, one_app.namespace, "app01", app)
        await becomes(
            one_app,
            lambda one: one["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 420,
        )
    after = await shell(one_app)
    assert after["metadata"]["uid"] == before["metadata"]["uid"], "it was applied over, not deleted"
