"""The cluster in memory does what the real API server does, as far as the controller asks for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from stagedoor.model.cluster import Change, ClusterError, Kind, Verb
from stagedoor.shells.kubernetes.ports import Cluster
from tests.kube.api.objects import config_map, labelled
from tests.kube.memory import MemoryCluster

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server


@pytest.fixture(params=["memory", "api"])
def both(request: pytest.FixtureRequest) -> Cluster:
    cluster: Cluster = (
        MemoryCluster() if request.param == "memory" else request.getfixturevalue("cluster")
    )
    return cluster


@pytest.fixture
def space(both: Cluster, request: pytest.FixtureRequest) -> str:
    if isinstance(both, MemoryCluster):
        return "apps"
    return str(request.getfixturevalue("namespace"))


async def test_get_gives_the_object_or_none(both: Cluster, space: str) -> None:
    made = await both.create(config_map(space, "one", a="1"))
    assert made["metadata"]["uid"]
    assert await both.get(Kind.CONFIG_MAP, space, "one") == made
    assert await both.get(Kind.CONFIG_MAP, space, "two") is None


async def test_create_says_that_it_is_there(both: Cluster, space: str) -> None:
    await both.create(config_map(space, "one"))
    with pytest.raises(ClusterError) as raised:
        await both.create(config_map(space, "one"))
    error = raised.value
    assert (error.status, error.reason, error.retry) == (409, "AlreadyExists", False)
    assert "already exists" in error.message


async def test_list_selects_by_label(both: Cluster, space: str) -> None:
    for name, team in (("one", "red"), ("two", "blue"), ("three", "green")):
        await both.create(labelled(config_map(space, name), team=team))
    await both.create(config_map(space, "four"))

    async def names(selector: str) -> list[str]:
        config_maps = await both.list(Kind.CONFIG_MAP, space, selector)
        return sorted(str(resource["metadata"]["name"]) for resource in config_maps)

    assert await names("team=red") == ["one"]
    assert await names("team") == ["one", "three", "two"]
    assert await names("team in (red, blue)") == ["one", "two"]
    assert await names("team=red,team=blue") == []
    assert {"one", "two", "three", "four"} <= set(await names(""))


async def test_list_selects_by_field(both: Cluster, space: str) -> None:
    await both.create(config_map(space, "one"))
    await both.create(config_map(space, "two"))
    config_maps = await both.list(Kind.CONFIG_MAP, space, fields="metadata.name=two")
    assert [resource["metadata"]["name"] for resource in config_maps] == ["two"]


async def test_apply_makes_and_changes_what_is_ours_alone(both: Cluster, space: str) -> None:
    first = await both.apply(config_map(space, "one", ours="1", going="1"))
    await both.merge(Kind.CONFIG_MAP, space, "one", {"data": {"theirs": "1"}})
    applied = await both.apply(config_map(space, "one", ours="2"))
    assert applied["data"] == {"ours": "2", "theirs": "1"}
    assert applied["metadata"]["uid"] == first["metadata"]["uid"]
    assert int(applied["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])


async def test_what_is_applied_as_it_is_keeps_its_version(both: Cluster, space: str) -> None:
    first = await both.apply(config_map(space, "one", a="1"))
    again = await both.apply(config_map(space, "one", a="1"))
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_merge_changes_removes_and_refuses_an_old_version(both: Cluster, space: str) -> None:
    made = await both.create(config_map(space, "one", a="1", b="1"))
    version = made["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": version}, "data": {"a": "2", "b": None}}
    merged = await both.merge(Kind.CONFIG_MAP, space, "one", patch)
    assert merged["data"] == {"a": "2"}
    assert merged["metadata"]["uid"] == made["metadata"]["uid"]
    with pytest.raises(ClusterError) as raised:
        await both.merge(Kind.CONFIG_MAP, space, "one", patch)
    assert (raised.value.status, raised.value.reason, raised.value.retry) == (409, "Conflict", True)


async def test_merge_of_what_is_not_there_says_so(both: Cluster, space: str) -> None:
    with pytest.raises(ClusterError) as raised:
        await both.merge(Kind.CONFIG_MAP, space, "none", {"data": {"a": "1"}})
    error = raised.value
    assert (error.status, error.reason, error.retry) == (404, "NotFound", False)


async def test_delete_is_done_once_and_only_to_the_one_that_is_meant(
    both: Cluster, space: str
) -> None:
    made = await both.create(config_map(space, "one"))
    await both.merge(Kind.CONFIG_MAP, space, "one", {"data": {"a": "1"}})
    await both.delete(Kind.CONFIG_MAP, space, "one", uid="not-that-one")
    await both.delete(Kind.CONFIG_MAP, space, "one", version=made["metadata"]["resourceVersion"])
    resource = await both.get(Kind.CONFIG_MAP, space, "one")
    assert resource is not None
    await both.delete(
        Kind.CONFIG_MAP,
        space,
        "one",
        uid=made["metadata"]["uid"],
        version=resource["metadata"]["resourceVersion"],
    )
    assert await both.get(Kind.CONFIG_MAP, space, "one") is None
    await both.delete(Kind.CONFIG_MAP, space, "one")
    again = await both.create(config_map(space, "one"))
    assert again["metadata"]["uid"] != made["metadata"]["uid"]


async def next_of(changes: AsyncIterator[Change]) -> tuple[Verb, list[str]]:
    async with asyncio.timeout(60):
        change = await anext(changes)
    return change.verb, sorted(str(resource["metadata"]["name"]) for resource in change.objects)


async def test_a_watch_lists_and_then_tells_what_changes(both: Cluster, space: str) -> None:
    await both.create(labelled(config_map(space, "one"), team="red"))
    await both.create(labelled(config_map(space, "other"), team="blue"))
    async with aclosing(both.watch(Kind.CONFIG_MAP, space, "team=red")) as changes:
        assert await next_of(changes) == (Verb.LISTED, ["one"])
        await both.create(labelled(config_map(space, "two"), team="red"))
        assert await next_of(changes) == (Verb.CHANGED, ["two"])
        await both.merge(Kind.CONFIG_MAP, space, "other", {"data": {"a": "1"}})
        await both.merge(Kind.CONFIG_MAP, space, "one", {"data": {"a": "1"}})
        assert await next_of(changes) == (Verb.CHANGED, ["one"])
        # What is selected no more is gone for those who watch, and the other way round.
        blue = {"metadata": {"labels": {"team": "blue"}}}
        await both.merge(Kind.CONFIG_MAP, space, "two", blue)
        assert await next_of(changes) == (Verb.DELETED, ["two"])
        red = {"metadata": {"labels": {"team": "red"}}}
        await both.merge(Kind.CONFIG_MAP, space, "other", red)
        assert await next_of(changes) == (Verb.CHANGED, ["other"])
        await both.delete(Kind.CONFIG_MAP, space, "one")
        assert await next_of(changes) == (Verb.DELETED, ["one"])


async def test_a_write_that_changes_nothing_is_not_told(both: Cluster, space: str) -> None:
    await both.create(config_map(space, "one", a="1"))
    async with aclosing(both.watch(Kind.CONFIG_MAP, space)) as changes:
        verb, names = await next_of(changes)
        assert verb is Verb.LISTED
        assert "one" in names
        await both.merge(Kind.CONFIG_MAP, space, "one", {"data": {"a": "1"}})
        await both.create(config_map(space, "two"))
        assert await next_of(changes) == (Verb.CHANGED, ["two"])
