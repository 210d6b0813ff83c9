"""A cluster in memory, as far as a gateway asks for one: what is said to it, a test reads."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from stagedoor.model.cluster import Change, ClusterError, Kind, Object, Verb


@dataclass
class Memory:
    """Satisfies `shells.kubernetes.ports.Cluster`. `down` says that the API does not answer."""

    allowed: bool = True
    down: bool = False
    asked: list[Any] = field(default_factory=list)
    objects: dict[tuple[Kind, str], Object] = field(default_factory=dict)
    _watching: list[tuple[Kind, "asyncio.Queue[Change]"]] = field(default_factory=list)
    _versions: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def _must_answer(self) -> None:
        if self.down:
            raise ClusterError("no answer", status=None, reason="NoAnswer", retry=True)

    def put(self, kind: Kind, found: dict[str, Any]) -> Object:
        meta = {"uid": f"uid-{found['metadata']['name']}", **found["metadata"]}
        meta["resourceVersion"] = str(next(self._versions))
        stored = {**found, "kind": str(kind), "metadata": meta}
        self.objects[kind, meta["name"]] = stored
        self._tell(kind, Change(Verb.CHANGED, (stored,)))
        return stored

    def drop(self, kind: Kind, name: str) -> None:
        self._tell(kind, Change(Verb.DELETED, (self.objects.pop((kind, name)),)))

    def _tell(self, kind: Kind, change: Change) -> None:
        for watched, queue in self._watching:
            if watched is kind:
                queue.put_nowait(change)

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        self._must_answer()
        return self.objects.get((kind, name))

    async def list(
        self, kind: Kind, namespace: str, labels: str = "", *, fields: str = ""
    ) -> Sequence[Object]:
        self._must_answer()
        self.asked.append(("list", kind, labels, fields))
        return [one for (found, _), one in self.objects.items() if found is kind]

    async def apply(self, manifest: Object, *, force: bool = True) -> Object:
        raise AssertionError("a gateway makes nothing but leases")

    async def create(self, manifest: Object) -> Object:
        self._must_answer()
        name = manifest["metadata"]["name"]
        self.asked.append(("create", manifest["kind"], name))
        if (Kind(manifest["kind"]), name) in self.objects:
            raise ClusterError("it is there", status=409, reason="AlreadyExists", retry=False)
        return self.put(Kind(manifest["kind"]), dict(manifest))

    async def merge(
        self, kind: Kind, namespace: str, name: str, patch: Object, *, subresource: str = ""
    ) -> Object:
        self._must_answer()
        self.asked.append(("merge", kind, name, patch))
        before = self.objects.get((kind, name))
        if before is None:
            raise ClusterError("there is none", status=404, reason="NotFound", retry=False)
        return self.put(kind, _merged(before, patch))

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        version: str | None = None,
    ) -> None:
        raise AssertionError("a gateway deletes nothing")

    async def logs(self, namespace: str, pod: str, container: str, *, lines: int) -> str:
        self._must_answer()
        return ""

    async def report(
        self, about: Object, *, reason: str, message: str, warning: bool = False
    ) -> None: ...

    async def watch(
        self, kind: Kind, namespace: str, labels: str = ""
    ) -> AsyncGenerator[Change, None]:
        queue: asyncio.Queue[Change] = asyncio.Queue()
        self._watching.append((kind, queue))
        yield Change(
            Verb.LISTED, [one for (found, _), one in self.objects.items() if found is kind]
        )
        while True:
            yield await queue.get()

    async def may(
        self, user: str, groups: Sequence[str], namespace: str, verb: str, resource: str
    ) -> bool:
        self.asked.append((user, tuple(groups), namespace, verb, resource))
        self._must_answer()
        return self.allowed

    async def close(self) -> None: ...


def _merged(before: Object, patch: Object) -> dict[str, Any]:
    """RFC 7396."""
    result = dict(before)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = _merged(result.get(name) or {}, value)
        else:
            result[name] = value
    return result
