"""The gateway's half of a lease: one write for many who knock, none that undoes a stop."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.live.lease_writer import FRESH_S, LeaseWriter
from stagedoor.shells.kubernetes.live.namespace_cache import ClusterCache, NamespaceCache
from stagedoor.shells.kubernetes.ports import Cause
from tests.kube.apps import deployment
from tests.kube.memory import MemoryCluster

NOW = 1_800_000_000.0


class Gate:
    """A lease_writer over a cluster in memory; `now` is its clock."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster
        self.now = NOW
        self.all = ClusterCache(cluster, ["apps"])
        self.cache = NamespaceCache(self.all, "apps")
        self.lease_writer = LeaseWriter(cluster, self.cache, "gateway-1", lambda: self.now)

    def lease(self) -> Any:
        return self.cluster.objects[Kind.LEASE, "apps", "app01-ssh"]

    def renewed_at(self) -> float | None:
        return objects.read_renewal(self.lease())

    def writes(self) -> int:
        return len(self.cluster.asked)


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    cluster = MemoryCluster()
    cluster.put(deployment("apps"))
    made = Gate(cluster)
    tasks = [asyncio.create_task(work) for work in made.all.list_coroutines()]
    assert await made.cache.wait_until_synced(5)
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_first_knock_makes_the_lease_which_belongs_to_the_app(gate: Gate) -> None:
    await gate.lease_writer.request_shell("app01")
    lease = gate.lease()
    assert lease["spec"]["holderIdentity"] == "gateway-1"
    assert gate.renewed_at() == NOW
    (owner,) = lease["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("Deployment", "app01")


async def test_many_who_knock_at_once_cost_one_write(gate: Gate) -> None:
    await asyncio.gather(*(gate.lease_writer.request_shell("app01") for _ in range(50)))
    assert gate.writes() == 1


async def test_a_lease_that_another_gateway_made_meanwhile_is_renewed(gate: Gate) -> None:
    app = gate.cluster.objects[Kind.DEPLOYMENT, "apps", "app01"]
    # The watch has not brought it yet.
    gate.cluster.objects[Kind.LEASE, "apps", "app01-ssh"] = {
        **objects.build_lease(app, "gateway-2", NOW - 100),
        "metadata": {
            **objects.build_lease(app, "x", NOW)["metadata"],
            "uid": "u",
            "resourceVersion": "1",
        },
    }
    await gate.lease_writer.request_shell("app01")
    assert gate.renewed_at() == NOW


async def test_a_lease_that_went_meanwhile_is_made_again(gate: Gate) -> None:
    await gate.lease_writer.request_shell("app01")
    del gate.cluster.objects[
        Kind.LEASE, "apps", "app01-ssh"
    ]  # and the watch has not reported it yet
    gate.now += 100
    await gate.lease_writer.request_shell("app01")
    assert gate.renewed_at() == NOW + 100


async def test_a_knock_takes_an_old_failure_away_and_a_renewal_does_not(gate: Gate) -> None:
    await gate.lease_writer.request_shell("app01")
    failure = objects.make_failure_patch(Cause("quota", "no room"), NOW)
    gate.cache.leases.put(await gate.cluster.merge(Kind.LEASE, "apps", "app01-ssh", failure))
    gate.now += 100
    await gate.lease_writer.renew("app01")
    assert objects.read_failure_cause(gate.lease()) == Cause("quota", "no room")
    await gate.lease_writer.request_shell("app01")
    assert objects.read_failure_cause(gate.lease()) is None


async def test_what_anybody_renewed_a_moment_ago_is_left_as_it_is(gate: Gate) -> None:
    await gate.lease_writer.request_shell("app01")
    gate.lease_writer.count("app01", 1)
    gate.now += FRESH_S - 1
    assert await gate.lease_writer.renew_all() == []
    assert gate.writes() == 1
    gate.now += 2
    assert await gate.lease_writer.renew_all() == []
    assert gate.renewed_at() == gate.now


async def test_nobody_inside_renews_nothing(gate: Gate) -> None:
    await gate.lease_writer.request_shell("app01")
    gate.lease_writer.count("app01", 1)
    gate.lease_writer.count("app01", -1)
    gate.now += 1000
    assert await gate.lease_writer.renew_all() == []
    assert gate.writes() == 1


async def test_a_shell_that_was_told_to_stop_is_not_kept_but_can_be_asked_for_anew(
    gate: Gate,
) -> None:
    await gate.lease_writer.request_shell("app01")
    gate.cache.leases.put(
        await gate.cluster.merge(Kind.LEASE, "apps", "app01-ssh", objects.make_stop_request())
    )
    gate.now += 100
    await gate.lease_writer.renew("app01")
    assert gate.renewed_at() is None
    await gate.lease_writer.request_shell("app01")
    assert gate.renewed_at() == gate.now


async def test_what_cannot_be_renewed_is_told_and_the_others_are_still_renewed(gate: Gate) -> None:
    await gate.lease_writer.request_shell("app01")
    gate.lease_writer.count("app01", 1)
    gate.now += 100
    gate.cluster.down = True
    ((app, error),) = await gate.lease_writer.renew_all()
    assert app == "app01"
    assert isinstance(error, ClusterError)
