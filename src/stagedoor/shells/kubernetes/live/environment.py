"""The environments that a gateway serves: the cache of each namespace, and the gateway's writes to it."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext

from stagedoor.model.denial import Denial
from stagedoor.model.shell import Progress, Shell
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.live.lease_writer import LeaseWriter
from stagedoor.shells.kubernetes.live.namespace_cache import ClusterCache, NamespaceCache
from stagedoor.shells.kubernetes.live.register import DeriveContext, Register
from stagedoor.shells.kubernetes.live.start import ShellStart
from stagedoor.shells.kubernetes.ports import Cluster
from stagedoor.tasks import Tasks


class Environment:
    """The namespace of one environment.

    `cache` has the mirrors of all namespaces, and `leases` writes the leases of its shells as `holder`.
    `context` has the settings with which the gateway derives shells, to approve them for the cluster's
    admission policy; it is None if there is no such policy. `on_problem` is that of `Register`. `now` returns
    seconds since the epoch.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: ClusterCache,
        namespace: str,
        holder: str,
        context: DeriveContext | None,
        on_problem: Callable[[str | None], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.cache = NamespaceCache(cache, namespace)
        self.leases = LeaseWriter(cluster, self.cache, holder, now)
        self.register = (
            None if context is None else Register(cluster, self.cache, context, on_problem)
        )
        """The register of its shells, which has to run while the environment is served."""
        self._cluster = cluster
        self._now = now

    async def start(self, target: Target, progress: Progress, user: str = "") -> Shell | Denial:
        """Request the shell of `target`, and wait until its sshd answers or its start has failed."""
        start = ShellStart(
            self._cluster, self.cache, target, self.leases, progress, user, self._now
        )
        with self.register.judge_at_once(target.app) if self.register else nullcontext():
            return await start.wait()


class Environments:
    """The environments that are served now, and former ones in which this gateway still has sessions.

    `make` returns the environment of a namespace.
    """

    def __init__(self, make: Callable[[str], Environment], tasks: Tasks) -> None:
        self.served: dict[str | None, Environment] = {}
        self._make = make
        self._tasks = tasks
        self._former: list[tuple[str | None, Environment]] = []
        self._registers: dict[Environment, asyncio.Task[None]] = {}

    def follow(self, namespaces: Mapping[str | None, str]) -> Collection[str | None]:
        """Serve these namespaces from now on. Return the environments that are no longer served."""
        left = []
        for name, environment in list(self.served.items()):
            if namespaces.get(name) != environment.cache.namespace:
                del self.served[name]
                left.append(name)
                self._former.append((name, environment))
                if (task := self._registers.pop(environment, None)) is not None:
                    task.cancel()
        for name, namespace in namespaces.items():
            if name not in self.served:
                environment = self.served[name] = self._make(namespace)
                if environment.register is not None:
                    task = self._tasks.start(environment.register.run())
                    self._registers[environment] = task
        return left

    def find(self, target: Target, *, ends: bool) -> Environment | None:
        """Return the environment in which a session of `target` begins, or in which it `ends`, or None."""
        for name, environment in self._former if ends else ():
            if name == target.environment and environment.leases.has_sessions(target.app):
                return environment
        return self.served.get(target.environment)

    def list_in_use(self) -> list[Environment]:
        """Return the environments in which leases may have to be renewed."""
        self._former = [left for left in self._former if left[1].leases.has_sessions()]
        return [*self.served.values(), *(environment for _, environment in self._former)]
