"""The register of shells, in the real API: which shells a gateway lets start, and which not."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stagedoor.kube.cluster import KubeCluster
from stagedoor.model.cluster import Kind, Object
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import (
    DEFAULT_SETTINGS,
    AppSettings,
    WrongSettings,
    read_settings,
)
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.derive.shell import Derived, derive, with_replicas
from stagedoor.shells.kubernetes.live.namespace_cache import ClusterCache, NamespaceCache
from stagedoor.shells.kubernetes.live.register import DeriveContext, Register, identify_shell
from stagedoor.shells.kubernetes.names import REGISTER
from tests.kube.apps import deployment
from tests.pace import allow
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server

WITHIN_S = allow(60.0)
KIT = Kit("stagedoor.test/kit:1")


class Running:
    """A register that runs, with its cache, and what it has written."""

    def __init__(self, cluster: KubeCluster, namespace: str, kit: Kit = KIT) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.problems: list[str | None] = []
        mirrors = ClusterCache(cluster, [namespace])
        self.cache = NamespaceCache(mirrors, namespace)
        context = DeriveContext(kit, DEFAULT_SETTINGS)
        self.register = Register(cluster, self.cache, context, self.problems.append)
        works = [*mirrors.list_coroutines(), self.register.run()]
        self.tasks = [asyncio.create_task(work) for work in works]

    async def app(self, name: str = "app01", **more: Any) -> Object:
        return await self.cluster.apply(deployment(self.namespace, name, **more))

    async def shell(self, app: Object, **claims: tuple[str, ...]) -> Object:
        """As the controller makes it: without a pod."""
        settings = read_settings(app)
        assert isinstance(settings, AppSettings)
        derived = derive(app, settings, KIT, digests={}, claims=claims)
        assert isinstance(derived, Derived)
        return await self.cluster.apply(with_replicas(derived.deployment, 0))

    async def merge(self, patch: Object, name: str = "app01-ssh") -> Object:
        return await self.cluster.merge(Kind.DEPLOYMENT, self.namespace, name, patch)

    async def written(self) -> dict[str, str]:
        resource = await self.cluster.get(Kind.CONFIG_MAP, self.namespace, REGISTER)
        assert resource is not None
        return dict(resource.get("data") or {})

    async def becomes(self, wanted: dict[str, str]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while await self.written() != wanted:
                await asyncio.sleep(0.02)  # each look is a request; no event for this write

    async def refused(self, shell: Object, *words: str) -> None:
        """Until it is written of that generation why it may not start."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                said = (await self.written()).get("app01", "")
                if said.startswith(f"{identify_shell(shell)} ") and all(
                    word in said for word in words
                ):
                    return
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def make(cluster: KubeCluster, namespace: str, data: dict[str, str]) -> None:
    metadata = {"name": REGISTER, "namespace": namespace}
    await cluster.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    )


@pytest.fixture
async def running(cluster: KubeCluster, namespace: str) -> AsyncIterator[Running]:
    await make(cluster, namespace, {"ghost": "of an older version"})
    one = Running(cluster, namespace)
    yield one
    await one.close()


async def test_a_shell_as_it_is_derived_may_start_and_a_bent_one_may_not(running: Running) -> None:
    app = await running.app()
    shell = await running.shell(app)
    await running.becomes({"app01": identify_shell(shell)})
    bent = await running.merge({"spec": {"template": {"spec": {"hostNetwork": True}}}})
    await running.refused(bent, "spec.template.spec.hostNetwork")
    straight = await running.merge({"spec": {"template": {"spec": {"hostNetwork": None}}}})
    await running.becomes({"app01": identify_shell(straight)})


async def test_what_has_started_or_stopped_has_no_entry(running: Running) -> None:
    shell = await running.shell(await running.app())
    await running.becomes({"app01": identify_shell(shell)})
    await running.merge({"spec": {"replicas": 1}})
    await running.becomes({})
    await running.merge(objects.make_stop_patch(1.0))
    other = await running.shell(await running.app("app02"))
    await running.becomes({"app02": identify_shell(other)})
    await running.cluster.delete(Kind.DEPLOYMENT, running.namespace, "app02-ssh")
    await running.becomes({})


async def test_an_app_that_moves_on_takes_the_right_to_start_away(running: Running) -> None:
    shell = await running.shell(await running.app(env={"A": "1"}))
    await running.becomes({"app01": identify_shell(shell)})
    await running.app(env={"A": "2"})
    # The template's hash is compared too.
    await running.refused(shell, "env[A].value", "stagedoor.dev/template")
    assert "2" not in (await running.written())["app01"].partition("value")[2], "no values"


async def test_an_app_that_is_not_or_offers_none_has_no_shell(running: Running) -> None:
    app = await running.app()
    await running.merge({"metadata": {"labels": {"stagedoor.dev/shell": "false"}}}, "app01")
    await running.refused(await running.shell(app), "no such app")
    await running.cluster.delete(Kind.DEPLOYMENT, running.namespace, "app01")
    await running.refused(await running.shell(app), "no such app")


async def test_a_wrong_annotation_is_named(running: Running) -> None:
    shell = await running.shell(await running.app())
    await running.becomes({"app01": identify_shell(shell)})
    await running.app(annotations={"grace": "often"})
    await running.refused(shell, "stagedoor.dev/grace", "often")


async def test_an_owner_by_another_uid_is_a_difference(running: Running) -> None:
    shell = await running.shell(await running.app())
    owner = {**shell["metadata"]["ownerReferences"][0], "uid": "another"}
    bent = await running.merge({"metadata": {"ownerReferences": [owner]}})
    await running.refused(bent, "metadata.ownerReferences[app01].uid")


async def test_claims_are_judged_by_their_access_modes(running: Running) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": running.namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    await running.cluster.create(claim)
    manifest = deployment(running.namespace, volumeMounts=[{"name": "data", "mountPath": "/data"}])
    manifest["spec"]["template"]["spec"]["volumes"] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    ]
    app = await running.cluster.apply(manifest)
    bent = await running.shell(app, data=("ReadWriteMany",))
    await running.refused(bent, "volumes")
    straight = await running.shell(app, data=("ReadWriteOnce",))
    await running.becomes({"app01": identify_shell(straight)})


async def test_another_kit_is_a_difference(running: Running) -> None:
    other = Running(running.cluster, running.namespace, Kit("stagedoor.test/kit:2"))
    try:
        for task in running.tasks:
            task.cancel()
        shell = await running.shell(await running.app())
        await other.refused(shell, "containers[kit].image")
    finally:
        await other.close()


async def test_an_app_at_which_we_fail_keeps_no_other_from_starting(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(app: Object, *rest: Any, **more: Any) -> Derived | WrongSettings:
        if app["metadata"]["name"] == "app01":
            raise KeyError("something that no app had before")
        return derive(app, *rest, **more)

    faults: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    one, other = await running.app(), await running.app("app02")
    monkeypatch.setattr("stagedoor.shells.kubernetes.live.register.derive", faulty)
    first, second = await running.shell(one), await running.shell(other)
    await running.refused(first, "a fault")
    async with asyncio.timeout(WITHIN_S):
        while (await running.written()).get("app02") != identify_shell(second):
            await asyncio.sleep(0.02)
    assert "app01" in faults[0]["message"]


async def test_two_gateways_agree_and_the_one_that_is_asked_is_first(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagedoor.shells.kubernetes.live.register.OTHER_GATEWAY_S", 3600.0)
    other = Running(running.cluster, running.namespace)
    try:
        app = await running.app()
        with other.register.judge_at_once("app01"):
            await other.becomes({"app01": identify_shell(await running.shell(app))})
    finally:
        await other.close()


async def test_a_register_that_is_not_there_is_told_and_written_once_it_is(
    cluster: KubeCluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagedoor.shells.kubernetes.live.register.RECHECK_PAUSE_S", 0.05)
    running = Running(cluster, namespace)
    try:
        shell = await running.shell(await running.app())
        await until(lambda: running.problems, WITHIN_S)
        assert "stagedoor-apps" in str(running.problems[0])
        await make(cluster, namespace, {})
        await running.becomes({"app01": identify_shell(shell)})
        await until(lambda: running.problems[-1] is None, WITHIN_S)
    finally:
        await running.close()
