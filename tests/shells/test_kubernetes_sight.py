"""The addresses that a gateway takes for a shell's, and those it does not."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stagedoor.model.cluster import Kind
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.live.namespace_cache import ClusterCache, NamespaceCache
from stagedoor.shells.kubernetes.live.start import make_shell
from stagedoor.shells.kubernetes.names import SHELL_OF
from tests.kube.apps import deployment
from tests.kube.memory import MemoryCluster

LABELS = {SHELL_OF: "app01"}


def owner(kind: str, name: str) -> dict[str, Any]:
    """As `MemoryCluster` gives uids."""
    reference = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "name": name,
        "uid": f"uid-apps-{kind}-{name}",
    }
    return {"ownerReferences": [{**reference, "controller": True}]}


def replica_set(name: str = "app01-ssh-1", of: str = "app01-ssh") -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": LABELS, **owner("Deployment", of)}}


def pod(name: str, address: str | None, *, ready: bool = True, **meta: Any) -> dict[str, Any]:
    owned = owner("ReplicaSet", "app01-ssh-1")
    return {
        "metadata": {"name": name, "labels": LABELS, **owned, **meta},
        "status": {
            "podIP": address,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def shell(replicas: int) -> dict[str, Any]:
    return {"metadata": {"name": "app01-ssh", "labels": LABELS}, "spec": {"replicas": replicas}}


def put(cluster: MemoryCluster, kind: Kind, found: dict[str, Any]) -> None:
    metadata = {"namespace": "apps", **found["metadata"]}
    cluster.put({**found, "kind": str(kind), "metadata": metadata})


class Seen:
    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster
        self.all = ClusterCache(cluster, ["apps"])
        self.cache = NamespaceCache(self.all, "apps")

    async def settled(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def addresses(self, *, ready: bool = True) -> list[tuple[str, int]]:
        await self.settled()
        return list(self.cache.list_addresses("app01", ready=ready))


@pytest.fixture
async def seen() -> AsyncIterator[Seen]:
    cluster = MemoryCluster()
    put(cluster, Kind.DEPLOYMENT, deployment("apps"))
    put(cluster, Kind.DEPLOYMENT, shell(1))
    put(cluster, Kind.REPLICA_SET, replica_set())
    made = Seen(cluster)
    tasks = [asyncio.create_task(work) for work in made.all.list_coroutines()]
    assert await made.cache.wait_until_synced(5)
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_sshd_s_port_is_the_one_that_its_container_names(seen: Seen) -> None:
    put(seen.cluster, Kind.POD, pod("a", "10.0.0.1"))
    assert await seen.addresses() == [("10.0.0.1", 2222)]
    ports = [{"name": "resume", "containerPort": 2223}, {"name": "ssh", "containerPort": 2200}]
    named = pod("a", "10.0.0.1")
    named["spec"] = {
        "containers": [{"name": "app", "ports": ports[:1]}, {"name": "shell", "ports": ports}]
    }
    put(seen.cluster, Kind.POD, named)
    assert await seen.addresses() == [("10.0.0.1", 2200)]


async def test_a_pod_has_an_endpoint_of_tunnels_if_its_container_names_the_port(seen: Seen) -> None:
    ports = [{"name": "ssh", "containerPort": 2222}, {"name": "resume", "containerPort": 2223}]
    fresh = pod("a", "10.0.0.1")
    fresh["spec"] = {"containers": [{"name": "kit"}, {"name": "shell", "ports": ports}]}
    sidecar = pod("b", "10.0.0.2")
    sidecar["spec"] = {"containers": [{"name": "app", "ports": ports}, {"name": "shell"}]}
    for made in (fresh, sidecar, pod("c", "10.0.0.3")):
        put(seen.cluster, Kind.POD, made)
    await seen.settled()
    addresses = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
    shells = [make_shell(Target("app01"), (address, 2222), seen.cache) for address in addresses]
    ports_there = [each.resume_port for each in shells]
    assert ports_there == [2223, None, None, None]


async def test_a_pod_that_is_being_deleted_is_left_to_those_who_are_in_it(seen: Seen) -> None:
    put(seen.cluster, Kind.POD, pod("a", "10.0.0.1", deletionTimestamp="2026-01-01T00:00:00Z"))
    put(seen.cluster, Kind.POD, pod("b", "10.0.0.2"))
    assert await seen.addresses() == [("10.0.0.2", 2222)]


async def test_the_newest_pod_comes_first(seen: Seen) -> None:
    put(seen.cluster, Kind.POD, pod("a", "10.0.0.1", creationTimestamp="2026-01-01T00:00:00Z"))
    put(seen.cluster, Kind.POD, pod("b", "10.0.0.2", creationTimestamp="2026-01-02T00:00:00Z"))
    assert [address for address, _ in await seen.addresses()] == ["10.0.0.2", "10.0.0.1"]


async def test_only_who_waits_for_a_start_dials_a_pod_that_is_not_ready(seen: Seen) -> None:
    put(seen.cluster, Kind.POD, pod("a", "10.0.0.1", ready=False))
    assert await seen.addresses() == []
    assert await seen.addresses(ready=False) == [("10.0.0.1", 2222)]


async def test_a_shell_that_is_scaled_to_zero_has_no_address_though_its_pod_still_ends(
    seen: Seen,
) -> None:
    put(seen.cluster, Kind.POD, pod("a", "10.0.0.1"))
    assert await seen.addresses() == [("10.0.0.1", 2222)]
    put(seen.cluster, Kind.DEPLOYMENT, shell(0))
    assert await seen.addresses() == []


@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize(
    "owners",
    [
        {"ownerReferences": []},
        {"ownerReferences": None},
        owner("ReplicaSet", "another"),
        owner("StatefulSet", "app01-ssh-1"),
        {
            "ownerReferences": [
                {**owner("ReplicaSet", "app01-ssh-1")["ownerReferences"][0], "uid": ""}
            ]
        },
        {
            "ownerReferences": [
                {**owner("ReplicaSet", "app01-ssh-1")["ownerReferences"][0], "controller": False}
            ]
        },
    ],
    ids=["none", "null", "stranger", "kind", "uid", "not-its-controller"],
)
async def test_a_pod_that_only_has_the_labels_is_not_dialled(
    seen: Seen, owners: dict[str, Any], ready: bool
) -> None:
    """Any client that may make pods in the namespace can give one these labels."""
    put(seen.cluster, Kind.POD, pod("a", "10.0.0.1", **owners))
    assert await seen.addresses(ready=ready) == []
    assert seen.cache.list_pods("app01") == []


async def test_a_pod_of_a_replica_set_that_is_not_the_shells_is_not_dialled(seen: Seen) -> None:
    put(seen.cluster, Kind.REPLICA_SET, replica_set("theirs", "app02-ssh"))
    put(seen.cluster, Kind.POD, pod("a", "10.0.0.1", **owner("ReplicaSet", "theirs")))
    assert await seen.addresses() == []


async def test_a_pod_of_a_deployment_that_was_there_before_is_not_dialled(seen: Seen) -> None:
    """Owners are compared by uid: a name can be taken again."""
    put(seen.cluster, Kind.POD, pod("a", "10.0.0.1"))
    assert await seen.addresses() == [("10.0.0.1", 2222)]
    del seen.cluster.objects[Kind.DEPLOYMENT, "apps", "app01-ssh"]
    put(seen.cluster, Kind.DEPLOYMENT, shell(1))
    assert await seen.addresses() == []


async def test_what_offers_no_shell_or_is_one_is_no_app(seen: Seen) -> None:
    other = deployment("apps", "app02")
    other["metadata"]["labels"] = {}
    put(seen.cluster, Kind.DEPLOYMENT, other)
    await seen.settled()
    assert seen.cache.list_apps() == ["app01"]
    assert seen.cache.find_app("app02") is None
    assert seen.cache.find_app("app01-ssh") is None
    # Another app's Deployment that is only called like our shell is none.
    stranger = deployment("apps", "app01-ssh")
    put(seen.cluster, Kind.DEPLOYMENT, stranger)
    await seen.settled()
    assert seen.cache.find_shell("app01") is None
