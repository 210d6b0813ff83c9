"""One environment as a gateway serves it: the cache of its namespace, and the gateway's writes there."""

import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import nullcontext
from typing import Any

from stagedoor.model.denial import Denial
from stagedoor.model.shell import Progress, Shell
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.live.lease_writer import LeaseWriter
from stagedoor.shells.kubernetes.live.namespace_cache import ClusterCache, NamespaceCache
from stagedoor.shells.kubernetes.live.register import DeriveContext, Register
from stagedoor.shells.kubernetes.live.start import ShellStart
from stagedoor.shells.kubernetes.ports import Cluster


class Environment:
    """The namespace of one environment.

    `cache` has the mirrors of all namespaces, and `leases` writes the leases of its shells as `holder`.
    `judging` has the settings with which the gateway approves shells for the cluster's admission policy, None
    if there is no such policy. `now` returns seconds since the epoch.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: ClusterCache,
        namespace: str,
        holder: str,
        judging: DeriveContext | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.namespace = namespace
        self.cache = NamespaceCache(cache, namespace)
        self.leases = LeaseWriter(cluster, self.cache, holder, now)
        self._register = Register(cluster, self.cache, judging) if judging is not None else None
        self._cluster = cluster
        self._now = now

    def work(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield the coroutines that must run while the environment is served."""
        if self._register is not None:
            yield self._register.run()

    async def start(self, target: Target, progress: Progress, user: str = "") -> Shell | Denial:
        """Ask for the shell of `target`, and wait until its sshd answers or its start has failed."""
        start = ShellStart(
            self._cluster, self.cache, target, self.leases, progress, user, self._now
        )
        with self._register.asking(target.app) if self._register else nullcontext():
            return await start.wait()
