"""Namespaces that are served and namespaces that are lost: each works, or does not, by itself.

The rights to read are those of the whole cluster (`wide`), or of each namespace.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from stagedoor.admin.apps import Apps
from stagedoor.api.apps import list_cluster_shells
from stagedoor.controller.loop import CONCURRENCY, Controller
from stagedoor.controller.shell_writer import ShellWriter
from stagedoor.model.cluster import Kind
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.shell import Shell
from stagedoor.model.target import Target
from stagedoor.settings.file import parse_settings
from stagedoor.shells.kubernetes.adapter import KubernetesShells
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.live.bounds import DEFAULT_BOUNDS, ShellBounds
from stagedoor.shells.kubernetes.live.namespace_directory import Namespaces
from tests.controller.test_stories import now
from tests.kube.apps import deployment
from tests.kube.memory import MemoryCluster, Pods
from tests.virtual_time import in_virtual_time

NAMESPACES: Mapping[str | None, str] = {None: "apps", "lost": "apps-lost"}
HERE, THERE = Target("app01"), Target("app01", "lost")
SOON_S = 30.0
"""Long enough to notice that the right to write in one of two namespaces was lost."""
REFUSALS = {
    True: "this account may not write in the namespace apps-lost, which was deleted or lost its Role",
    False: "cannot read the namespace apps-lost: forbidden",
}
in_both_modes = pytest.mark.parametrize("wide", [True, False], ids=["cluster", "namespaces"])


class Platform:
    """Two namespaces with an app each, gateways that come and go, and controllers."""

    def __init__(self, cluster: MemoryCluster, namespaces: Namespaces = NAMESPACES) -> None:
        self.cluster = cluster
        self.namespaces = namespaces
        self._tasks: list[asyncio.Task[None]] = []
        self._shells: list[KubernetesShells] = []

    async def gateway(self, bounds: ShellBounds = DEFAULT_BOUNDS) -> KubernetesShells:
        shells = KubernetesShells(
            self.cluster, self.namespaces, "gateway-1", bounds=bounds, now=now
        )
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
            self.namespaces,
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
async def platform(
    *, wide: bool = True, namespaces: Namespaces = NAMESPACES
) -> AsyncIterator[Platform]:
    async def banner(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-memory\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(banner, "127.0.0.1", 0)
    cluster = MemoryCluster(wide=wide)
    Pods(cluster, server.sockets[0].getsockname(), "stagedoor: idle\n")
    for namespace in NAMESPACES.values():
        cluster.put(deployment(namespace))
    made = Platform(cluster, namespaces)
    try:
        yield made
    finally:
        await made.close()
        server.close()


async def enter(shells: KubernetesShells, target: Target) -> Shell | Denial:
    async with asyncio.timeout(60):
        return await shells.start_without_grant(target, lambda step: None)


@in_both_modes
@in_virtual_time
async def test_when_a_namespace_is_deleted_and_all_restart_logins_elsewhere_work(
    wide: bool,
) -> None:
    """The operator's story: delete a namespace, restart the controllers, log in elsewhere."""
    refusal = REFUSALS[wide]
    async with platform(wide=wide) as it:
        shells, _ = await it.gateway(), await it.controller()
        assert isinstance(await enter(shells, THERE), Shell)
        it.cluster.lose("apps-lost")
        shells, controller = await it.gateway(), await it.controller()
        assert isinstance(await enter(shells, HERE), Shell)
        assert controller.list_unserved() == {"apps-lost": refusal}
        page = controller.measure().to_text()
        assert 'stagedoor_controller_namespaces{synced="true"} 1\n' in page
        assert 'stagedoor_controller_namespaces{synced="false"} 1\n' in page
        assert "stagedoor_controller_leading 1\n" in page
        assert shells.list_unserved() == {"lost": refusal}
        settings = parse_settings(
            '[kubernetes]\nnamespaces = { "" = "apps", lost = "apps-lost" }\n', "the test's"
        )
        rows = await list_cluster_shells(Apps(settings, cast("Any", it.cluster), shells), {})
        assert [(row.target, row.kind, row.state) for row in rows] == [
            ("app01.ssh", "kubernetes", "ready"),
            ("*.lost.ssh", "namespace", "failed"),
        ]
        assert rows[1].detail == f"the namespace apps-lost is not served: {refusal}"
        assert [str(target) for target in shells.list_targets()] == ["app01.ssh"]

        it.cluster.restore("apps-lost")
        it.cluster.put(deployment("apps-lost"))
        await asyncio.sleep(SOON_S)
        assert isinstance(await enter(shells, THERE), Shell)
        assert controller.list_unserved() == shells.list_unserved() == {}


@in_both_modes
@in_virtual_time
async def test_a_namespace_is_unserved_as_soon_as_its_role_goes_and_leads_alone_no_more(
    wide: bool,
) -> None:
    async with platform(wide=wide) as it:
        controller = await it.controller()
        it.cluster.lose("apps-lost")
        await asyncio.sleep(SOON_S)
        assert controller.list_unserved() == {"apps-lost": REFUSALS[wide]}
        assert controller.measure().leading
        it.cluster.lose("apps")
        await asyncio.sleep(SOON_S)
        assert not controller.measure().leading, "it leads, and works nowhere"


@in_both_modes
@in_virtual_time
async def test_a_shell_of_a_namespace_that_is_not_seen_yet_is_left_alone(wide: bool) -> None:
    """An object that was not listed is not gone: nothing is deleted of it."""
    async with platform(wide=wide) as it:
        shells, _ = await it.gateway(), await it.controller()
        assert isinstance(await enter(shells, THERE), Shell)
        kept = set(it.cluster.objects)
        it.cluster.close_namespace("apps-lost")
        await it.controller()
        await asyncio.sleep(3600)
        assert {key for key in kept if key[1] == "apps-lost"} <= set(it.cluster.objects)
        assert (Kind.LEASE, "apps-lost", "app01-ssh") in it.cluster.objects


@in_both_modes
@in_virtual_time
async def test_a_login_into_a_lost_namespace_is_refused_at_once_and_says_why(wide: bool) -> None:
    async with platform(wide=wide) as it:
        it.cluster.lose("apps-lost")
        shells = await it.gateway()
        loop = asyncio.get_running_loop()
        began = loop.time()
        grant = Grant(Identity("alice", frozenset(), Method.PUBLIC_KEY), THERE, 1, None)
        denial = await shells.ensure(grant, lambda step: None)
        assert isinstance(denial, Denial)
        assert loop.time() - began < 1.0
        assert "the gateway has no access to the namespace apps-lost" in denial.message
        assert "kubectl" not in denial.message
        assert "stagedoor app" not in denial.message


@in_virtual_time
async def test_a_login_into_a_namespace_without_its_role_is_refused_and_a_running_shell_is_not() -> (
    None
):
    """The whole cluster can be read, so the app is known; only the lease cannot be written."""
    async with platform() as it:
        shells, _ = await it.gateway(), await it.controller()
        assert isinstance(await enter(shells, THERE), Shell)
        it.cluster.close_namespace("apps-lost")
        await asyncio.sleep(SOON_S)
        assert isinstance(await enter(shells, THERE), Shell)
        it.cluster.put(deployment("apps-lost", "app02"))
        await asyncio.sleep(SOON_S)
        denial = await enter(shells, Target("app02", "lost"))
        assert isinstance(denial, Denial)
        assert "the gateway has no access to the namespace apps-lost" in denial.message
        it.cluster.restore("apps-lost")
        await asyncio.sleep(SOON_S)
        assert isinstance(await enter(shells, Target("app02", "lost")), Shell)


@pytest.mark.platform(32)
@in_virtual_time
async def test_a_process_has_few_watches_however_many_namespaces_there_are() -> None:
    async with platform() as it:
        await it.controller()
        of_controller = it.cluster.watches()
        assert of_controller <= 14
        await it.gateway()
        assert it.cluster.watches() - of_controller <= 14


@pytest.mark.platform(32)
@in_virtual_time
async def test_only_apps_with_a_shell_are_read_and_looked_at() -> None:
    """Neither a start of the controller, nor a change of the policy or of the apps, reads the others."""
    async with platform() as it:
        for number in range(200):
            it.cluster.put(deployment("apps", f"other{number}"))
        shells, controller = await it.gateway(), await it.controller()
        assert isinstance(await enter(shells, HERE), Shell)
        controller = await it.controller()
        controller.queue_all()
        for number in range(200):
            it.cluster.put(deployment("apps", f"other{number}", env={"A": "2"}))
        await asyncio.sleep(SOON_S)
        page = controller.measure().to_text()
        assert "stagedoor_controller_apps 202\n" in page
        assert controller.metrics.decisions.total() <= 4
        assert not [key for key in it.cluster.read if key[2].startswith("other")]


@pytest.mark.platform(32)
@in_virtual_time
async def test_after_a_restart_a_login_does_not_wait_until_all_shells_were_looked_at() -> None:
    async with platform() as it:
        shells, _ = await it.gateway(), await it.controller()
        targets = [Target(f"app{number}") for number in range(10, 110)]
        for target in targets:
            it.cluster.put(deployment("apps", target.app))
        await asyncio.sleep(SOON_S)
        for target in targets:
            assert isinstance(await enter(shells, target), Shell)
        it.cluster.read_s = 10.0
        restarted = asyncio.create_task(it.controller())
        await asyncio.sleep(1)
        it.cluster.read.clear()
        assert isinstance(await enter(shells, HERE), Shell)
        assert len(it.cluster.read) <= 4 * CONCURRENCY
        await restarted


@in_virtual_time
async def test_an_app_that_goes_or_offers_no_shell_as_its_shell_starts_has_none() -> None:
    """The watch is behind: only the read for the start shows it."""
    async with platform() as it:
        shells, _ = await it.gateway(), await it.controller()
        it.cluster.read_s = 1.0
        login = asyncio.create_task(enter(shells, HERE))
        await asyncio.sleep(0.5)
        app = it.cluster.objects[Kind.DEPLOYMENT, "apps", "app01"]
        it.cluster.put({**app, "metadata": {**app["metadata"], "labels": {}}})
        await asyncio.sleep(SOON_S)
        login.cancel()
        left = {kind for kind, namespace, name in it.cluster.objects if name == "app01-ssh"}
        assert left <= {Kind.LEASE}
