"""Shells end before what fences them: a namespace that the settings have no more, and an uninstall."""

import asyncio

import pytest

from stagedoor.controller.loop import LeaderOnly
from stagedoor.kube.election import Election
from stagedoor.kube.lease import Timing
from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.model.grant import Admission
from stagedoor.model.units import HOUR_S, MINUTE_S
from stagedoor.serve.stop_shells import TIMING, stop_all
from stagedoor.shells.kubernetes.derive.annotations import AppSettings
from stagedoor.shells.kubernetes.live.lifecycle import IN_USE_S, RECHECK_S
from tests.controller.test_keys_end import good
from tests.controller.test_stories import SETTLED_S, Story, story
from tests.virtual_time import in_virtual_time

ALICE = Admission("alice", ("ssh-ed25519 AAAAalice",))


def election(it: Story, name: str, *, seizes: bool = False) -> Election:
    clock = asyncio.get_running_loop().time
    timing = TIMING if seizes else Timing()
    return Election(
        it.cluster, "stagedoor", "leader", name, timing=timing, seizes=seizes, clock=clock
    )


@in_virtual_time
async def test_a_namespace_that_the_settings_have_no_more_loses_its_shells() -> None:
    async with story() as it:
        it.admitted[:] = [ALICE]
        pod = await it.come()
        assert good(it) == {"alice"}
        it.lead_no_more()
        it.lead(AppSettings(), leaving=True)
        await asyncio.sleep(SETTLED_S)
        assert good(it) == set(), "nobody new gets in"
        await asyncio.sleep(HOUR_S)
        assert it.pods() == [pod], "who is inside stays"
        it.go()
        await it.until(lambda: it.left() == set(), IN_USE_S + RECHECK_S)


@in_virtual_time
async def test_a_namespace_that_the_settings_have_no_more_gets_no_shell() -> None:
    async with story() as it:
        it.app(warm="true")
        await it.until(it.pods, MINUTE_S)
        it.lead_no_more()
        it.lead(AppSettings(), leaving=True)
        await it.until(lambda: it.left() == set(), HOUR_S)
        await asyncio.sleep(HOUR_S)
        assert it.pods() == []


@in_virtual_time
async def test_all_shells_are_stopped_under_a_controller_that_works() -> None:
    messages: list[str] = []
    async with story() as it:
        it.app(warm="true")
        it.lead_no_more()
        working = election(it, "controller")

        async def work() -> None:
            guarded = LeaderOnly(it.cluster, lambda: working.leads)
            await it.controller(AppSettings(), guarded).run()

        controller = asyncio.create_task(working.run(work))
        await it.until(it.pods, MINUTE_S)
        stopping = election(it, "stop", seizes=True)

        async def stop() -> None:
            await asyncio.sleep(7)
            assert not working.leads
            await stop_all(it.cluster, ["apps"], messages.append)

        await stopping.run(stop)
        assert it.left() <= {"Lease"}, "the election's own"
        assert it.pods() == []
        # Helm may have given up: for a minute no login starts a shell, and the next try has nothing to do.
        await asyncio.sleep(50)
        assert it.pods() == []
        await asyncio.wait_for(election(it, "again", seizes=True).run(stop), MINUTE_S)
        await asyncio.sleep(50)
        assert it.pods() == []
        await it.until(it.pods, 2 * MINUTE_S)  # had nothing been done, the controller would go on
        controller.cancel()
        await asyncio.wait([controller])


@in_virtual_time
async def test_the_last_pod_is_waited_for_and_an_absence_of_the_api_borne() -> None:
    messages: list[str] = []
    async with story() as it:
        await it.come()
        it.lead_no_more()
        # One whose sessions have their grace: its Deployment goes, and it stays for a while.
        pod = it.cluster.objects[Kind.POD, "apps", it.pod()]
        lasting = {
            **pod,
            "metadata": {**pod["metadata"], "name": "app01-ssh-9", "ownerReferences": []},
        }
        it.cluster.put(lasting)
        it.cluster.down = True
        stopping = asyncio.create_task(stop_all(it.cluster, ["apps"], messages.append))
        await asyncio.sleep(MINUTE_S)
        it.cluster.down = False
        await asyncio.sleep(MINUTE_S)
        assert not stopping.done()
        assert messages == [
            "waiting for the cluster: no answer",
            "waiting for the sessions in apps/app01-ssh-9 to end",
        ]
        it.cluster.drop((Kind.POD, "apps", "app01-ssh-9"))
        await asyncio.wait_for(stopping, 2)
        assert it.left() == set()


@in_virtual_time
async def test_a_cluster_that_refuses_ends_it_with_the_reason() -> None:
    async with story() as it:
        await it.enter()
        it.lead_no_more()
        it.cluster.refused["delete Deployment"] = "deployments is forbidden"
        with pytest.raises(ClusterError, match="forbidden"):
            await stop_all(it.cluster, ["apps"], print)
