"""A namespace whose RoleBinding is deleted, at the real API server's RBAC: the others are served on.

The account may read the whole cluster, or each namespace by itself.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress

import pytest

from stagedoor.controller.loop import Controller
from stagedoor.controller.shell_writer import ShellWriter
from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.http import HttpRequest
from stagedoor.shells.kubernetes.derive.kit import Kit
from tests.cluster.asking import namespace_of
from tests.kube.api.conftest import Connect
from tests.kube.api.lone import UNPRIVILEGED
from tests.kube.api.one_app import ALL, OneApp
from tests.kube.apps import deployment
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server


RBAC = "/apis/rbac.authorization.k8s.io/v1"
ACCOUNT = {"kind": "User", "name": UNPRIVILEGED}


async def rbac(cluster: KubeCluster, method: str, path: str, body: object = None) -> None:
    request = HttpRequest(method, f"{RBAC}/{path}", json.dumps(body or {}).encode())
    answer = await cluster.http.send(request, 10)
    assert answer.status < 300, answer.body


async def bind(cluster: KubeCluster, namespace: str) -> None:
    """Give the controller's account all rights in `namespace`."""
    binding = {
        "metadata": {"name": "all"},
        "subjects": [ACCOUNT],
        "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
    }
    await rbac(cluster, "POST", f"namespaces/{namespace}/rolebindings", binding)


@asynccontextmanager
async def reads(cluster: KubeCluster) -> AsyncIterator[None]:
    """Let the controller's account list and watch the whole cluster."""
    meta = {"metadata": {"name": "reads"}}
    rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["list", "watch"]}
    role = {"kind": "ClusterRole", "name": "reads"}
    await rbac(cluster, "POST", "clusterroles", {**meta, "rules": [rule]})
    binding = {**meta, "subjects": [ACCOUNT], "roleRef": role}
    await rbac(cluster, "POST", "clusterrolebindings", binding)
    try:
        yield
    finally:
        for plural in ("clusterrolebindings", "clusterroles"):
            await rbac(cluster, "DELETE", f"{plural}/reads")


async def until_unserved(controller: Controller, namespaces: set[str]) -> None:
    await until(lambda: controller.list_unserved().keys() == namespaces)


@pytest.mark.parametrize("wide", [True, False], ids=["cluster", "namespaces"])
async def test_without_its_role_binding_a_namespace_is_lost_alone_and_served_again_with_it(
    cluster: KubeCluster, connect: Connect, namespace: str, wide: bool
) -> None:
    async with reads(cluster) if wide else nullcontext():
        said = "may not write in" if wide else "forbidden"
        await lose_and_find(cluster, connect(UNPRIVILEGED), namespace, said)


async def lose_and_find(
    cluster: KubeCluster, account: KubeCluster, namespace: str, said: str
) -> None:
    lost = f"{namespace}-lost"
    await cluster.create(namespace_of(lost))
    await bind(cluster, namespace)
    one_app = OneApp(cluster, namespace)
    one_app.app = await cluster.create(deployment(namespace))
    controller = Controller(
        account,
        {None: namespace, "lost": lost},
        ShellWriter(account, lambda names: (b"key", "certificate"), lambda _: (), (), "controller"),
        Kit("kit:1"),
        on_problem=lambda target, problem, again_s: None,
    )
    working = asyncio.create_task(controller.run())
    try:
        await until_unserved(controller, {lost})
        assert said in controller.list_unserved()[lost]
        await one_app.request_shell()
        await one_app.until(ALL)
        assert controller.measure().leading
        await bind(cluster, lost)
        await until_unserved(controller, set())
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
