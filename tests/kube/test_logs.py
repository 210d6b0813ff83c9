"""Logs of containers that a real kubelet has run."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.kubeconfig import load
from stagedoor.model.cluster import ClusterError, Kind, Object
from tests.fixtures.cluster import Cluster

pytestmark = pytest.mark.timeout(600)  # the first makes the images, and others wait for them


@pytest.fixture
async def kube(cluster: Cluster) -> AsyncIterator[KubeCluster]:
    kube_cluster = KubeCluster(
        load(cluster.kubeconfig),
        field_manager="stagedoor",
        component="stagedoor-test",
        instance="test-0",
        on_problem=lambda *_: None,
    )
    yield kube_cluster
    await kube_cluster.close_connections()


async def started(
    kube: KubeCluster,
    namespace: str,
    image: str,
    script: str,
    ready: Callable[[Any], bool],
    *,
    restart: str = "Always",
) -> Object:
    """The pod `web` that runs the script, once its container's status is so; `restart` is its
    restartPolicy."""
    shell = {
        "name": "shell",
        "image": image,
        "command": ["/bin/sh", "-c", script],
        "volumeMounts": [{"name": "kept", "mountPath": "/kept"}],
    }
    # The namespace's controller has to make its account first.
    async with asyncio.timeout(100):
        while True:
            try:
                await kube.create(
                    {
                        "apiVersion": "v1",
                        "kind": "Pod",
                        "metadata": {"namespace": namespace, "name": "web"},
                        "spec": {
                            "containers": [shell],
                            "volumes": [{"name": "kept", "emptyDir": {}}],
                            "terminationGracePeriodSeconds": 0,
                            "restartPolicy": restart,
                        },
                    }
                )
                break
            except ClusterError as error:
                if "serviceaccount" not in error.message:
                    raise
                await asyncio.sleep(0.1)
        watch = kube.watch(Kind.POD, namespace)
        try:
            async for change in watch:
                for pod in change.objects:
                    statuses = (pod.get("status") or {}).get("containerStatuses") or []
                    if statuses and ready(statuses[0]):
                        return pod
        finally:
            await watch.aclose()
    raise AssertionError("the watch ended")


async def test_a_crashed_container_says_its_last_lines(
    cluster: Cluster, kube: KubeCluster, fresh_namespace: Callable[[], str]
) -> None:
    script = "i=0; while [ $i -lt 50 ]; do echo line $i; i=$((i+1)); done; echo 'no é'; exit 3"
    namespace = fresh_namespace()
    await started(
        kube,
        namespace,
        cluster.image("busybox"),
        script,
        lambda status: "terminated" in status["state"],
        restart="Never",  # begun again, it would say its first lines at the time of the last
    )
    assert await kube.read_logs(namespace, "web", "shell", lines=2) == "line 49\nno é\n"


async def test_a_container_that_has_just_begun_anew_says_what_the_one_before_said(
    cluster: Cluster, kube: KubeCluster, fresh_namespace: Callable[[], str]
) -> None:
    # The second time it only waits, as it finds what the first has left.
    script = "[ -e /kept/mark ] && sleep 600; touch /kept/mark; echo it went wrong; exit 1"
    namespace = fresh_namespace()
    await started(
        kube,
        namespace,
        cluster.image("busybox"),
        script,
        lambda status: status["restartCount"] >= 1 and "running" in status["state"],
    )
    assert await kube.read_logs(namespace, "web", "shell", lines=1) == "it went wrong\n"


async def test_what_has_no_log_yet_says_nothing(
    cluster: Cluster, kube: KubeCluster, fresh_namespace: Callable[[], str]
) -> None:
    namespace = fresh_namespace()
    await started(
        kube,
        namespace,
        "stagedoor.test/not-there:1",
        "true",
        lambda status: (
            (status["state"].get("waiting") or {}).get("reason", "").endswith("PullBackOff")
            or (status["state"].get("waiting") or {}).get("reason") == "ErrImagePull"
        ),
    )
    assert await kube.read_logs(namespace, "web", "shell", lines=5) == ""
    with pytest.raises(ClusterError) as raised:
        await kube.read_logs(namespace, "none", "shell", lines=5)
    assert raised.value.reason == "NotFound"
