"""Elections over a Lease of the real API server."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.election import Election
from stagedoor.kube.lease import Timing
from stagedoor.model.cluster import Kind
from tests.kube.api.conftest import Connect
from tests.kube.api.lone import LoneApi
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server

QUICK = Timing(lease_s=2, renew_within_s=1.2, retry_s=0.3)
SHORT = Timing(lease_s=6, renew_within_s=4, retry_s=0.3)
STEADY = Timing(lease_s=30, renew_within_s=20, retry_s=0.3)
"""A leader that a busy machine holds up keeps its place, and no replica waits for the lease's end unseen."""

AT_ONCE_S = 15.0
"""Less than a leader has that only cannot renew."""


class Replica:
    """One that would lead, and what it does while it does."""

    def __init__(
        self, cluster: KubeCluster, namespace: str, name: str, timing: Timing = QUICK
    ) -> None:
        self.problems: list[str | None] = []
        self.leading = asyncio.Event()
        self.stopped = asyncio.Event()
        self.election = Election(
            cluster.with_priority(),
            namespace,
            "controller",
            name,
            on_problem=self.problems.append,
            timing=timing,
        )
        self.task = asyncio.create_task(self.election.run(self.lead))

    async def lead(self) -> None:
        self.leading.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait((self.task,))


async def within(seconds: float, event: asyncio.Event) -> None:
    async with asyncio.timeout(seconds):
        await event.wait()


async def test_one_of_three_leads_and_hands_over_when_it_stops(
    cluster: KubeCluster, namespace: str
) -> None:
    replicas = [Replica(cluster, namespace, f"replica-{n}", STEADY) for n in range(3)]
    await until(lambda: any(replica.leading.is_set() for replica in replicas), 60)
    [first] = [replica for replica in replicas if replica.leading.is_set()]
    lease = await cluster.get(Kind.LEASE, namespace, "controller")
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == first.election.identity
    await first.stop()
    assert first.stopped.is_set()
    assert not first.election.leads
    rest = [replica for replica in replicas if replica is not first]
    # Without the hand-over they would wait for the lease's 30 s.
    await until(lambda: any(replica.leading.is_set() for replica in rest), 15)
    [second] = [replica for replica in rest if replica.leading.is_set()]
    lease = await cluster.get(Kind.LEASE, namespace, "controller")
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == second.election.identity
    assert lease["spec"]["leaseTransitions"] >= 1
    for replica in rest:
        await replica.stop()


async def test_a_leader_that_loses_the_api_stops_before_anybody_else_may_lead(
    api: LoneApi, cluster: KubeCluster, namespace: str
) -> None:
    timing = Timing(lease_s=10, renew_within_s=4, retry_s=0.3)
    replica = Replica(cluster, namespace, "replica", timing)
    await within(60, replica.leading)
    replica.leading.clear()
    api.freeze()
    try:
        await within(timing.lease_s, replica.stopped)
        assert not replica.election.leads
    finally:
        api.thaw()
    await within(60, replica.leading)
    assert replica.problems[-1] is None
    assert any(problem for problem in replica.problems)
    await replica.stop()


async def test_a_leader_whose_lease_is_taken_stops_at_once(
    cluster: KubeCluster, namespace: str
) -> None:
    replica = Replica(cluster, namespace, "replica", STEADY)
    await within(60, replica.leading)
    await cluster.merge(
        Kind.LEASE,
        namespace,
        "controller",
        {"spec": {"holderIdentity": "an-administrator", "leaseDurationSeconds": 1}},
    )
    await within(AT_ONCE_S, replica.stopped)
    assert not replica.election.leads
    await replica.stop()


async def test_what_the_leader_raises_comes_out_and_the_lease_is_given_back(
    cluster: KubeCluster, namespace: str
) -> None:
    async def lead() -> None:
        raise RuntimeError("broken")

    election = Election(cluster.with_priority(), namespace, "controller", "replica", timing=QUICK)
    with pytest.raises(RuntimeError, match="broken"):
        await asyncio.wait_for(election.run(lead), 60)
    lease = await cluster.get(Kind.LEASE, namespace, "controller")
    assert lease is not None
    assert lease["spec"].get("holderIdentity", "") == ""


async def test_the_lease_is_kept_while_the_leader_tidies_up(
    cluster: KubeCluster, namespace: str
) -> None:
    tidied = asyncio.Event()

    async def lead() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(SHORT.lease_s + 0.5)
            tidied.set()

    election = Election(cluster.with_priority(), namespace, "controller", "slow", timing=SHORT)
    running = asyncio.create_task(election.run(lead))
    await until(lambda: election.leads, 60)
    other = Replica(cluster, namespace, "other", SHORT)
    running.cancel()
    await within(60, other.leading)
    assert tidied.is_set()
    await asyncio.wait((running,))
    await other.stop()


PROGRAM = """
import asyncio, sys
from pathlib import Path
from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.election import Election
from stagedoor.kube.kubeconfig import load

async def main():
    cluster = KubeCluster(load(Path(sys.argv[1])), field_manager="t", component="t", instance="t",
                          on_problem=lambda *_: None)
    async def lead():
        print("leads", flush=True)
        await asyncio.Event().wait()
    await Election(cluster.with_priority(), sys.argv[2], "controller", sys.argv[3]).run(lead)

asyncio.run(main())
"""


async def test_a_leader_killed_by_sigkill_is_followed(
    api: LoneApi, namespace: str, connect: Connect
) -> None:
    """Two processes, with the figures as they are: test_lease.py proves 15 s of a network that answers,
    and a busy machine may take as much again."""
    kubeconfig = api.kubeconfig()
    first = await _process(kubeconfig, namespace, "first")
    assert first.stdout is not None
    async with asyncio.timeout(60):
        assert await first.stdout.readline() == b"leads\n"
    second = await _process(kubeconfig, namespace, "second")
    assert second.stdout is not None
    cluster = connect()
    try:
        # Killed just after a renewal: the longest that one can wait.
        renewed = await _renewed(cluster, namespace)
        async with asyncio.timeout(60):
            while await _renewed(cluster, namespace) == renewed:
                await asyncio.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        began = time.monotonic()
        async with asyncio.timeout(30):
            assert await second.stdout.readline() == b"leads\n"
        assert time.monotonic() - began > 8  # it did not lead while the first still might have
    finally:
        for process in (first, second):
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _process(kubeconfig: Path, namespace: str, name: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, str(kubeconfig), namespace, name),
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )


async def _renewed(cluster: KubeCluster, namespace: str) -> str:
    lease = await cluster.get(Kind.LEASE, namespace, "controller")
    assert lease is not None
    return str(lease["spec"]["renewTime"])
