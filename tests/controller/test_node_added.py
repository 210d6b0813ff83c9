"""A shell for which a node has to be added: a client that waits hears of it, and gets in once it is there."""

import asyncio
from typing import Any

from stagedoor.model.cluster import Kind
from stagedoor.model.denial import Denial
from stagedoor.model.shell import ProgressStep, Shell
from stagedoor.model.units import MINUTE_S
from stagedoor.wire.rfc3339 import show_time
from tests.controller.test_stories import APP01, Story, now, story
from tests.virtual_time import in_virtual_time


def event(pod: str, reason: str, note: str) -> dict[str, Any]:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "apps", "name": f"{pod}.{reason}"},
        "reason": reason,
        "note": note,
        "eventTime": show_time(now()),
        "regarding": {"kind": "Pod", "name": pod},
    }


def without_nodes(it: Story) -> dict[str, Any]:
    """From now on a pod that is made has no node; what it is once it has one."""
    ready: dict[str, Any] = {}

    def heard(key: Any, found: Any) -> None:
        if key[0] is Kind.POD and found is not None and not ready:
            ready.update(found)
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "0/1 nodes are available: 1 Insufficient memory.",
                "lastTransitionTime": show_time(now()),
            }
            it.cluster.put({**found, "status": {"phase": "Pending", "conditions": [condition]}})

    it.cluster.heard.append(heard)
    return ready


@in_virtual_time
async def test_who_waits_for_a_node_is_told_each_minute_and_gets_in_when_it_is_there() -> None:
    async with story() as it:
        ready = without_nodes(it)
        steps: list[ProgressStep] = []
        waiting = asyncio.create_task(it.shells.start_without_grant(APP01, steps.append))
        await asyncio.sleep(12)
        it.cluster.put(event(it.pod(), "TriggeredScaleUp", "pod triggered scale-up"))
        await asyncio.sleep(5 * MINUTE_S)
        assert not waiting.done()
        details = [step.detail for step in steps if step.name == "scheduling"]
        assert details[1:3] == [
            "the cluster is adding a node",
            "the cluster is adding a node, for 2 minutes now",
        ]
        assert steps[-1].detail == "the cluster is adding a node, for 5 minutes now"
        assert steps[-1].patience_s
        it.cluster.put(ready)
        assert isinstance(await waiting, Shell)


@in_virtual_time
async def test_who_waits_for_a_node_that_nobody_adds_is_told_soon() -> None:
    async with story() as it:
        without_nodes(it)
        began = now()
        waiting = asyncio.create_task(it.shells.start_without_grant(APP01, lambda step: None))
        await asyncio.sleep(12)
        it.cluster.put(event(it.pod(), "NotTriggerScaleUp", "1 max node group size reached"))
        denial = await waiting
        assert isinstance(denial, Denial)
        assert "Insufficient memory" in denial.message
        assert "the autoscaler adds none: 1 max node group size reached" in denial.message
        assert now() - began < 20
