"""A copy in memory of the objects of one kind in one namespace, which a watch keeps up to date."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import aclosing

from stagedoor.model.cluster import ClusterError, Kind, Object, Verb
from stagedoor.shells.kubernetes.ports import Cluster

Keep = Callable[[Object], Object | None]
"""Returns the part of an object to keep, which bounds the memory, or None to keep nothing."""

OnChange = Callable[[Collection[str]], None]
"""Called with the names of the created, changed or deleted objects. Runs in the loop, must not block."""


def keep_whole(item: Object) -> Object:
    """Keep the whole object."""
    return item


class Mirror:
    """The objects of one kind. The owner keeps `run` running; any code in the same event loop may read."""

    def __init__(
        self,
        cluster: Cluster,
        kind: Kind,
        namespace: str,
        labels: str = "",
        keep: Keep = keep_whole,
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self.synced = asyncio.Event()
        """Set once all objects have been listed."""
        self.settled = asyncio.Event()
        """Set once all objects have been listed, or the API has refused that."""
        self.problem: ClusterError | None = None
        """The error because of which the mirror is not up to date at the moment; None if it is."""
        self._cluster = cluster
        self._labels = labels
        self._keep = keep
        self._objects: dict[str, Object] = {}
        self._listeners: list[OnChange] = []

    def get(self, name: str) -> Object | None:
        """Return the object of that name, or None."""
        return self._objects.get(name)

    def all(self) -> Collection[Object]:
        """Return all objects."""
        return self._objects.values()

    def listen(self, on_change: OnChange) -> None:
        """Call `on_change` after every change."""
        self._listeners.append(on_change)

    def put(self, written: Object) -> None:
        """Put an object that the API returned for a write, so that it is here before the watch reports it."""
        self._take((written,))

    def forget(self, name: str) -> None:
        """Drop an object that the API reported as deleted, before the watch reports it."""
        if self._objects.pop(name, None) is not None:
            self._notify({name})

    async def run(self) -> None:
        """Follow the API until cancelled. Raises no other exception, since `Cluster.watch` never gives up."""
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

    def _reduce(self, item: Object) -> Object | None:
        """Return the part of an object to keep, or None if that fails.

        The failure goes to the loop's exception handler, and the other objects are still kept.
        """
        try:
            return self._keep(item)
        except Exception as error:
            message = f"cannot read the {self.kind} {_name(item)} in {self.namespace}"
            asyncio.get_running_loop().call_exception_handler(
                {"message": message, "exception": error}
            )
            return None

    def _replace(self, listed: Iterable[Object]) -> None:
        fresh = {_name(kept): kept for item in listed if (kept := self._reduce(item)) is not None}
        before, self._objects = self._objects, fresh
        self._notify(
            {
                name
                for name in before.keys() | fresh.keys()
                if name not in before
                or name not in fresh
                or _version(before[name]) != _version(fresh[name])
            }
        )

    def _take(self, changed: Iterable[Object]) -> None:
        names = set()
        for item in changed:
            name = _name(item)
            before = self._objects.get(name)
            if before is not None and _is_older(item, before):
                continue  # a `put` has replaced this version before the watch reported it
            kept = self._reduce(item)
            if kept is not None:
                self._objects[name] = kept
            elif self._objects.pop(name, None) is None:
                continue
            names.add(name)
        self._notify(names)

    def _drop(self, deleted: Iterable[Object]) -> None:
        names = set()
        for item in deleted:
            before = self._objects.get(_name(item))
            if before is not None and _uid(before) == _uid(item):
                del self._objects[_name(item)]
                names.add(_name(item))
        self._notify(names)

    def _notify(self, names: Collection[str]) -> None:
        if names:
            for on_change in self._listeners:
                on_change(names)


def _name(item: Object) -> str:
    return str(item["metadata"]["name"])


def _uid(item: Object) -> str:
    return str(item["metadata"].get("uid", ""))


def _version(item: Object) -> str:
    return str(item["metadata"].get("resourceVersion", ""))


def _is_older(item: Object, other: Object) -> bool:
    """Return whether `item` is an older version of the object `other`.

    The versions of an object increase (which KEP-5504 guarantees, and which has always been so).
    """
    if _uid(item) != _uid(other):
        return False
    version, other_version = _version(item), _version(other)
    return version.isdecimal() and other_version.isdecimal() and int(version) < int(other_version)
