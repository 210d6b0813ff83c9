"""A shell that cannot be made: every client is refused at once with the cause; the cluster is not flooded."""

import asyncio
from typing import Any

from stagedoor.model.cluster import Kind
from stagedoor.model.denial import Denial
from stagedoor.model.units import MINUTE_S
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import AppSettings
from tests.controller.test_stories import APP01, LEASE, SETTLED_S, SHELL, Story, now, story
from tests.kube.apps import deployment
from tests.virtual_time import in_virtual_time

QUOTA = "exceeded quota: small, requested: pods=1, used: pods={used}, limited: pods=1"


async def refused(it: Story) -> tuple[str, float]:
    """Return the refusal that a client gets now, and the seconds it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    denial = await it.shells.start_without_grant(APP01, lambda step: None)
    assert isinstance(denial, Denial)
    return denial.message, loop.time() - began


@in_virtual_time
async def test_the_second_of_two_logins_within_a_second_is_told_as_fast_as_the_first() -> None:
    async with story() as it:
        it.cluster.refused["apply Deployment"] = "no room"
        for _ in range(5):
            why, took_s = await refused(it)
            assert "no room" in why
            assert took_s < 0.5
        # And at the same time.
        both = await asyncio.gather(refused(it), refused(it))
        assert all("no room" in why and took_s < 0.5 for why, took_s in both)


@in_virtual_time
async def test_two_gateways_that_count_alike_are_both_told_at_once() -> None:
    async with story() as it:
        it.cluster.refused["apply Deployment"] = "no room"
        for _ in range(9):
            await refused(it)  # by now the next try of its own is a minute away
        lease = it.cluster.objects[LEASE]
        # Another gateway, which has not seen our last request, asks with the count that we had.
        other = objects.make_request("gateway-2", now(), objects.count_requests(lease))
        await it.cluster.merge(Kind.LEASE, "apps", "app01-ssh", other)
        assert objects.read_failure_cause(it.cluster.objects[LEASE]) is None
        await asyncio.sleep(SETTLED_S)
        assert objects.read_failure_cause(it.cluster.objects[LEASE]) is not None


@in_virtual_time
async def test_what_has_been_mended_is_tried_again_for_who_comes_next() -> None:
    async with story() as it:
        it.cluster.refused["apply Deployment"] = "no room"
        await refused(it)
        it.cluster.refused.clear()
        await it.enter()


@in_virtual_time
async def test_renewals_hurry_no_try_and_events_are_few() -> None:
    async with story() as it:
        it.cluster.refused["apply Deployment"] = QUOTA.format(used=0)
        await refused(it)
        tries = len(it.cluster.asked)
        for second in range(164):
            # One that waits renews the lease, and the reason has another figure in it each time.
            it.cluster.refused["apply Deployment"] = QUOTA.format(used=second)
            if second % 3 == 0:
                await it.shells._environments.served[None].leases.renew("app01", 0)
            await asyncio.sleep(1)
        asked = [request for request in it.cluster.asked[tries:] if request == "apply Deployment"]
        assert len(asked) <= 12, "as the back-off has it: after 0.2 s, 0.4 s … 60 s"
        failed = [why for reason, why in it.cluster.events if reason == "ShellFailed"]
        assert 1 <= len(failed) <= 4


@in_virtual_time
async def test_an_app_whose_status_changes_hurries_no_try_and_a_change_of_the_app_does() -> None:
    async with story() as it:
        it.cluster.refused["apply Deployment"] = "no room"
        await refused(it)
        await asyncio.sleep(5 * MINUTE_S)
        tries = len(it.cluster.asked)
        key = (Kind.DEPLOYMENT, "apps", "app01")
        for ready in range(50):
            it.cluster.put({**it.cluster.objects[key], "status": {"readyReplicas": ready}})
            await asyncio.sleep(SETTLED_S)
        assert it.cluster.asked[tries:].count("apply Deployment") <= 1
        tries = len(it.cluster.asked)
        it.cluster.put(deployment("apps", env={"RELEASE": "2"}))
        await asyncio.sleep(SETTLED_S)
        assert it.cluster.asked[tries:].count("apply Deployment") >= 1


def without_image(it: Story) -> None:
    """The pods that are made from now on wait for an image that there is not, unless the app has another."""

    def heard(key: Any, found: Any) -> None:
        if key[0] is not Kind.POD or found is None or "waiting" in str(found["status"]):
            return
        if "shop:typo" in str(it.cluster.objects[SHELL]["spec"]["template"]):
            said = {"reason": "ErrImagePull", "message": "shop:typo: not found"}
            state = {"name": "shell", "state": {"waiting": said}}
            it.cluster.put({**found, "status": {"phase": "Pending", "containerStatuses": [state]}})

    it.cluster.heard.append(heard)


@in_virtual_time
async def test_an_app_that_was_mended_a_moment_ago_is_not_refused_for_the_pod_of_before() -> None:
    async with story() as it:
        without_image(it)
        it.app(image="shop:typo")
        why, took_s = await refused(it)
        assert "shop:typo" in why
        assert took_s < 1
        # It is not mended: a client that comes again is refused for that, a little later.
        why, took_s = await refused(it)
        assert "shop:typo" in why
        assert took_s < 6
        it.lead_no_more()
        it.app()
        entering = asyncio.create_task(it.enter())
        await asyncio.sleep(4)
        it.lead(AppSettings())
        await entering
