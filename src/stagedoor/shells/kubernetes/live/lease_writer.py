"""Writes shells' leases, with which a gateway requests shells from the controller."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.live.lifecycle import RENEW_S
from stagedoor.shells.kubernetes.live.namespace_cache import NamespaceCache
from stagedoor.shells.kubernetes.names import make_shell_name
from stagedoor.shells.kubernetes.ports import Cluster

FRESH_S = 0.75 * RENEW_S
"""Seconds after a renewal by any gateway in which the lease is not renewed, since all sessions share it."""


class LeaseWriter:
    """The writer of the leases of one namespace, which counts this process's sessions in its shells.

    It writes as `holder`; `now` returns seconds since the epoch. It belongs to one event loop.
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
        self._sessions: Counter[str] = Counter()
        self._requests: dict[str, asyncio.Task[int]] = {}

    def count(self, app: str, by: int) -> None:
        """Add `by` to the number of sessions in the app's shell."""
        self._sessions[app] += by
        if self._sessions[app] <= 0:
            del self._sessions[app]

    def has_sessions(self, app: str | None = None) -> bool:
        """Return whether this process has sessions in the app's shell, or with None in any shell."""
        return bool(self._sessions) if app is None else app in self._sessions

    async def request_shell(self, app: str, user: str = "") -> int:
        """Request the shell, for the `user` of a login if there is one. A failed start is attempted again.

        Return the number of this request (REQUEST_COUNT), which only a failure with at least this number
        answers. Concurrent callers share one write. Raises ClusterError.
        """
        task = self._requests.get(app)
        if task is None:
            count = objects.count_requests(self._cache.find_lease(app)) + 1
            task = asyncio.create_task(self._write(app, count, user))
            self._requests[app] = task
            task.add_done_callback(lambda _: self._requests.pop(app, None))
        return await asyncio.shield(task)

    async def renew(self, app: str, fresh_s: float = FRESH_S) -> None:
        """Renew the lease, unless a gateway did so within `fresh_s` seconds or the shell is to be stopped.

        Raises ClusterError.
        """
        lease = self._cache.find_lease(app)
        at = objects.read_renewal(lease) if lease else None
        if lease is not None and at is None:
            return  # `stagedoor app stop`: only a new login may request the shell again
        if at is None or not 0 <= self._now() - at < fresh_s:
            await self._write(app, None)

    async def renew_all(self) -> list[tuple[str, ClusterError]]:
        """Renew the leases of all shells with sessions. Return the apps for which this failed, and why."""
        failed = []
        for app in tuple(self._sessions):
            try:
                await self.renew(app)
            except ClusterError as error:
                failed.append((app, error))
        return failed

    async def _write(self, app: str, count: int | None, user: str = "") -> int:
        """Write a request with that count, or a renewal (None), and return the count.

        If the lease is created or deleted at the same time, it tries up to three times.
        """
        for _ in range(3):
            if self._cache.find_lease(app) is None and await self._create(app, user):
                return 0
            patch = (
                objects.make_renewal(self._holder, self._now())
                if count is None
                else objects.make_request(self._holder, self._now(), count, user)
            )
            try:
                self._cache.leases.put(
                    await self._cluster.merge(
                        Kind.LEASE, self._cache.namespace, make_shell_name(app), patch
                    )
                )
            except ClusterError as error:
                if error.status != 404:
                    raise
                self._cache.leases.forget(self._cache.namespace, make_shell_name(app))
            else:
                break
        return count or 0

    async def _create(self, app: str, user: str) -> bool:
        """Create the lease. Return False if another gateway has created it, so that it must be renewed."""
        owner = self._cache.find_app(app)
        if owner is None:
            return True  # the app was deleted meanwhile, so there is nothing to request
        try:
            manifest = objects.build_lease(owner, self._holder, self._now(), user)
            lease = await self._cluster.create(manifest)
        except ClusterError as error:
            if error.reason != "AlreadyExists":
                raise
            return False
        self._cache.leases.put(lease)
        return True
