"""Namespaces that are served and namespaces that are lost: each works, or does not, by itself."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from stagedoor.admin.apps import Apps
from stagedoor.cli.apps import app_rows
from stagedoor.controller.loop import Controller
from stagedoor.controller.make import ShellWriter
from stagedoor.model.cluster import Kind
from stagedoor.model.denial import Denial
from stagedoor.model.shell import Shell
from stagedoor.model.target import Target
from stagedoor.settings.file import parse_settings
from stagedoor.shells.kubernetes.adapter import KubernetesShells
from stagedoor.shells.kubernetes.derive.kit import Kit
from tests.controller.test_stories import now
from tests.kube.apps import deployment
from tests.kube.memory import MemoryCluster, Pods
from tests.virtual_time import in_virtual_time

SPACES: Mapping[str | None, str] = {None: "apps", "lost": "apps-lost"}
HERE, THERE = Target("app01"), Target("app01", "lost")
SOON_S = 5.0
REFUSAL = "cannot read the namespace apps-lost: forbidden"


class Platform:
    """Two namespaces with an app each, gateways that come and go, and controllers."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster
        self._tasks: list[asyncio.Task[None]] = []
        self._shells: list[KubernetesShells] = []

    async def gateway(self) -> KubernetesShells:
        shells = KubernetesShells(self.cluster, SPACES, "gateway-1", now=now)
        self._shells.append(shells)
        shells.start()
        await asyncio.sleep(SOON_S)
        return shells

    async def controller(self) -> Controller:
        """Start a controller in place of the one before."""
        for task in self._tasks:
            task.cancel()
        writer = ShellWriter(
            self.cluster, lambda names: (b"key", "cert"), lambda _: (), (), "controller", now=now
        )
        controller = Controller(
            self.cluster,
            SPACES,
            writer,
            Kit("kit:1"),
            on_problem=lambda target, problem, again_s: None,
            now=now,
            clock=asyncio.get_running_loop().time,
        )
        self._tasks.append(asyncio.create_task(controller.run()))
        await asyncio.sleep(SOON_S)
        return controller

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        ends = (*self._tasks, *(shells.stop_watching() for shells in self._shells))
        await asyncio.gather(*ends, return_exceptions=True)


@asynccontextmanager
async def platform() -> AsyncIterator[Platform]:
    async def banner(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-memory\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(banner, "127.0.0.1", 0)
    cluster = MemoryCluster()
    Pods(cluster, server.sockets[0].getsockname(), "stagedoor: idle\n")
    for namespace in SPACES.values():
        cluster.put(deployment(namespace))
    made = Platform(cluster)
    try:
        yield made
    finally:
        await made.close()
        server.close()


async def enter(shells: KubernetesShells, target: Target) -> Shell | Denial:
    async with asyncio.timeout(60):
        return await shells.enter(target, lambda step: None)


@in_virtual_time
async def test_when_a_namespace_is_deleted_and_all_restart_logins_elsewhere_work() -> None:
    """The operator's story: delete a namespace, restart the controllers, log in elsewhere."""
    async with platform() as it:
        shells, _ = await it.gateway(), await it.controller()
        assert isinstance(await enter(shells, THERE), Shell)
        it.cluster.lose("apps-lost")
        shells, controller = await it.gateway(), await it.controller()
        assert isinstance(await enter(shells, HERE), Shell)
        assert controller.unserved() == {"apps-lost": REFUSAL}
        page = controller.measure().text()
        assert 'stagedoor_controller_namespaces{synced="true"} 1\n' in page
        assert 'stagedoor_controller_namespaces{synced="false"} 1\n' in page
        assert "stagedoor_controller_leading 1\n" in page
        assert shells.unserved() == {"lost": REFUSAL}
        settings = parse_settings(
            '[kubernetes]\nnamespaces = { "" = "apps", lost = "apps-lost" }\n', "the test's"
        )
        rows = await app_rows(Apps(settings, cast("Any", it.cluster), shells), {})
        assert [(row["target"], row["kind"], row["state"]) for row in rows] == [
            ("app01.ssh", "kubernetes", "ready"),
            ("*.lost.ssh", "namespace", "failed"),
        ]
        assert rows[1]["detail"] == f"the namespace apps-lost is not served: {REFUSAL}"
        assert [str(target) for target in shells.targets()] == ["app01.ssh"]

        it.cluster.restore("apps-lost")
        it.cluster.put(deployment("apps-lost"))
        await asyncio.sleep(SOON_S)
        assert isinstance(await enter(shells, THERE), Shell)
        assert controller.unserved() == shells.unserved() == {}


@in_virtual_time
async def test_a_namespace_is_unserved_as_soon_as_its_role_goes_and_leads_alone_no_more() -> None:
    async with platform() as it:
        controller = await it.controller()
        it.cluster.lose("apps-lost")
        await asyncio.sleep(SOON_S)
        assert controller.unserved() == {"apps-lost": REFUSAL}
        assert controller.measure().leading
        it.cluster.lose("apps")
        await asyncio.sleep(SOON_S)
        assert not controller.measure().leading, "it leads, and works nowhere"


@in_virtual_time
async def test_a_shell_of_a_namespace_that_is_not_seen_yet_is_left_alone() -> None:
    """An object that was not listed is not gone: nothing is deleted of it."""
    async with platform() as it:
        shells, _ = await it.gateway(), await it.controller()
        assert isinstance(await enter(shells, THERE), Shell)
        kept = set(it.cluster.objects)
        it.cluster.close_namespace("apps-lost")
        await it.controller()
        await asyncio.sleep(3600)
        assert {key for key in kept if key[1] == "apps-lost"} <= set(it.cluster.objects)
        assert (Kind.LEASE, "apps-lost", "app01-ssh") in it.cluster.objects


@in_virtual_time
async def test_a_login_into_a_lost_namespace_is_refused_at_once_and_says_why() -> None:
    async with platform() as it:
        it.cluster.lose("apps-lost")
        shells = await it.gateway()
        loop = asyncio.get_running_loop()
        began = loop.time()
        denial = await shells.unknown(THERE)
        assert denial is not None
        assert loop.time() - began < 1.0
        assert "the gateway has no access to the namespace apps-lost" in denial.message
        assert "kubectl" not in denial.message
        assert "stagedoor app" not in denial.message
