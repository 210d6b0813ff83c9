"""Objects of one kind in one namespace, kept in memory by a watch: asked at no cost, never behind by
more than the API is."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import aclosing

from stagedoor.model.cluster import ClusterError, Kind, Object, Verb
from stagedoor.shells.kubernetes.ports import Cluster

Keep = Callable[[Object], Object | None]
"""What of an object is kept: less of it, to bound the memory, or None for nothing at all."""

Heard = Callable[[Collection[str]], None]
"""Told the names of the objects that came, changed or went; runs in the loop, must not block."""


def everything(found: Object) -> Object:
    return found


class Mirror:
    """Fed by `run`, which the owner keeps running; read by anybody in the same event loop."""

    def __init__(
        self,
        cluster: Cluster,
        kind: Kind,
        namespace: str,
        labels: str = "",
        keep: Keep = everything,
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self.synced = asyncio.Event()
        """Set once everything was listed for the first time."""
        self.settled = asyncio.Event()
        """Set once everything was listed, or the API refused that."""
        self.problem: ClusterError | None = None
        """Why the API cannot be asked at the moment; None while it can."""
        self._cluster = cluster
        self._labels = labels
        self._keep = keep
        self._objects: dict[str, Object] = {}
        self._listening: list[Heard] = []

    def get(self, name: str) -> Object | None:
        return self._objects.get(name)

    def all(self) -> Collection[Object]:
        return self._objects.values()

    def listen(self, heard: Heard) -> None:
        self._listening.append(heard)

    def put(self, written: Object) -> None:
        """What the API answered to a write of our own, so that it is seen before the watch has it."""
        self._take((written,))

    def forget(self, name: str) -> None:
        """The API said that it is gone, before the watch has told so."""
        if self._objects.pop(name, None) is not None:
            self._tell({name})

    async def run(self) -> None:
        """Follow the API until cancelled. Raises nothing else (`Cluster.watch` tries for ever)."""
        watch = self._cluster.watch(self.kind, self.namespace, self._labels)
        async with aclosing(watch) as changes:
            async for change in changes:
                if change.verb is Verb.LISTED:
                    self._replace(change.objects)
                    self.synced.set()
                    self.settled.set()
                elif change.verb is Verb.CHANGED:
                    self._take(change.objects)
                elif change.verb is Verb.DELETED:
                    self._drop(change.objects)
                else:
                    self.problem = change.problem
                    if self.problem is not None and not self.problem.retry:
                        self.settled.set()

    def _kept(self, found: Object) -> Object | None:
        """What is kept of it; nothing of an object at which we fail, which must not blind us to all
        the others. The loop's exception handler is told."""
        try:
            return self._keep(found)
        except Exception as error:
            message = f"cannot read the {self.kind} {_name(found)} in {self.namespace}"
            asyncio.get_running_loop().call_exception_handler(
                {"message": message, "exception": error}
            )
            return None

    def _replace(self, listed: Iterable[Object]) -> None:
        fresh = {_name(kept): kept for found in listed if (kept := self._kept(found)) is not None}
        before, self._objects = self._objects, fresh
        self._tell(
            {
                name
                for name in before.keys() | fresh.keys()
                if name not in before
                or name not in fresh
                or _version(before[name]) != _version(fresh[name])
            }
        )

    def _take(self, changed: Iterable[Object]) -> None:
        heard = set()
        for found in changed:
            name = _name(found)
            before = self._objects.get(name)
            if before is not None and _is_older(found, before):
                continue  # the watch brings what our own write has replaced already
            kept = self._kept(found)
            if kept is not None:
                self._objects[name] = kept
            elif self._objects.pop(name, None) is None:
                continue
            heard.add(name)
        self._tell(heard)

    def _drop(self, deleted: Iterable[Object]) -> None:
        heard = set()
        for found in deleted:
            before = self._objects.get(_name(found))
            if before is not None and _uid(before) == _uid(found):
                del self._objects[_name(found)]
                heard.add(_name(found))
        self._tell(heard)

    def _tell(self, names: Collection[str]) -> None:
        if names:
            for heard in self._listening:
                heard(names)


def _name(found: Object) -> str:
    return str(found["metadata"]["name"])


def _uid(found: Object) -> str:
    return str(found["metadata"].get("uid", ""))


def _version(found: Object) -> str:
    return str(found["metadata"].get("resourceVersion", ""))


def _is_older(one: Object, other: Object) -> bool:
    """Versions of one object grow (KEP-5504 makes a promise of what has always been so)."""
    if _uid(one) != _uid(other):
        return False
    mine, theirs = _version(one), _version(other)
    return mine.isdecimal() and theirs.isdecimal() and int(mine) < int(theirs)
