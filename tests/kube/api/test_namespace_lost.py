"""A namespace whose RoleBinding is deleted, at the real API server's RBAC: the others are served on."""

import asyncio
import json
from contextlib import suppress

import pytest

from stagedoor.controller.loop import Controller
from stagedoor.controller.make import ShellWriter
from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.http import HttpRequest
from stagedoor.shells.kubernetes.derive.kit import Kit
from tests.cluster.asking import namespace_of
from tests.kube.api.conftest import Connect
from tests.kube.api.lone import UNPRIVILEGED
from tests.kube.api.one_app import ALL, BOUND_S, OneApp
from tests.kube.apps import deployment

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server


async def rbac(cluster: KubeCluster, method: str, namespace: str, path: str, body: object) -> None:
    url = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{path}"
    answer = await cluster.http.ask(HttpRequest(method, url, json.dumps(body).encode()), 10)
    assert answer.status < 300, answer.body


async def bind(cluster: KubeCluster, namespace: str) -> None:
    """Give the controller's account all rights in `namespace`."""
    binding = {
        "metadata": {"name": "all"},
        "subjects": [{"kind": "User", "name": UNPRIVILEGED}],
        "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
    }
    await rbac(cluster, "POST", namespace, "rolebindings", binding)


async def until_unserved(controller: Controller, namespaces: set[str]) -> None:
    async with asyncio.timeout(BOUND_S):
        while controller.unserved().keys() != namespaces:
            await asyncio.sleep(0.02)


async def test_without_its_role_binding_a_namespace_is_lost_alone_and_served_again_with_it(
    cluster: KubeCluster, connect: Connect, namespace: str
) -> None:
    lost = f"{namespace}-lost"
    await cluster.create(namespace_of(lost))
    await bind(cluster, namespace)
    one_app = OneApp(cluster, namespace)
    one_app.app = await cluster.create(deployment(namespace))
    account = connect(UNPRIVILEGED)
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
        assert "forbidden" in controller.unserved()[lost]
        await one_app.request_shell()
        await one_app.until(ALL)
        assert controller.measure().leading
        await bind(cluster, lost)
        await until_unserved(controller, set())
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
