"""The account that prepares namespaces, over a cluster in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from stagedoor.controller.binder import (
    EMPTY_S,
    ENDING,
    NOT_SERVED,
    ROUND_S,
    BindingController,
    has_all,
)
from stagedoor.model.cluster import Kind
from stagedoor.shells.kubernetes.names import make_run_labels, make_shell_labels
from tests.controller.test_namespaces_by_label import SELECTOR, environment, namespace
from tests.kube.memory import MemoryCluster
from tests.virtual_time import in_virtual_time

NAME = "gateway.stagedoor"
BINDING = (Kind.ROLE_BINDING, "team", NAME)
REGISTER = (Kind.CONFIG_MAP, "team", "stagedoor-apps")


def manifest(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **fields}


def lease(name: str) -> dict[str, Any]:
    meta = {"name": "app01-ssh", "namespace": name, "labels": make_shell_labels("app01")}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}


def ended_run(name: str) -> dict[str, Any]:
    meta = {"name": "run-1", "namespace": name, "labels": make_run_labels("app01")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": {"phase": "Succeeded"}}


OBJECTS = [
    manifest("RoleBinding", NAME, subjects=[{"name": "gateway"}]),
    manifest("ConfigMap", "stagedoor-apps"),
]


@asynccontextmanager
async def binding(cluster: MemoryCluster) -> AsyncIterator[list[tuple[str, str | None]]]:
    problems: list[tuple[str, str | None]] = []
    cluster.put(manifest("ClusterRole", "binder.stagedoor"))
    binder = BindingController(
        cluster, SELECTOR, OBJECTS, "binder.stagedoor", lambda *problem: problems.append(problem)
    )
    working = asyncio.create_task(binder.run())
    try:
        await asyncio.sleep(1)
        yield problems
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


@pytest.mark.platform(29)
@in_virtual_time
async def test_a_namespace_gets_its_bindings_with_the_label_and_loses_them_after_its_last_shell() -> (
    None
):
    cluster = MemoryCluster()
    async with binding(cluster):
        cluster.put(namespace("team"))
        await asyncio.sleep(1)
        assert {BINDING, REGISTER} <= cluster.objects.keys()
        [owner] = cluster.objects[BINDING]["metadata"]["ownerReferences"]
        assert owner["name"] == "binder.stagedoor", "an uninstall deletes it, and what it owns"
        cluster.put(lease("team"))
        cluster.put(namespace("team", {}))
        await asyncio.sleep(3600)
        assert {BINDING, REGISTER} <= cluster.objects.keys()
        assert [reason for reason, _ in cluster.events] == [ENDING], "it is reported once"
        assert cluster.reported[0]["regarding"]["name"] == "team"
        cluster.put(ended_run("team"))
        cluster.drop((Kind.LEASE, "team", "app01-ssh"))
        await asyncio.sleep(EMPTY_S - 5)
        assert {BINDING, REGISTER} <= cluster.objects.keys()
        await asyncio.sleep(10)
        assert not {BINDING, REGISTER} & cluster.objects.keys()


@in_virtual_time
async def test_what_a_tenant_changes_or_deletes_is_mended_within_a_round() -> None:
    cluster = MemoryCluster()
    async with binding(cluster):
        cluster.put(namespace("team"))
        await asyncio.sleep(1)
        cluster.put({**cluster.objects[BINDING], "subjects": [{"name": "gateway"}, {"name": "me"}]})
        cluster.drop(REGISTER)
        await asyncio.sleep(ROUND_S + 1)
        assert cluster.objects[BINDING]["subjects"] == [{"name": "gateway"}]
        assert REGISTER in cluster.objects


@pytest.mark.platform(30)
@in_virtual_time
async def test_an_event_says_why_a_namespace_is_not_served() -> None:
    cluster = MemoryCluster()
    async with binding(cluster):
        cluster.put(namespace("team"))
        cluster.put(namespace("twin", environment("team")))
        await asyncio.sleep(ROUND_S + 1)
        assert sorted(event["regarding"]["name"] for event in cluster.reported) == ["team", "twin"]
        assert "the namespace twin has the environment 'team' as well" in cluster.events[0][1]
        cluster.refused["apply RoleBinding"] = "no such right"
        cluster.put(namespace("twin"))
        await asyncio.sleep(1)
        assert (NOT_SERVED, "no such right") in cluster.events


@pytest.mark.platform(31)
@in_virtual_time
async def test_nothing_is_written_or_deleted_in_a_namespace_without_the_label() -> None:
    """A ConfigMap of that name is another installation's there."""
    cluster = MemoryCluster()
    foreign = manifest("ConfigMap", "stagedoor-apps")
    cluster.put({**foreign, "metadata": {**foreign["metadata"], "namespace": "foreign"}})
    for name in ("foreign", "plain"):
        cluster.put(namespace(name, {"stagedoor.dev/shells": "yes"}))
    cluster.put(namespace("stagedoor"))
    async with binding(cluster) as problems:
        await asyncio.sleep(3 * ROUND_S)
        assert not cluster.asked
        assert {problem for _, problem in problems} == {None}


@in_virtual_time
async def test_labels_that_flip_quickly_leave_what_the_last_one_says() -> None:
    cluster = MemoryCluster()
    async with binding(cluster):
        for last in (1, 0):
            for flip in range(20 + last):
                cluster.put(
                    namespace("team", {} if (flip + last) % 2 else {"stagedoor.dev/shells": "true"})
                )
                await asyncio.sleep(0.003 * flip)
            await asyncio.sleep(EMPTY_S + 10)
            labels = cluster.objects[Kind.NAMESPACE, "", "team"]["metadata"]["labels"]
            assert (BINDING in cluster.objects) == (REGISTER in cluster.objects) == bool(labels)


@in_virtual_time
async def test_a_refused_write_is_reported_and_tried_again_and_other_namespaces_go_on() -> None:
    cluster = MemoryCluster()
    cluster.close_namespace("team")
    async with binding(cluster) as problems:
        for name in ("team", "other"):
            cluster.put(namespace(name))
        await asyncio.sleep(1)
        assert (Kind.ROLE_BINDING, "other", NAME) in cluster.objects
        assert ("team", "cannot read the namespace team: forbidden") in problems
        cluster.restore("team")
        await asyncio.sleep(5)
        assert BINDING in cluster.objects
        assert problems[-1] == ("team", None)


def test_an_object_has_all_of_a_manifest_only_if_its_lists_are_as_long() -> None:
    assert has_all({"a": 1, "b": [{"c": 2, "d": 3}]}, {"b": [{"c": 2}]})
    assert not has_all({"b": [{"c": 2}, {"c": 4}]}, {"b": [{"c": 2}]})
    assert not has_all(None, {"b": 1})
