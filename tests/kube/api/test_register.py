"""The register of apps, in the real API: what the cluster's fence is told of apps that come and go."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from stagedoor.kube.cluster import KubeCluster
from stagedoor.model.cluster import Kind, Object
from stagedoor.shells.kubernetes.names import REGISTER
from stagedoor.shells.kubernetes.register import Register
from stagedoor.shells.kubernetes.sight import Sight

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server

WITHIN_S = 60.0


def app(namespace: str, name: str, kind: str = "Deployment", offered: str = "true") -> Object:
    labels = {"app": name}
    spec = {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "web", "image": "stagedoor.test/web:1"}]},
        },
    }
    if kind == "StatefulSet":
        spec["serviceName"] = name  # type: ignore[assignment]
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": {"stagedoor.dev/shell": offered},
        },
        "spec": spec,
    }


class Written:
    """The register's ConfigMap as it is now; `becomes` waits for what is wanted."""

    def __init__(self, cluster: KubeCluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    async def now(self) -> dict[str, str]:
        found = await self.cluster.get(Kind.CONFIG_MAP, self.namespace, REGISTER)
        assert found is not None
        return dict(found.get("data") or {})

    async def becomes(self, wanted: dict[str, str]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while await self.now() != wanted:
                await asyncio.sleep(0.02)  # each look is a request; nobody tells us of this write


def fact(kind: str = "Deployment", image: str = "stagedoor.test/web") -> str:
    """What is written of an app that has nothing."""
    registries = ("", "docker.io/", "docker.io/library/")
    lines = {"account=", f"kind={kind}", "runtime=", "token="}
    return "\n".join(sorted(lines | {f"image={one}{image}" for one in registries}))


async def make(cluster: KubeCluster, namespace: str, data: dict[str, str]) -> None:
    metadata = {"name": REGISTER, "namespace": namespace}
    await cluster.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    )


class Running:
    """A register that runs, with its sight."""

    def __init__(self, cluster: KubeCluster, namespace: str) -> None:
        self.problems: list[str | None] = []
        self.sight = Sight(cluster, namespace)
        self.register = Register(cluster, self.sight, self.problems.append)
        works = [mirror.run() for mirror in self.sight.mirrors] + [self.register.run()]
        self.tasks = [asyncio.create_task(work) for work in works]

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def running(cluster: KubeCluster, namespace: str) -> AsyncIterator[Running]:
    one = Running(cluster, namespace)
    yield one
    await one.close()


async def test_apps_that_come_and_go_are_written_down_and_ghosts_struck_out(
    cluster: KubeCluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagedoor.shells.kubernetes.register.WAIT_S", WITHIN_S)
    written = Written(cluster, namespace)
    await cluster.create(app(namespace, "app01"))
    await cluster.create(app(namespace, "shy", offered="false"))
    await make(cluster, namespace, {"ghost": "Deployment"})
    running = Running(cluster, namespace)
    try:
        await written.becomes({"app01": fact()})
        await cluster.create(app(namespace, "db", "StatefulSet"))
        await running.register.has("db")
        assert await written.now() == {"app01": fact(), "db": fact("StatefulSet")}
        await cluster.delete(Kind.DEPLOYMENT, namespace, "app01")
        await written.becomes({"db": fact("StatefulSet")})
    finally:
        await running.close()


async def test_two_gateways_agree(cluster: KubeCluster, namespace: str, running: Running) -> None:
    await make(cluster, namespace, {})
    other = Running(cluster, namespace)
    try:
        for name in ("a", "b", "c"):
            await cluster.create(app(namespace, name))
        await cluster.delete(Kind.DEPLOYMENT, namespace, "b")
        await Written(cluster, namespace).becomes({"a": fact(), "c": fact()})
    finally:
        await other.close()


async def test_a_register_that_is_not_there_is_told_and_written_once_it_is(
    cluster: KubeCluster, namespace: str, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagedoor.shells.kubernetes.register.AGAIN_S", 0.05)
    async with asyncio.timeout(WITHIN_S):
        while not running.problems:
            await asyncio.sleep(0.02)
    assert "stagedoor-apps" in str(running.problems[0])
    await cluster.create(app(namespace, "app01"))
    await make(cluster, namespace, {})
    await Written(cluster, namespace).becomes({"app01": fact()})
    async with asyncio.timeout(WITHIN_S):
        while running.problems[-1] is not None:
            await asyncio.sleep(0.02)


async def test_who_waits_for_an_app_that_is_none_is_let_go(
    cluster: KubeCluster, namespace: str, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagedoor.shells.kubernetes.register.WAIT_S", 0.1)
    async with asyncio.timeout(WITHIN_S):
        await running.register.has("nobody")


async def test_a_roll_out_is_written_down_before_a_knock_goes_on(
    cluster: KubeCluster, namespace: str, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagedoor.shells.kubernetes.register.WAIT_S", WITHIN_S)
    await make(cluster, namespace, {})
    await cluster.create(app(namespace, "app01"))
    written = Written(cluster, namespace)
    await written.becomes({"app01": fact()})
    containers = [{"name": "web", "image": "stagedoor.test/other:2"}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    await cluster.merge(Kind.DEPLOYMENT, namespace, "app01", patch)
    async with asyncio.timeout(WITHIN_S):
        while "other" not in running.sight.facts()["app01"]:
            await running.sight.pulse.wait()
    await running.register.has("app01")
    assert await written.now() == {"app01": fact(image="stagedoor.test/other")}


async def test_what_another_gateway_wrote_is_put_right_now_and_then(
    cluster: KubeCluster, namespace: str, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagedoor.shells.kubernetes.register.REPEAT_S", 0.2)
    await make(cluster, namespace, {})
    await cluster.create(app(namespace, "app01"))
    written = Written(cluster, namespace)
    await written.becomes({"app01": fact()})
    wrong = {"data": {"app01": "kind=Job", "ghost": "kind=Deployment"}}
    await cluster.merge(Kind.CONFIG_MAP, namespace, REGISTER, wrong)
    await written.becomes({"app01": fact()})
