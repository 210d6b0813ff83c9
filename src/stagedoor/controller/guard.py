"""A cluster in which only a leader writes: who was stopped for a while wakes up as one of two."""

from collections.abc import AsyncGenerator, Callable, Sequence

from stagedoor.model.cluster import Change, ClusterError, Kind, Object
from stagedoor.shells.kubernetes.ports import Cluster


class LeaderOnly:
    """Satisfies `Cluster`: as `cluster`, but each write asks `leads` first.

    An election ends whoever has lost, but not before the loop has come to it; a process that was
    suspended goes on in the middle of what it did.
    """

    def __init__(self, cluster: Cluster, leads: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._leads = leads

    def _must_lead(self) -> None:
        if not self._leads():
            raise ClusterError(
                "this replica leads no more", status=None, reason="NotLeading", retry=True
            )

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return await self._cluster.get(kind, namespace, name)

    async def list(
        self, kind: Kind, namespace: str, labels: str = "", *, fields: str = ""
    ) -> Sequence[Object]:
        return await self._cluster.list(kind, namespace, labels, fields=fields)

    async def apply(self, manifest: Object, *, force: bool = True) -> Object:
        self._must_lead()
        return await self._cluster.apply(manifest, force=force)

    async def create(self, manifest: Object) -> Object:
        self._must_lead()
        return await self._cluster.create(manifest)

    async def merge(
        self, kind: Kind, namespace: str, name: str, patch: Object, *, subresource: str = ""
    ) -> Object:
        self._must_lead()
        return await self._cluster.merge(kind, namespace, name, patch, subresource=subresource)

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        version: str | None = None,
    ) -> None:
        self._must_lead()
        await self._cluster.delete(kind, namespace, name, uid=uid, version=version)

    async def logs(self, namespace: str, pod: str, container: str, *, lines: int) -> str:
        return await self._cluster.logs(namespace, pod, container, lines=lines)

    async def report(
        self, about: Object, *, reason: str, message: str, warning: bool = False
    ) -> None:
        if self._leads():
            await self._cluster.report(about, reason=reason, message=message, warning=warning)

    def watch(self, kind: Kind, namespace: str, labels: str = "") -> AsyncGenerator[Change, None]:
        return self._cluster.watch(kind, namespace, labels)

    async def may(
        self, user: str, groups: Sequence[str], namespace: str, verb: str, resource: str
    ) -> bool:
        return await self._cluster.may(user, groups, namespace, verb, resource)

    async def close(self) -> None:
        await self._cluster.close()
