"""The mirror: what is in it after whatever a watch may say."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.cluster import Change, Kind, Object, Verb
from stagedoor.shells.kubernetes.live.mirror import Keep, Mirror, keep_whole
from stagedoor.shells.kubernetes.ports import Cluster


class Source:
    """A cluster whose watch says what the test says, and that knows when all of it was taken."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Change] = asyncio.Queue()
        self.version = 0
        self.closed = False

    async def watch(
        self, kind: Kind, namespace: str, labels: str = ""
    ) -> AsyncGenerator[Change, None]:
        try:
            while True:
                yield await self.queue.get()
                self.queue.task_done()
        finally:
            self.closed = True

    def item(self, name: str, state: str | None, uid: str = "1") -> Object:
        self.version += 1
        meta = {"name": name, "uid": uid, "resourceVersion": str(self.version)}
        return {"metadata": meta, "state": state}

    async def say(self, verb: Verb, *objects: Object) -> None:
        self.queue.put_nowait(Change(verb, objects))
        async with asyncio.timeout(60):
            await self.queue.join()


@asynccontextmanager
async def following(source: Source, keep: Keep = keep_whole) -> AsyncIterator[Mirror]:
    mirror = Mirror(cast(Cluster, source), Kind.POD, "apps", keep=keep)
    task = asyncio.create_task(mirror.run())
    try:
        yield mirror
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def states(mirror: Mirror) -> dict[str, Any]:
    return {found["metadata"]["name"]: found["state"] for found in mirror.all()}


def known(found: Object) -> Object | None:
    return found if found["state"] is not None else None


async def test_it_follows_the_watch_and_keeps_only_what_matters() -> None:
    source = Source()
    async with following(source, known) as mirror:
        assert not mirror.synced.is_set()
        await source.say(Verb.LISTED, source.item("a", "1"), source.item("b", None))
        assert mirror.synced.is_set()
        assert states(mirror) == {"a": "1"}
        await source.say(Verb.CHANGED, source.item("b", "2"))
        await source.say(Verb.CHANGED, source.item("a", None))
        assert states(mirror) == {"b": "2"}
        await source.say(Verb.LISTED, source.item("c", "3"))
        assert states(mirror) == {"c": "3"}
        await source.say(Verb.DELETED, source.item("c", "3"))
        await source.say(Verb.DELETED, source.item("c", "3"))
        assert mirror.get("c") is None
    assert source.closed


async def test_what_comes_changes_or_goes_is_told_by_name() -> None:
    source = Source()
    async with following(source) as mirror:
        changes: list[Collection[str]] = []
        mirror.listen(changes.append)
        a, b = source.item("a", "1"), source.item("b", "2")
        await source.say(Verb.LISTED, a, b)
        await source.say(Verb.LISTED, a, source.item("b", "3"), source.item("c", "4"))
        await source.say(Verb.LISTED, a)
        await source.say(Verb.DELETED, a)
        assert [set(names) for names in changes] == [{"a", "b"}, {"b", "c"}, {"b", "c"}, {"a"}]


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
        mirror.forget("a")
        mirror.forget("a")
        assert states(mirror) == {}


async def test_an_object_that_cannot_be_read_costs_only_itself() -> None:
    changes: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: changes.append(context))

    def keep(found: Object) -> Object | None:
        if found["state"] == "odd":
            raise KeyError("status")
        return found

    source = Source()
    async with following(source, keep) as mirror:
        await source.say(Verb.LISTED, source.item("a", "odd"), source.item("b", "1"))
        await source.say(Verb.CHANGED, source.item("c", "odd"))
        await source.say(Verb.CHANGED, source.item("d", "2"))
        assert states(mirror) == {"b": "1", "d": "2"}
    assert [context["message"] for context in changes] == [
        "cannot read the Pod a in apps",
        "cannot read the Pod c in apps",
    ]


NAMES = st.sampled_from("abcd")
STATES = st.one_of(st.none(), st.sampled_from("xyz"))
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just(Verb.LISTED), st.dictionaries(NAMES, STATES)),
        st.tuples(st.just(Verb.CHANGED), st.dictionaries(NAMES, STATES, min_size=1, max_size=1)),
        st.tuples(st.just(Verb.DELETED), st.dictionaries(NAMES, STATES, min_size=1, max_size=1)),
    )
)


@given(CHANGES)
async def test_whatever_is_said_it_holds_what_was_said_last_and_who_listens_can_follow(
    changes: list[tuple[Verb, dict[str, str | None]]],
) -> None:
    source = Source()
    followed: dict[str, str] = {}
    expected: dict[str, str] = {}
    async with following(source, known) as mirror:

        def heard(names: Collection[str]) -> None:
            for name in names:
                followed.pop(name, None)
                if (found := mirror.get(name)) is not None:
                    followed[name] = found["state"]

        mirror.listen(heard)
        for verb, objects in changes:
            await source.say(verb, *(source.item(name, value) for name, value in objects.items()))
            if verb is Verb.LISTED:
                expected = {}
            for name, value in objects.items():
                if verb is Verb.DELETED or value is None:
                    expected.pop(name, None)
                else:
                    expected[name] = value
            assert states(mirror) == expected == followed
