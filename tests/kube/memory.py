"""A cluster's API in memory, of one field manager; and its pods, which run as soon as they are wanted.

`tests/kube/api/test_memory.py` holds it to what the real API server does.
"""

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any

from stagedoor.model.cluster import Change, ClusterError, Kind, Object, Trim, Verb
from stagedoor.shells.kubernetes.names import CONTAINER, SHELL_OF, SSH_PORT_NAME

OWN = ("uid", "resourceVersion", "generation")
"""The fields of an object's metadata that the server alone writes."""
Key = tuple[Kind, str, str]
"""Kind, namespace, name."""


class MemoryCluster:
    """Satisfies `shells.kubernetes.ports.Cluster`. While it is `down` it answers no request.

    With `wide` a ClusterRole gives the right to read; without it each namespace's Role does. The right to
    write is always a namespace's.
    """

    namespace = "default"
    """The kubeconfig's own."""

    def __init__(self, *, wide: bool = True) -> None:
        self._wide = wide
        self.objects: dict[Key, dict[str, Any]] = {}
        self.events: list[tuple[str, str]] = []
        """Reason and message of each Event."""
        self.reported: list[dict[str, Any]] = []
        """The Events themselves, for who lists them."""
        self.said: dict[str, str] = {}
        """A pod's log."""
        self.asked: list[str] = []
        """The verb and kind of each write."""
        self.read: list[Key] = []
        """The objects that were read one by one."""
        self.read_s = 0.0
        """How long each of these takes."""
        self.stale: set[Key] = set()
        """The objects that a watch's list, which comes from the server's memory, lacks."""
        self.refused: dict[str, str] = {}
        """Such writes (`apply Deployment`) are answered 403, with this message."""
        self.heard: list[Callable[[Key, Object | None], None]] = []
        """Called with each object that is written, and with None when it is deleted."""
        self._closed: set[str] = set()
        self.allowed = True
        """The answer to an access review."""
        self.reviews: list[tuple[str, tuple[str, ...], str, str, str]] = []
        """The access reviews so far: user, groups, namespace, verb, resource."""
        self._applied: dict[Key, Object] = {}
        self._made: Counter[Key] = Counter()
        self._down = False
        self._versions = itertools.count(1)
        self._watches: list[asyncio.Queue[Key | None]] = []

    @property
    def down(self) -> bool:
        return self._down

    @down.setter
    def down(self, down: bool) -> None:
        """Set whether it is down. Watchers miss what happens, and list everything once it is up again."""
        self._down = down
        if not down:
            self._tell(None)

    def lose(self, namespace: str) -> None:
        """Delete a namespace: its objects go, and with its Roles all rights in it."""
        for key in [key for key in self.objects if key[1] == namespace]:
            if key in self.objects:
                self.drop(key)
        self.close_namespace(namespace)

    def close_namespace(self, namespace: str) -> None:
        """Take all rights in a namespace away; its objects stay."""
        self._closed.add(namespace)
        self._tell(None)

    def restore(self, namespace: str) -> None:
        """Make the namespace again, with its Roles."""
        self._closed.discard(namespace)
        self._tell(None)

    def watches(self) -> int:
        """Return how many watches are open."""
        return len(self._watches)

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        await self._answer_read(namespace)
        self.read.append((kind, namespace, name))
        if self.read_s:
            await asyncio.sleep(self.read_s)
        return self.objects.get((kind, namespace, name))

    async def list(
        self, kind: Kind, namespace: str, labels: str = "", *, fields: str = ""
    ) -> Sequence[Object]:
        await self._answer_read(namespace)
        path, _, value = fields.partition("=")
        selected = [*self._selected(kind, namespace, labels)]
        if kind is Kind.EVENT:
            selected += self.reported
        return [
            resource for resource in selected if not fields or str(_at(resource, path)) == value
        ]

    async def apply(self, manifest: Object) -> Object:
        key, before = await self._asked("apply", manifest), self.objects.get(_key(manifest))
        dropped = _dropped(self._applied.get(key, {}), manifest)
        self._applied[key] = manifest
        return self._write(key, merged(merged(before or {}, dropped), manifest))

    async def create(self, manifest: Object) -> Object:
        key = await self._asked("create", manifest)
        if key in self.objects:
            raise _refused(409, "AlreadyExists", f"{key[2]} already exists")
        return self._write(key, dict(manifest))

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        key = (kind, namespace, name)
        await self._asked(
            "merge", {"kind": kind, "metadata": {"namespace": namespace, "name": name}}
        )
        before = self.objects.get(key)
        if before is None:
            raise _refused(404, "NotFound", f"{name} not found")
        expected = (patch.get("metadata") or {}).get("resourceVersion")
        if expected not in (None, before["metadata"]["resourceVersion"]):
            raise _refused(409, "Conflict", f"{name} has been modified")
        return self._write(key, merged(before, patch))

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        version: str | None = None,
    ) -> None:
        await self._asked(
            "delete", {"kind": kind, "metadata": {"namespace": namespace, "name": name}}
        )
        resource = self.objects.get((kind, namespace, name))
        if resource is not None:
            meta = resource["metadata"]
            if uid in (None, meta["uid"]) and version in (None, meta["resourceVersion"]):
                self.drop((kind, namespace, name))

    async def read_logs(self, namespace: str, pod: str, container: str, *, lines: int) -> str:
        await self._answer_read(namespace)
        return "".join(self.said.get(pod, "").splitlines(keepends=True)[-lines:])

    async def report(
        self, about: Object, *, reason: str, message: str, warning: bool = False
    ) -> None:
        if not self.down:
            self.events.append((reason, message))
            regarding = {"name": about["metadata"]["name"], "uid": about["metadata"].get("uid")}
            self.reported.append({"metadata": {}, "regarding": regarding, "note": message})

    async def watch(
        self,
        kind: Kind,
        namespace: str,
        labels: str = "",
        *,
        trim: Trim | None = None,
        metadata_only: bool = False,
    ) -> AsyncGenerator[Change, None]:
        def seen(resource: Object) -> Object:
            if metadata_only:
                resource = {
                    name: resource[name]
                    for name in ("apiVersion", "kind", "metadata")
                    if name in resource
                }
            return trim(resource) if trim else resource

        news: asyncio.Queue[Key | None] = asyncio.Queue()
        self._watches.append(news)
        known: dict[Key, Object] = {}
        failed = False
        key: Key | None = None
        try:
            while True:
                if key is None and not self._may_read(namespace):
                    failed = True
                    yield Change(Verb.FAILED, problem=self._forbidden(namespace))
                elif key is None and not self.down:
                    listed = [
                        resource
                        for resource in self._selected(kind, namespace, labels)
                        if _key(resource) not in self.stale
                    ]
                    known = {_key(resource): resource for resource in listed}
                    yield Change(Verb.LISTED, [seen(resource) for resource in listed])
                    if failed:
                        failed = False
                        yield Change(Verb.RESUMED)
                elif key is not None and not self.down and _is_in(key, kind, namespace):
                    old = self.objects.get(key)
                    if old is not None and _selects(labels, old):
                        known[key] = old
                        yield Change(Verb.CHANGED, (seen(old),))
                    elif key in known:
                        yield Change(Verb.DELETED, (seen(known.pop(key)),))
                key = await news.get()
        finally:
            self._watches.remove(news)

    async def may(
        self, user: str, groups: Sequence[str], namespace: str, verb: str, resource: str
    ) -> bool:
        self.reviews.append((user, tuple(groups), namespace, verb, resource))
        await self._answer()
        return self.allowed

    async def may_i(self, namespace: str, verb: str, resource: str, name: str = "") -> bool:
        await self._answer()
        return namespace not in self._closed

    # As the cluster's administrator and its controllers do it.

    def _uid(self, key: Key) -> str:
        """Return a uid for an object that is made: a later one under the same name is another object."""
        times = self._made[key]
        return f"uid-{key[1]}-{key[0]}-{key[2]}" + (f"-{times}" if times > 1 else "")

    def put(self, manifest: Object) -> Object:
        """Make or change an object, all of it."""
        return self._write(_key(manifest), dict(manifest))

    def drop(self, key: Key) -> None:
        """Delete an object, and by garbage collection what it owns."""
        gone = self.objects.pop(key)
        self._applied.pop(key, None)
        self._tell(key)
        for other, found in list(self.objects.items()):
            owners = found["metadata"].get("ownerReferences") or ()
            if other in self.objects and any(o["uid"] == gone["metadata"]["uid"] for o in owners):
                self.drop(other)

    def _selected(self, kind: Kind, namespace: str, labels: str) -> Sequence[Object]:
        return [
            found
            for key, found in sorted(self.objects.items())
            if _is_in(key, kind, namespace) and _selects(labels, found)
        ]

    async def _answer(self, namespace: str = "") -> None:
        await asyncio.sleep(0)
        if self.down:
            raise ClusterError("no answer", status=None, reason="NoAnswer", retry=True)
        if namespace in self._closed:
            raise self._forbidden(namespace)

    async def _answer_read(self, namespace: str) -> None:
        await self._answer()
        if not self._may_read(namespace):
            raise self._forbidden(namespace)

    def _may_read(self, namespace: str) -> bool:
        return self._wide or (namespace != "" and namespace not in self._closed)

    def _forbidden(self, namespace: str) -> ClusterError:
        return _refused(403, "Forbidden", f"cannot read the namespace {namespace}: forbidden")

    async def _asked(self, verb: str, manifest: Object) -> Key:
        await self._answer(manifest["metadata"].get("namespace", ""))
        asked = f"{verb} {manifest['kind']}"
        self.asked.append(asked)
        if asked in self.refused:
            raise _refused(403, "Forbidden", self.refused[asked])
        return _key(manifest)

    def _write(self, key: Key, wanted: dict[str, Any]) -> Object:
        """Store an object that a client wrote; one that stays as it is keeps its version."""
        before = self.objects.get(key)
        meta = dict(wanted["metadata"])
        if before is None:
            self._made[key] += 1
        own: Object = before["metadata"] if before is not None else {"uid": self._uid(key)}
        meta |= {name: own[name] for name in OWN if name in own}
        written = {**wanted, "metadata": meta}
        if key[0] in (Kind.DEPLOYMENT, Kind.STATEFUL_SET) and (
            before is None or before["spec"] != wanted["spec"]
        ):
            meta["generation"] = own.get("generation", 0) + 1
        if written == before:
            return before
        meta["resourceVersion"] = str(next(self._versions))
        self.objects[key] = written
        self._tell(key)
        return written

    def _tell(self, key: Key | None) -> None:
        for news in self._watches:
            news.put_nowait(key)
        if key is not None:
            for heard in self.heard:
                heard(key, self.objects.get(key))


class Pods:
    """Act as Kubernetes does for shells: a pod for each Deployment that wants one, which says `log`."""

    def __init__(self, cluster: MemoryCluster, address: tuple[str, int], log: str) -> None:
        self._cluster = cluster
        self._address = address
        self._log = log
        self._numbers = itertools.count(1)
        self._of: dict[Key, tuple[Key, object]] = {}
        """By the Deployment: its pod, and the template that it was made of."""
        cluster.heard.append(self._heard)

    def _heard(self, key: Key, found: Object | None) -> None:
        kind, namespace, name = key
        if kind is not Kind.DEPLOYMENT or (found is not None and not _app_of(found)):
            return
        wanted = found["spec"]["template"] if found and found["spec"].get("replicas", 1) else None
        pod, template = self._of.pop(key, (None, None))
        if wanted is not None and wanted == template:
            assert pod is not None
            self._of[key] = (pod, template)
            return
        if pod is not None and _replica_set_of(pod) in self._cluster.objects:
            self._cluster.drop(_replica_set_of(pod))
        if found is not None and wanted is not None:
            pod = (Kind.POD, namespace, f"{name}-{next(self._numbers)}")
            self._of[key] = (pod, wanted)
            self._cluster.said[pod[2]] = self._log
            replica_set = self._cluster.put(_head("apps/v1", _replica_set_of(pod), found))
            self._cluster.put(self._pod(pod, replica_set))

    def _pod(self, pod: Key, owner: Object) -> dict[str, Any]:
        port = {"name": SSH_PORT_NAME, "containerPort": self._address[1]}
        return {
            **_head("v1", pod, owner),
            "spec": {"containers": [{"name": CONTAINER, "ports": [port]}]},
            "status": {
                "phase": "Running",
                "podIP": self._address[0],
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": CONTAINER, "state": {"running": {}}}],
            },
        }


def merged(before: Object, patch: Object) -> dict[str, Any]:
    """RFC 7396."""
    result = dict(before)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            inner = result.get(name)
            result[name] = merged(inner if isinstance(inner, dict) else {}, value)
        else:
            result[name] = value
    return result


def _dropped(before: Object, now: Object) -> dict[str, Any]:
    """The patch that removes what was applied and is applied no more."""
    return dict(_drops(before, now))


def _drops(before: Object, now: Object) -> Iterator[tuple[str, Any]]:
    for name, value in before.items():
        if name not in now:
            yield name, None
        elif isinstance(value, dict) and isinstance(now[name], dict):
            yield name, dict(_drops(value, now[name]))


def _key(manifest: Object) -> Key:
    meta = manifest["metadata"]
    return Kind(manifest["kind"]), str(meta.get("namespace", "")), str(meta["name"])


def _is_in(key: Key, kind: Kind, namespace: str) -> bool:
    return key[0] is kind and namespace in ("", key[1])


def _selects(labels: str, found: Object) -> bool:
    """A label selector: `name`, `!name`, `name=value`, `name in (a, b)`, of which all must fit."""
    has = found["metadata"].get("labels") or {}
    for term in re.split(r",(?![^(]*\))", labels) if labels else ():
        if term.startswith("!"):
            if term[1:] in has:
                return False
            continue
        name, _, listed = term.partition(" in ")
        name, _, value = name.partition("=")
        wanted = listed.strip("() ").replace(" ", "").split(",") if listed else [value]
        if name not in has or (("=" in term or listed) and has[name] not in wanted):
            return False
    return True


def _at(found: Object, path: str) -> object:
    value: Any = found
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _app_of(deployment: Object) -> str:
    return str((deployment["metadata"].get("labels") or {}).get(SHELL_OF, ""))


def _replica_set_of(pod: Key) -> Key:
    return Kind.REPLICA_SET, pod[1], pod[2]


def _head(version: str, key: Key, owner: Object) -> dict[str, Any]:
    kind, namespace, name = key
    reference = {
        "apiVersion": "apps/v1",
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    labels = dict(owner["metadata"]["labels"])
    meta = {"namespace": namespace, "name": name, "labels": labels}
    return {
        "apiVersion": version,
        "kind": str(kind),
        "metadata": {**meta, "ownerReferences": [reference]},
    }


def _refused(status: int, reason: str, message: str) -> ClusterError:
    return ClusterError(message, status=status, reason=reason, retry=reason == "Conflict")
