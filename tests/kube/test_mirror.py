"""The mirror: what is in it after whatever a watch may say."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.cluster import Change, ClusterError, Kind, Object, Trim, Verb
from stagedoor.shells.kubernetes.live.mirror import Mirror, ObjectKey, keep_whole
from stagedoor.shells.kubernetes.ports import Cluster


class Source:
    """A cluster whose watch says what the test says, and that knows when all of it was taken."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Change] = asyncio.Queue()
        self.version = 0
        self.closed = False

    async def watch(
        self,
        kind: Kind,
        namespace: str,
        labels: str = "",
        *,
        trim: Callable[[Object], Object],
        metadata_only: bool = False,
    ) -> AsyncGenerator[Change, None]:
        try:
            while True:
                change = await self.queue.get()
                yield replace(change, objects=[trim(found) for found in change.objects])
                self.queue.task_done()
        finally:
            self.closed = True

    def item(self, name: str, state: str | None, uid: str = "1") -> Object:
        self.version += 1
        meta = {"namespace": "apps", "name": name, "uid": uid}
        meta["resourceVersion"] = str(self.version)
        return {"metadata": meta, "state": state}

    async def say(self, verb: Verb, *objects: Object) -> None:
        self.queue.put_nowait(Change(verb, objects))
        async with asyncio.timeout(60):
            await self.queue.join()


@asynccontextmanager
async def following(source: Source, trim: Trim = keep_whole) -> AsyncIterator[Mirror]:
    mirror = Mirror(cast(Cluster, source), Kind.POD, ["apps"], trim=trim)
    task = asyncio.create_task(mirror.run())
    try:
        yield mirror
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def states(mirror: Mirror) -> dict[str, Any]:
    return {name: found["state"] for name, found in mirror.list_objects("apps").items()}


def half(found: Object) -> Object:
    return {**found, "state": found["state"][:1]}


async def test_it_follows_the_watch_and_keeps_only_what_matters() -> None:
    source = Source()
    async with following(source, half) as mirror:
        assert not mirror.is_synced("apps")
        await source.say(Verb.LISTED, source.item("a", "1 and more"))
        assert mirror.is_synced("apps")
        assert states(mirror) == {"a": "1"}
        await source.say(Verb.CHANGED, source.item("b", "2 and more"))
        assert states(mirror) == {"a": "1", "b": "2"}
        await source.say(Verb.LISTED, source.item("c", "3"))
        assert states(mirror) == {"c": "3"}
        await source.say(Verb.DELETED, source.item("c", "3"))
        await source.say(Verb.DELETED, source.item("c", "3"))
        assert mirror.get("apps", "c") is None
    assert source.closed


async def test_what_comes_changes_or_goes_is_told_by_name() -> None:
    source = Source()
    async with following(source) as mirror:
        changes: list[Collection[ObjectKey]] = []
        mirror.listen(changes.append)
        a, b = source.item("a", "1"), source.item("b", "2")
        await source.say(Verb.LISTED, a, b)
        await source.say(Verb.LISTED, a, source.item("b", "3"), source.item("c", "4"))
        await source.say(Verb.LISTED, a)
        await source.say(Verb.DELETED, a)
        names = [{name for _, name in keys} for keys in changes]
        assert names == [{"a", "b"}, {"b", "c"}, {"b", "c"}, {"a"}]


async def test_our_own_write_is_there_at_once_and_an_older_state_does_not_undo_it() -> None:
    source = Source()
    async with following(source) as mirror:
        first, second = source.item("a", "1"), source.item("a", "2")
        await source.say(Verb.LISTED, first)
        mirror.put(second)
        assert states(mirror) == {"a": "2"}
        await source.say(Verb.CHANGED, first)
        assert states(mirror) == {"a": "2"}
        await source.say(Verb.DELETED, source.item("a", "1", uid="of another that was before"))
        assert states(mirror) == {"a": "2"}
        mirror.forget("apps", "a")
        mirror.forget("apps", "a")
        assert states(mirror) == {}


async def test_an_object_that_cannot_be_read_costs_only_itself() -> None:
    changes: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: changes.append(context))

    def trim(found: Object) -> Object:
        if found["state"] == "odd":
            raise KeyError("status")
        return found

    source = Source()
    async with following(source, trim) as mirror:
        await source.say(Verb.LISTED, source.item("a", "odd"), source.item("b", "1"))
        await source.say(Verb.CHANGED, source.item("c", "odd"))
        await source.say(Verb.CHANGED, source.item("d", "2"))
        assert states(mirror) == {"b": "1", "d": "2"}
    assert [context["message"] for context in changes] == [
        "cannot read the Pod a in apps",
        "cannot read the Pod c in apps",
    ]


class Guarded:
    """A cluster that lets an account watch only what is `granted`: all ("") or one namespace."""

    def __init__(self, *granted: str) -> None:
        self.granted = {*granted}
        self.changed = asyncio.Event()
        self.open: list[str] = []

    async def watch(
        self, kind: Kind, namespace: str, labels: str = "", **_: Any
    ) -> AsyncGenerator[Change, None]:
        self.open.append(namespace)
        try:
            while namespace not in self.granted:
                refusal = ClusterError("forbidden", status=403, reason="Forbidden", retry=False)
                yield Change(Verb.FAILED, problem=refusal)
                await self.changed.wait()
            yield Change(Verb.LISTED)
            yield Change(Verb.RESUMED)
            await asyncio.Event().wait()
        finally:
            self.open.remove(namespace)

    async def settle(self) -> None:
        self.changed.set()
        for _ in range(20):
            await asyncio.sleep(0)


async def test_without_the_right_to_watch_the_cluster_each_namespace_is_watched_and_fails_alone() -> (
    None
):
    cluster = Guarded("apps")
    mirror = Mirror(cast(Cluster, cluster), Kind.POD, ["apps", "lost"])
    task = asyncio.create_task(mirror.run())
    try:
        await asyncio.wait_for(mirror.wait_until_synced("apps"), 60)
        await asyncio.wait_for(mirror.wait_until_synced("lost", or_refused=True), 60)
        assert mirror.find_problem("apps") is None
        assert not mirror.is_synced("lost")
        assert "forbidden" in str(mirror.find_problem("lost"))
        # With the right, one watch takes the place of all.
        cluster.granted.add("")
        await cluster.settle()
        assert cluster.open == [""]
        assert mirror.is_synced("lost")
        assert mirror.find_problem("lost") is None
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


NAMES = st.sampled_from("abcd")
STATES = st.sampled_from("xyz")
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just(Verb.LISTED), st.dictionaries(NAMES, STATES)),
        st.tuples(st.just(Verb.CHANGED), st.dictionaries(NAMES, STATES, min_size=1, max_size=1)),
        st.tuples(st.just(Verb.DELETED), st.dictionaries(NAMES, STATES, min_size=1, max_size=1)),
    )
)


@given(CHANGES)
async def test_whatever_is_said_it_holds_what_was_said_last_and_who_listens_can_follow(
    changes: list[tuple[Verb, dict[str, str]]],
) -> None:
    source = Source()
    followed: dict[str, str] = {}
    expected: dict[str, str] = {}
    async with following(source) as mirror:

        def heard(keys: Collection[ObjectKey]) -> None:
            for namespace, name in keys:
                followed.pop(name, None)
                if (found := mirror.get(namespace, name)) is not None:
                    followed[name] = found["state"]

        mirror.listen(heard)
        for verb, objects in changes:
            await source.say(verb, *(source.item(name, value) for name, value in objects.items()))
            if verb is Verb.LISTED:
                expected = {}
            for name, value in objects.items():
                if verb is Verb.DELETED:
                    expected.pop(name, None)
                else:
                    expected[name] = value
            assert states(mirror) == expected == followed
