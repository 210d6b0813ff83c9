"""Checks of the right to write in each namespace."""

import asyncio

import pytest

from stagedoor.model.cluster import ClusterError
from stagedoor.shells.kubernetes.live.access import SHORTEST_S, WriteAccess
from tests.kube.memory import MemoryCluster
from tests.virtual_time import in_virtual_time


@in_virtual_time
async def test_a_new_namespace_without_an_answer_is_checked_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster, checked = MemoryCluster(), list[str]()

    async def may_i(name: str, verb: str, resource: str, _: str = "") -> bool:
        checked.append(name)
        if len(checked) == 1:
            raise ClusterError("no answer", status=None, reason="NoAnswer", retry=True)
        return False

    monkeypatch.setattr(cluster, "may_i", may_i)
    access = WriteAccess(cluster)
    access.follow(["team"])
    checking = asyncio.create_task(access.run())
    await asyncio.sleep(0.1)
    assert checked == ["team"]
    assert not access.checked_all.is_set()
    await asyncio.sleep(SHORTEST_S)
    checking.cancel()
    assert access.checked_all.is_set()
    assert access.problems.keys() == {"team"}
