"""Shells on a real cluster do what every kind must: a controller beside, several gateways' adapters."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from stagedoor.controller.loop import Controller
from stagedoor.controller.shell_writer import ShellWriter
from stagedoor.keys.ca import CertificateAuthority
from stagedoor.keys.files import encode_private, format_public_line, make_key
from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.kubeconfig import load
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.adapter import KubernetesShells
from stagedoor.shells.kubernetes.derive.kit import Kit, KitSource
from stagedoor.shells.ports import Shells
from tests.fixtures.cluster import Cluster, cluster, fresh_namespace, kit
from tests.fixtures.people import APP01
from tests.kube.apps import deployment
from tests.shells.conformance import *  # noqa: F403 - the suite
from tests.shells.conformance import Kind
from tests.waiting import until

__all__ = ["cluster", "fresh_namespace", "kit"]

GATEWAYS = 6
"""As many as a test of the suite makes at most."""
SYNC_S = 60.0


def reach(path: Path, name: str) -> KubeCluster:
    return KubeCluster(
        load(path),
        field_manager="stagedoor",
        component=name,
        instance=name,
        on_problem=lambda what, problem: print(name, what, problem),
    )


async def ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait((task,))


@pytest.fixture
async def kind(
    cluster: Cluster, fresh_namespace: Callable[..., str], kit: str
) -> AsyncIterator[Kind]:
    namespace = fresh_namespace()
    image = await asyncio.to_thread(cluster.image, "busybox")
    ca = CertificateAuthority(make_key(), time.time)
    started: list[tuple[str, ...]] = []

    def new_host_key(names: tuple[str, ...]) -> tuple[bytes, str]:
        started.append(names)
        key = make_key()
        return encode_private(key), ca.sign_host(format_public_line(key), names, 3600)

    def app(image: str) -> None:
        manifest = deployment(namespace, APP01.app, image)
        cluster.administrator.has(manifest)

    async with AsyncExitStack() as stack:
        # An aborted transport closes its socket in a later turn of the loop.
        stack.push_async_callback(asyncio.sleep, 0.05)
        app(image)
        ours = reach(cluster.kubeconfig, "controller")
        stack.push_async_callback(ours.close_connections)
        controller = Controller(
            ours,
            {None: namespace},
            ShellWriter(
                ours, new_host_key, lambda _: (), (format_public_line(make_key()),), "controller"
            ),
            Kit(kit, KitSource.SIBLING),
            on_problem=lambda target, problem, again_s: print(target, problem, again_s),
        )
        running = asyncio.create_task(controller.run())
        stack.push_async_callback(ended, running)
        # Made and synced beforehand: the suite makes them at once, and asks at once.
        fresh: list[KubernetesShells] = []
        for number in range(GATEWAYS):
            name = f"gateway-{number}"
            theirs = reach(cluster.kubeconfig, name)
            stack.push_async_callback(theirs.close_connections)
            shells = KubernetesShells(theirs, {None: namespace}, name)
            stack.push_async_callback(shells.stop_watching)
            shells.start()
            fresh.append(shells)
        for shells in fresh:
            assert await shells.wait_until_synced(SYNC_S)

        def make() -> Shells:
            app(image)
            return fresh.pop()

        def broken() -> Shells:
            app("stagedoor.test/no-such-image:1")
            return fresh.pop()

        yield Kind(APP01, make, lambda: len(started), True, broken)


async def test_an_app_that_comes_or_goes_is_seen(
    kind: Kind, cluster: Cluster, fresh_namespace: Callable[..., str]
) -> None:
    shells = kind.make()
    namespace = shells._environments.served[None].cache.namespace  # type: ignore[attr-defined]
    manifest = json.dumps(deployment(namespace, "app02"))
    await asyncio.to_thread(cluster.kubectl, "apply", "--server-side", "-f", "-", text=manifest)
    await until(lambda: shells.has_target(Target("app02")), SYNC_S)
    assert shells.list_targets() == (APP01, Target("app02"))
    await asyncio.to_thread(cluster.kubectl, "-n", namespace, "delete", "deployment", "app02")
    await until(lambda: not shells.has_target(Target("app02")), SYNC_S)
