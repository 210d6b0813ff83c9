"""Watches of the real API server, through what befalls them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TypeVar

import pytest

from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.pace import Limits, WatchLimits
from stagedoor.kube.watch import API
from stagedoor.model.cluster import Change, Kind, Verb
from tests.kube.api.conftest import Connect, Problems
from tests.kube.api.lone import UNPRIVILEGED, LoneApi
from tests.kube.api.objects import allow, config_map
from tests.kube.apps import deployment
from tests.waiting import until, wait_until

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server

T = TypeVar("T")

QUICK = WatchLimits(
    answer_s=2,
    length_s=2,
    silence_s=3,
    late_s=1,
    first_wait_s=0.05,
    longest_wait_s=0.5,
    settled_s=1,
)


async def soon(awaitable: Awaitable[T], within_s: float = 60) -> T:
    async with asyncio.timeout(within_s):
        return await awaitable


async def cancelled(task: asyncio.Task[Change]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class Seen:
    """The changes that a watch has brought so far, and the objects by them."""

    def __init__(self, changes: AsyncIterator[Change]) -> None:
        self._changes = changes
        self.names: dict[str, str] = {}
        self.verbs: list[Verb] = []

    async def next(self) -> Change:
        change = await soon(anext(self._changes))
        while change.verb in (Verb.FAILED, Verb.RESUMED):
            change = await soon(anext(self._changes))
        self.verbs.append(change.verb)
        if change.verb is Verb.LISTED:
            self.names = {}
        for item in change.objects:
            name = item["metadata"]["name"]
            if change.verb is Verb.DELETED:
                self.names.pop(name, None)
            else:
                self.names[name] = item["data"].get("a", "")
        return change

    async def until(self, **names: str) -> None:
        while self.names != names:
            await self.next()


@asynccontextmanager
async def seen(
    cluster: KubeCluster, namespace: str, labels: str = "", kind: Kind = Kind.CONFIG_MAP
) -> AsyncIterator[Seen]:
    changes = cluster.watch(kind, namespace, labels)
    try:
        yield Seen(changes)
    finally:
        await changes.aclose()


async def test_a_watch_goes_on_where_it_ended(connect: Connect, namespace: str) -> None:
    cluster = connect(limits=Limits(watch=QUICK))
    await cluster.create(config_map(namespace, "one", a="0"))
    async with seen(cluster, namespace) as watched:
        await watched.until(one="0")
        number = 0
        while cluster.requests["watch", "ConfigMap", 200] < 3:
            number += 1
            await cluster.merge(Kind.CONFIG_MAP, namespace, "one", {"data": {"a": str(number)}})
            await watched.until(one=str(number))
        # Every change came, in order, and the objects were read once.
        assert watched.verbs == [Verb.LISTED] + [Verb.CHANGED] * number
        assert cluster.requests["list", "ConfigMap", 200] == 1


async def test_what_is_too_long_ago_is_listed_anew(
    api: LoneApi, connect: Connect, namespace: str, problems: Problems
) -> None:
    """Events are watched in etcd itself, which is compacted while the watch is away: 410 Gone."""
    how = WatchLimits(length_s=1, late_s=1, first_wait_s=0.05, settled_s=0.1)
    cluster = connect(limits=Limits(watch=how))
    about = config_map(namespace, "one")
    await cluster.report(about, reason="First", message="one")
    changes = cluster.watch(Kind.EVENT, namespace)
    first = await soon(anext(changes))
    assert [item["note"] for item in first.objects] == ["one"]
    waiting = asyncio.create_task(anext(changes))
    await asyncio.to_thread(wait_until, lambda: cluster.requests["watch", "Event", 200])
    # The watch must begin again, from a version that is not there any more.
    # It says so as an answer, or as an event of the watch.
    async with asyncio.timeout(60):
        while not waiting.done():
            await asyncio.to_thread(api.write_and_compact)
            await asyncio.wait((waiting,), timeout=0.2)
    again = await soon(waiting)
    assert again.verb is Verb.LISTED
    assert [item["note"] for item in again.objects] == ["one"]
    await cluster.report(about, reason="Second", message="two")
    second = await soon(anext(changes))
    while second.verb is not Verb.CHANGED and "two" not in str(second.objects):
        second = await soon(anext(changes))
    await changes.aclose()
    assert [problem for _, problem in problems if problem] == []


async def test_changes_while_the_api_server_was_away_are_not_missed(
    api: LoneApi, connect: Connect, namespace: str, problems: Problems
) -> None:
    """It knows no past: its watch cache begins at its start, and etcd is compacted meanwhile."""
    cluster = connect(limits=Limits(watch=QUICK))
    await cluster.create(config_map(namespace, "one", a="1"))
    await cluster.create(config_map(namespace, "two", a="1"))
    async with seen(cluster, namespace) as watched:
        await watched.until(one="1", two="1")
        waiting = asyncio.create_task(watched.next())
        api.kill()
        api.write_and_compact()
        # It is tried again meanwhile, and nothing is raised.
        await asyncio.to_thread(wait_until, lambda: problems)
        await asyncio.to_thread(api.start)
        other = connect()
        await other.merge(Kind.CONFIG_MAP, namespace, "one", {"data": {"a": "2"}})
        await other.delete(Kind.CONFIG_MAP, namespace, "two")
        await soon(waiting)
        await watched.until(one="2")
    assert cluster.requests["watch", "ConfigMap", 410] >= 1 or Verb.LISTED in watched.verbs[1:]
    assert problems[0][0] == API
    assert problems[0][1] is not None
    assert f"cannot watch ConfigMap in namespace {namespace}: no answer" in problems[0][1]
    assert problems[-1] == (API, None)


async def test_a_silent_api_server_is_noticed_and_waited_for(
    api: LoneApi, connect: Connect, namespace: str, problems: Problems
) -> None:
    """SIGSTOP: its kernel still acknowledges, so that only the silence shows it."""
    how = WatchLimits(answer_s=1, length_s=60, silence_s=1.5, first_wait_s=0.05, longest_wait_s=0.3)
    cluster = connect(limits=Limits(request_s=2, list_s=2, watch=how))
    await cluster.create(config_map(namespace, "one", a="1"))
    async with seen(cluster, namespace) as watched:
        await watched.until(one="1")
        waiting = asyncio.create_task(watched.next())
        await asyncio.to_thread(wait_until, lambda: cluster.requests["watch", "ConfigMap", 200])
        api.freeze()
        try:
            await until(lambda: any(problem and "silent" in problem for _, problem in problems), 60)
        finally:
            api.thaw()
        await connect().merge(Kind.CONFIG_MAP, namespace, "one", {"data": {"a": "2"}})
        await soon(waiting)
        await watched.until(one="2")
    assert problems[-1][1] is None


async def test_bookmarks_keep_a_quiet_watch_young(
    api: LoneApi, connect: Connect, namespace: str
) -> None:
    """Nothing that is watched changes, and much else does. Without bookmarks, the next watch
    would begin from long ago. The API server sends one some 2 s before it ends a watch."""
    cluster = connect(limits=Limits(watch=replace(QUICK, length_s=4, silence_s=10, late_s=3)))
    await cluster.create(config_map(namespace, "one", a="1"))
    versions: list[str] = []
    real = cluster.http.open_stream

    def recorded(request, limit_s):  # type: ignore[no-untyped-def]
        versions.append(request.path.split("resourceVersion=")[1].split("&")[0])
        return real(request, limit_s)

    cluster.http.open_stream = recorded  # type: ignore[method-assign]
    async with seen(cluster, namespace) as watched:
        await watched.until(one="1")
        waiting = asyncio.create_task(watched.next())
        others = connect()
        async with asyncio.timeout(60):
            while len(versions) < 3:
                await others.merge(
                    Kind.NAMESPACE,
                    "",
                    "default",
                    {"metadata": {"labels": {"n": str(len(versions))}}},
                )
                await others.apply(
                    config_map("default", "other", a=str(asyncio.get_event_loop().time()))
                )
                await asyncio.sleep(0.1)
        await cancelled(waiting)
    assert int(versions[2]) > int(versions[0])


async def test_one_who_may_not_watch_is_told_and_goes_on_asking(
    connect: Connect, namespace: str, problems: Problems, cluster: KubeCluster
) -> None:
    unprivileged = connect(UNPRIVILEGED, limits=Limits(watch=QUICK))
    async with seen(unprivileged, namespace) as watched:
        waiting = asyncio.create_task(watched.next())
        await asyncio.to_thread(wait_until, lambda: problems)
        assert problems[0][1] is not None
        assert 'resources: ["configmaps"], verbs: ["list"]' in problems[0][1]
        await cluster.create(config_map(namespace, "one", a="1"))
        await allow(cluster, namespace, "configmaps", "list", "watch")
        change = await soon(waiting)
        assert [item["metadata"]["name"] for item in change.objects] == ["one"]


async def test_a_closed_watch_leaves_nothing_behind(cluster: KubeCluster, namespace: str) -> None:
    before = len(asyncio.all_tasks())
    for _ in range(5):
        async with seen(cluster, namespace) as watched:
            await watched.next()
            waiting = asyncio.create_task(watched.next())
            await asyncio.sleep(0)
            await cancelled(waiting)
    assert len(asyncio.all_tasks()) <= before + 1


async def test_of_metadata_alone_the_api_sends_nothing_else(
    cluster: KubeCluster, namespace: str
) -> None:
    """The list and the watch both; the objects have the kind that was asked for."""
    await cluster.create(deployment(namespace, "one"))
    changes = cluster.watch(Kind.DEPLOYMENT, namespace, metadata_only=True)
    try:
        listed = await soon(anext(changes))
        await cluster.merge(Kind.DEPLOYMENT, namespace, "one", {"spec": {"replicas": 2}})
        changed = await soon(anext(changes))
    finally:
        await changes.aclose()
    before, after = listed.objects[0], changed.objects[0]
    for item in (before, after):
        assert item.keys() == {"apiVersion", "kind", "metadata"}
        assert (item["apiVersion"], item["kind"]) == ("apps/v1", "Deployment")
        assert item["metadata"]["labels"] == {"stagedoor.dev/shell": "true"}
    assert before["metadata"]["generation"] < after["metadata"]["generation"]
