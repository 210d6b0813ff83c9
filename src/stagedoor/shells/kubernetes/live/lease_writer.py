"""The gateway's half of the lease by which it and the controller agree that a shell is wanted."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.live.lifecycle import RENEW_S
from stagedoor.shells.kubernetes.live.namespace_cache import NamespaceCache
from stagedoor.shells.kubernetes.names import shell_object
from stagedoor.shells.kubernetes.ports import Cluster

FRESH_S = 0.75 * RENEW_S
"""A lease that anybody renewed within this is left as it is: all who are inside share it."""


class LeaseWriter:
    """Writes the leases of one namespace as `holder`, and counts who is inside by this process.

    `now` is seconds since the epoch. Belongs to one event loop.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: NamespaceCache,
        holder: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._holder = holder
        self._now = now
        self._inside: Counter[str] = Counter()
        self._requests: dict[str, asyncio.Task[int]] = {}

    def count(self, app: str, by: int) -> None:
        """Somebody has entered or left."""
        self._inside[app] += by
        if self._inside[app] <= 0:
            del self._inside[app]

    async def request_shell(self, app: str) -> int:
        """Ask for the shell: whatever failed before is to be tried again; the count (ASKED) that a failure
        has to answer. Raises ClusterError.

        Callers that ask at the same time share one write.
        """
        task = self._requests.get(app)
        if task is None:
            count = objects.asked(self._cache.lease(app)) + 1
            task = asyncio.create_task(self._write(app, count))
            self._requests[app] = task
            task.add_done_callback(lambda _: self._requests.pop(app, None))
        return await asyncio.shield(task)

    async def keep(self, app: str, fresh_s: float = FRESH_S) -> None:
        """Renew the lease, unless somebody did within `fresh_s` or it was told to stop.

        Raises ClusterError.
        """
        lease = self._cache.lease(app)
        at = objects.renewed_at(lease) if lease else None
        if lease is not None and at is None:
            return  # `stagedoor app stop`: only a new login asks again
        if at is None or not 0 <= self._now() - at < fresh_s:
            await self._write(app, None)

    async def keep_all(self) -> list[tuple[str, ClusterError]]:
        """Renew the leases of all who are inside; what could not be renewed and why."""
        failed = []
        for app in tuple(self._inside):
            try:
                await self.keep(app)
            except ClusterError as error:
                failed.append((app, error))
        return failed

    async def _write(self, app: str, count: int | None) -> int:
        """One small write, of a request with that count or of a renewal; three where the lease comes or
        goes in this very moment. The count."""
        for _ in range(3):
            if self._cache.lease(app) is None and await self._create(app):
                return 0
            patch = (
                objects.renewal(self._holder, self._now())
                if count is None
                else objects.request(self._holder, self._now(), count)
            )
            try:
                self._cache.leases.put(
                    await self._cluster.merge(
                        Kind.LEASE, self._cache.namespace, shell_object(app), patch
                    )
                )
            except ClusterError as error:
                if error.status != 404:
                    raise
                self._cache.leases.forget(shell_object(app))
            else:
                break
        return count or 0

    async def _create(self, app: str) -> bool:
        """Whether that is all; False if somebody else's is there, which is to be renewed."""
        owner = self._cache.app(app)
        if owner is None:
            return True  # the app went meanwhile: there is nothing to ask for
        try:
            made = await self._cluster.create(objects.lease(owner, self._holder, self._now()))
        except ClusterError as error:
            if error.reason != "AlreadyExists":
                raise
            return False
        self._cache.leases.put(made)
        return True
