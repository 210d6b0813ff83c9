"""An in-memory copy of the objects of one kind, which a watch keeps up to date.

One watch covers the whole cluster. If the API does not allow this account to do that, each namespace has its
own watch, so that one which cannot be read does not affect the others. Objects are found by namespace and
name, those of a shell also by their app.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from stagedoor.model.cluster import Change, ClusterError, Kind, Object, Trim, Verb
from stagedoor.shells.kubernetes.names import SHELL_OF
from stagedoor.shells.kubernetes.ports import Cluster

ObjectKey = tuple[str, str]
"""A namespace and a name in it. Objects outside of namespaces have the namespace ALL_NAMESPACES."""

OnChange = Callable[[Collection[ObjectKey]], None]
"""Called with the keys of created, changed or deleted objects. Runs in the loop and must not block."""

ALL_NAMESPACES = ""
"""The namespace of a watch that covers all namespaces."""


def keep_whole(item: Object) -> Object:
    """Return the whole object."""
    return item


def select_metadata(item: Object) -> Object:
    """Return an object's kind, name, uid, version and labels, and the time of its deletion."""
    fields = ("name", "uid", "resourceVersion", "labels", "deletionTimestamp")
    metadata = {name: item["metadata"][name] for name in fields if name in item["metadata"]}
    return {"apiVersion": item.get("apiVersion"), "kind": item["kind"], "metadata": metadata}


def find_shell_app(item: Object) -> str | None:
    """Return the app whose shell an object belongs to; None if it belongs to no shell."""
    name = (item["metadata"].get("labels") or {}).get(SHELL_OF)
    return str(name) if name else None


@dataclass(slots=True)
class _Feed:
    """The state of one watch."""

    synced: bool = False
    problem: ClusterError | None = None


class Mirror:
    """The objects of one kind in `namespaces`. Its owner keeps `run` running; code in the same loop may read.

    None stands for all namespaces, which needs a watch of the whole cluster. `labels` is a label selector.
    `trim` also keeps the objects' uid, version and labels. With `metadata_only` the API sends only their
    metadata.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: Kind,
        namespaces: Collection[str] | None,
        labels: str = SHELL_OF,
        trim: Trim = keep_whole,
        *,
        metadata_only: bool = False,
    ) -> None:
        self.kind = kind
        self._cluster = cluster
        self._labels = labels
        self._reduce = trim
        self._metadata_only = metadata_only
        self._feeds = {ALL_NAMESPACES: _Feed()}
        self._news = asyncio.Event()
        """Set at each change of a feed, and replaced by a new event."""
        self._namespaces = None if namespaces is None else frozenset(namespaces)
        self._objects: dict[str, dict[str, Object]] = {}
        self._by_app: dict[ObjectKey, dict[str, Object]] = {}
        """The objects of each shell by their names, by namespace and app."""
        self._listeners: list[OnChange] = []

    def get(self, namespace: str, name: str) -> Object | None:
        """Return the object of that name, or None."""
        return self.list_objects(namespace).get(name)

    def list_objects(self, namespace: str) -> Mapping[str, Object]:
        """Return all objects of a namespace by their names."""
        return self._objects.get(namespace, {})

    def list_for_shell(self, namespace: str, app: str) -> Sequence[Object]:
        """Return the objects that belong to the shell of an app."""
        return tuple(self._by_app.get((namespace, app), {}).values())

    def list_keys(self) -> list[ObjectKey]:
        """Return the keys of all objects."""
        return [(namespace, name) for namespace, of in self._objects.items() for name in of]

    def count(self) -> int:
        """Return the number of objects."""
        return sum(map(len, self._objects.values()))

    def listen(self, on_change: OnChange) -> None:
        """Call `on_change` after every change."""
        self._listeners.append(on_change)

    def put(self, written: Object) -> None:
        """Store an object that the API returned for a write, before the watch reports it."""
        self._take((self._trim(written),))

    def forget(self, namespace: str, name: str) -> None:
        """Drop an object that the API reported as deleted, before the watch reports it."""
        if self._remove(namespace, name):
            self._notify({(namespace, name)})

    def is_synced(self, namespace: str) -> bool:
        """Return whether all objects of the namespace have been listed once."""
        return self._feed(namespace).synced

    def find_problem(self, namespace: str) -> ClusterError | None:
        """Return why the copy of the namespace is not up to date at the moment; None if it is."""
        return self._feed(namespace).problem

    async def wait_until_synced(self, namespace: str, *, or_refused: bool = False) -> None:
        """Wait, without a time limit, until all objects of the namespace have been listed once.

        With `or_refused`, also return once the API has refused to list them.
        """
        while not self.is_synced(namespace):
            problem = self.find_problem(namespace)
            if or_refused and problem is not None and not problem.retry:
                return
            await self._news.wait()

    async def run(self) -> None:
        """Follow the API until cancelled. Raises no other exception, since `Cluster.watch` never gives up."""
        feed, narrow = self._feeds[ALL_NAMESPACES], list[asyncio.Task[None]]()
        async with asyncio.TaskGroup() as tasks, aclosing(self._watch(ALL_NAMESPACES)) as changes:
            async for change in changes:
                is_refused = change.problem is not None and change.problem.status == 403
                if is_refused and not feed.synced and not narrow:
                    for namespace in (self._namespaces or {ALL_NAMESPACES}) - {ALL_NAMESPACES}:
                        self._feeds[namespace] = _Feed()
                        narrow.append(tasks.create_task(self._follow(namespace)))
                elif change.verb is Verb.LISTED and narrow:
                    while narrow:
                        narrow.pop().cancel()
                    self._feeds = {ALL_NAMESPACES: feed}
                self._carry_out(feed, ALL_NAMESPACES, change)

    async def _follow(self, namespace: str) -> None:
        async with aclosing(self._watch(namespace)) as changes:
            async for change in changes:
                self._carry_out(self._feeds[namespace], namespace, change)

    def _watch(self, namespace: str) -> AsyncGenerator[Change, None]:
        return self._cluster.watch(
            self.kind,
            namespace,
            self._labels,
            trim=self._trim,
            metadata_only=self._metadata_only,
        )

    def _feed(self, namespace: str) -> _Feed:
        return self._feeds.get(namespace) or self._feeds[ALL_NAMESPACES]

    def _carry_out(self, feed: _Feed, scope: str, change: Change) -> None:
        """Apply a change of a feed to the objects; `scope` is its namespace, or ALL_NAMESPACES."""
        if change.verb is Verb.CHANGED:
            self._take(change.objects)
        elif change.verb is Verb.DELETED:
            self._drop(change.objects)
        else:
            if change.verb is Verb.LISTED:
                self._replace(scope, change.objects)
                feed.synced = True
            else:
                feed.problem = change.problem
            news, self._news = self._news, asyncio.Event()
            news.set()

    def _trim(self, item: Object) -> Object:
        """Return the part of an object to keep, or the same part as before if it has not changed.

        The result has no uid if the object is in another namespace or if `trim` fails. Such a failure goes to
        the loop's exception handler, and other objects are still kept.
        """
        namespace, name = _key(item)
        nothing = {"metadata": {"namespace": namespace, "name": name}}
        if self._namespaces is not None and namespace not in self._namespaces:
            return nothing
        before = self.get(namespace, name)
        if before is not None and (_uid(before), _version(before)) == (_uid(item), _version(item)):
            return before
        try:
            return self._reduce(item)
        except Exception as error:
            message = f"cannot read the {self.kind} {name} in {namespace}"
            asyncio.get_running_loop().call_exception_handler(
                {"message": message, "exception": error}
            )
            return nothing

    def _replace(self, scope: str, listed: Iterable[Object]) -> None:
        fresh = {_key(item): item for item in listed if _uid(item)}
        scopes = [scope] if scope else list(self._objects)
        gone = {
            (namespace, name)
            for namespace in scopes
            for name in self.list_objects(namespace)
            if (namespace, name) not in fresh
        }
        changed = {key for key, item in fresh.items() if self._is_news(key, item)}
        for key in gone:
            self._remove(*key)
        for key in changed:
            self._set(key, fresh[key])
        self._notify(gone | changed)

    def _take(self, changed: Iterable[Object]) -> None:
        keys = set()
        for item in changed:
            key = _key(item)
            if not self._is_news(key, item):
                continue  # a `put` has replaced this version before the watch reported it
            if _uid(item):
                self._set(key, item)
            elif not self._remove(*key):
                continue
            keys.add(key)
        self._notify(keys)

    def _is_news(self, key: ObjectKey, item: Object) -> bool:
        before = self.get(*key)
        return before is None or not (item is before or _is_older(item, before))

    def _drop(self, deleted: Iterable[Object]) -> None:
        keys = set()
        for item in deleted:
            namespace, name = _key(item)
            before = self.get(namespace, name)
            if before is not None and _uid(before) == _uid(item):
                self._remove(namespace, name)
                keys.add((namespace, name))
        self._notify(keys)

    def _set(self, key: ObjectKey, item: Object) -> None:
        namespace, name = key
        self._remove(namespace, name)
        self._objects.setdefault(namespace, {})[name] = item
        if (app := find_shell_app(item)) is not None:
            self._by_app.setdefault((namespace, app), {})[name] = item

    def _remove(self, namespace: str, name: str) -> bool:
        """Remove an object, and return whether it was there."""
        item = self._objects.get(namespace, {}).pop(name, None)
        if item is not None and (app := find_shell_app(item)) is not None:
            of_app = self._by_app[namespace, app]
            del of_app[name]
            if not of_app:
                del self._by_app[namespace, app]
        return item is not None

    def _notify(self, keys: Collection[ObjectKey]) -> None:
        if keys:
            for on_change in self._listeners:
                on_change(keys)


async def list_everywhere(
    cluster: Cluster, kind: Kind, namespaces: Collection[str], labels: str = ""
) -> list[Object]:
    """List the objects of a kind in `namespaces`, with one request for the whole cluster if that is allowed.

    A namespace that is refused has no objects in the result. Raises ClusterError, even if all are refused.
    """
    items: list[Object] = []
    refusals: list[ClusterError] = []
    for scope in (ALL_NAMESPACES, *namespaces):
        try:
            items += await cluster.list(kind, scope, labels)
        except ClusterError as error:
            if error.status != 403:
                raise
            refusals.append(error)
        else:
            if scope == ALL_NAMESPACES:
                break
    if len(refusals) > len(namespaces):
        raise refusals[0]
    return [item for item in items if item["metadata"].get("namespace") in namespaces]


def _key(item: Object) -> ObjectKey:
    metadata = item["metadata"]
    return str(metadata.get("namespace", "")), str(metadata["name"])


def _uid(item: Object) -> str:
    return str(item["metadata"].get("uid", ""))


def _version(item: Object) -> str:
    return str(item["metadata"].get("resourceVersion", ""))


def _is_older(item: Object, other: Object) -> bool:
    """Return whether `item` is an older version of the object `other`.

    The versions of an object increase, as they always have and as KEP-5504 guarantees.
    """
    if _uid(item) != _uid(other):
        return False
    version, other_version = _version(item), _version(other)
    return version.isdecimal() and other_version.isdecimal() and int(version) < int(other_version)
