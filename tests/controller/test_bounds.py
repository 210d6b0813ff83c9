"""The bounds on running shells: of a user, and of a namespace."""

import asyncio

import pytest

from stagedoor.model.cluster import Kind
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.shell import Shell
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.adapter import KubernetesShells
from stagedoor.shells.kubernetes.live.bounds import ShellBounds
from stagedoor.shells.kubernetes.names import REQUESTED_BY
from tests.controller.test_namespaces import Platform, platform
from tests.kube.apps import deployment
from tests.virtual_time import in_virtual_time


async def gateway(it: Platform, bounds: ShellBounds) -> KubernetesShells:
    """Start a gateway and a controller for five apps in each namespace."""
    for namespace in ("apps", "apps-lost"):
        for number in range(2, 6):
            it.cluster.put(deployment(namespace, f"app0{number}"))
    await it.controller()
    return await it.gateway(bounds)


async def log_in(shells: KubernetesShells, target: Target, user: str) -> Shell | Denial:
    grant = Grant(Identity(user, frozenset(), Method.PUBLIC_KEY), target, 1, None)
    async with asyncio.timeout(60):
        return await shells.ensure(grant, lambda step: None)


@in_virtual_time
async def test_a_user_starts_no_more_shells_than_the_bound_in_all_namespaces_together() -> None:
    async with platform() as it:
        shells = await gateway(it, ShellBounds(per_user=2, per_namespace=100))
        for target in (Target("app01"), Target("app02", "lost")):
            assert isinstance(await log_in(shells, target, "mallory"), Shell)
        denial = await log_in(shells, Target("app03"), "mallory")
        assert isinstance(denial, Denial)
        assert "you have 2 running shells" in denial.message
        assert (Kind.LEASE, "apps", "app03-ssh") not in it.cluster.objects
        # The user enters what runs already, others start what they like, and who asked is on the lease.
        assert isinstance(await log_in(shells, Target("app01"), "mallory"), Shell)
        assert isinstance(await log_in(shells, Target("app03"), "alice"), Shell)
        lease = it.cluster.objects[Kind.LEASE, "apps", "app03-ssh"]
        assert lease["metadata"]["annotations"][REQUESTED_BY] == "alice"
        # Another gateway counts the same shells.
        other = await it.gateway(ShellBounds(per_user=2))
        assert isinstance(await log_in(other, Target("app04"), "mallory"), Denial)


@in_virtual_time
async def test_many_logins_at_once_start_no_more_than_the_bound() -> None:
    async with platform() as it:
        shells = await gateway(it, ShellBounds(per_user=2))
        targets = [Target(f"app0{number}") for number in range(1, 6)]
        outcomes = await asyncio.gather(*(log_in(shells, target, "mallory") for target in targets))
        assert sum(isinstance(outcome, Shell) for outcome in outcomes) == 2


@in_virtual_time
async def test_a_namespace_has_no_more_shells_than_its_bound_until_one_stops() -> None:
    async with platform() as it:
        shells = await gateway(it, ShellBounds(per_namespace=2))
        for number, user in enumerate(("alice", "bob"), 1):
            assert isinstance(await log_in(shells, Target(f"app0{number}"), user), Shell)
        denial = await log_in(shells, Target("app03"), "carol")
        assert isinstance(denial, Denial)
        assert "its namespace has 2 running shells" in denial.message
        assert isinstance(await log_in(shells, Target("app03", "lost"), "carol"), Shell)
        await asyncio.sleep(3600)
        assert isinstance(await log_in(shells, Target("app03"), "carol"), Shell)


@pytest.mark.parametrize("field", ["per_user", "per_namespace"])
@in_virtual_time
async def test_a_start_that_failed_counts_no_more(field: str) -> None:
    async with platform() as it:
        shells = await gateway(it, ShellBounds(**{field: 1}))
        it.cluster.refused["apply Deployment"] = "exceeded quota: q"
        assert isinstance(await log_in(shells, Target("app01"), "alice"), Denial)
        it.cluster.refused.clear()
        assert isinstance(await log_in(shells, Target("app02"), "alice"), Shell)
