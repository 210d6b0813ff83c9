"""The gateway's side of shells on Kubernetes: asks for them, waits, dials; it makes and removes nothing."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from stagedoor.model.cluster import ClusterError
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.shell import Progress, Shell, ShellState, StartStep
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.cause import Cause
from stagedoor.shells.kubernetes.derive.objects import failure_of
from stagedoor.shells.kubernetes.live.diagnose import LogRequest, diagnose
from stagedoor.shells.kubernetes.live.environment import Environment
from stagedoor.shells.kubernetes.live.lifecycle import RENEW_S
from stagedoor.shells.kubernetes.live.namespace_cache import Address, NamespaceCache
from stagedoor.shells.kubernetes.live.outdated import Outdated, notice, outdated
from stagedoor.shells.kubernetes.live.register import DeriveContext
from stagedoor.shells.kubernetes.live.rights import ClusterAccess
from stagedoor.shells.kubernetes.live.start import MENDED_S, shell_at, unavailable
from stagedoor.shells.kubernetes.names import OPT_IN
from stagedoor.shells.kubernetes.ports import Cluster
from stagedoor.shells.starts import Starts
from stagedoor.wire.rfc3339 import show_time

SYNC_S = 15.0
"""How long somebody waits for a gateway that has just started and has not seen the cluster yet."""
REQUEST_S = 3.0
"""How long somebody who comes to a running shell waits for a cluster that does not answer."""
GIVE_UP_S = 900.0
"""A start that nobody has seen the end of is looked at no longer than this."""

OnProblem = Callable[[str | None], None]
"""Told in one line why leases cannot be renewed, and None when they can again."""


class KubernetesShells:
    """Satisfies `shells.ports.Shells`. Belongs to the event loop that it is made in.

    `namespaces` go by environment; `holder` names this gateway in leases. `rights` asks the cluster
    as well whether somebody may enter, None: our own grants decide alone. `judging` says how shells
    are judged for the cluster's fence, None: there is no fence. `now` is seconds since the epoch.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespaces: Mapping[str | None, str],
        holder: str,
        *,
        rights: ClusterAccess | None = None,
        judging: DeriveContext | None = None,
        on_problem: OnProblem = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._rights = rights
        self._on_problem = on_problem
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._environments = {
            name: Environment(cluster, namespace, holder, judging, now)
            for name, namespace in namespaces.items()
        }
        self._answered: dict[Target, Address] = {}
        """Where each shell has said its banner to us."""
        self._starts = Starts()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to watch; `ensure` waits for the first list by itself."""
        for environment in self._environments.values():
            for work in environment.work():
                self._spawn(work)
        self._spawn(self._renew())

    async def synced(self, within_s: float) -> bool:
        """Wait until all namespaces were listed or the API refused that, for `within_s` at most. Return
        whether all were listed."""
        caches = [environment.cache for environment in self._environments.values()]
        return all(await asyncio.gather(*(cache.synced(within_s) for cache in caches)))

    def unserved(self) -> dict[str | None, str]:
        """Return why each environment whose namespace is not seen at the moment is not, in one line."""
        found = {}
        for name, environment in self._environments.items():
            if environment.cache.problem is not None:
                found[name] = environment.cache.problem.message
            elif not environment.cache.is_synced:
                found[name] = f"no answer of the Kubernetes API in {SYNC_S:g} s"
        return found

    def targets(self) -> tuple[Target, ...]:
        found = [
            Target(app, name)
            for name, environment in self._environments.items()
            for app in environment.cache.apps()
        ]
        return tuple(sorted(found, key=str))

    def knows(self, target: Target) -> bool:
        cache = self._cache(target)
        return cache is not None and cache.app(target.app) is not None

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        return await self._denied(grant) or await self.enter(grant.target, progress)

    async def _denied(self, grant: Grant) -> Denial | None:
        """Return why the grant opens no shell now, None if it may."""
        denial = await self.unknown(grant.target)
        if denial is not None or self._rights is None:
            return denial
        return await self._rights.judge(grant, self._of(grant.target).namespace)

    async def unknown(self, target: Target) -> Denial | None:
        """Return why `target` is no app that offers a shell, as far as the cluster shows; None if it is."""
        cache = self._cache(target)
        if cache is None:
            return self._no_app(target)
        if not await cache.synced(SYNC_S):
            if cache.problem is not None and not cache.problem.retry:
                why = (
                    f"the gateway has no access to the namespace {cache.namespace}, which was deleted or "
                    "lost its Role; an administrator can mend that"
                )
                return unavailable(target, f"asking the cluster: {why}", MENDED_S)
            return unavailable(target, "asking the cluster: its API has not answered yet")
        return None if cache.app(target.app) is not None else self._no_app(target)

    async def enter(self, target: Target, progress: Progress) -> Shell | Denial:
        """As `ensure`, for an administrator who needs no grant (`stagedoor app start`)."""
        environment = self._of(target)
        cache = environment.cache
        ended_at = cache.keys_end(target.app)
        if ended_at is not None and ended_at <= self._now():
            return _keys_ended(target, ended_at, cache.namespace)
        known = self._answered.get(target)
        if known is not None and known in cache.addresses(target.app, ready=True):
            await self._keep(environment, target.app)
            return shell_at(target, known)
        return await self._starts.join(target, partial(self._start, target), progress)

    async def resolve(self, target: Target) -> Shell | None:
        cache = self._cache(target)
        if cache is None or not await cache.synced(SYNC_S):
            return None
        found = cache.addresses(target.app, ready=True)
        return shell_at(target, found[0]) if found else None

    async def observe(self, target: Target) -> ShellState:
        if not self.knows(target):
            return ShellState.ABSENT
        if await self.resolve(target) is not None:
            return ShellState.READY
        stands = self.stands(target)
        if isinstance(stands, Cause):
            return ShellState.FAILED
        return ShellState.STARTING if stands is not None else ShellState.ABSENT

    def outdated(self, target: Target) -> Outdated | None:
        """What is seen of a shell whose app has moved on; None if it is current, or does not run."""
        cache = self._cache(target)
        return outdated(cache.shell(target.app)) if cache is not None else None

    def notice(self, target: Target) -> str | None:
        found = self.outdated(target)
        return notice(target.app, found) if found else None

    def stands(self, target: Target) -> StartStep | Cause | None:
        """Where a start is or why it failed, by what the mirrors show; None if there is no start."""
        cache = self._of(target).cache
        shell, lease = cache.shell(target.app), cache.lease(target.app)
        failure = failure_of(lease) if lease else None
        if failure is None and (shell is None or not shell["spec"].get("replicas", 1)):
            return None
        logs: dict[tuple[str, str], str] = {}
        while True:
            found = diagnose(
                shell, (), cache.pods(target.app), (), self._now(), logs=logs, failure=failure
            )
            if not isinstance(found, LogRequest):
                return found
            logs[found.pod, found.container] = ""  # here nothing is asked of the API

    async def not_allowed(self, grants: Mapping[str, Grant]) -> dict[str, Denial]:
        """Of those who are inside, by session: whom the cluster itself lets in no longer (`rights`).

        The cluster was not asked about guests who only watch, and is not now.
        """
        if self._rights is None:
            return {}
        asked = {
            session_id: (grant, cache.namespace)
            for session_id, grant in grants.items()
            if (cache := self._cache(grant.target)) is not None
            and self.knows(grant.target)
            and (grant.guest is None or grant.guest.may_type)
        }
        return await self._rights.refused(asked)

    def touch(self, target: Target) -> None:
        self._count(target, 1)

    def release(self, target: Target) -> None:
        self._count(target, -1)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, self._starts.close(), return_exceptions=True)

    def _of(self, target: Target) -> Environment:
        return self._environments[target.environment]

    def _cache(self, target: Target) -> NamespaceCache | None:
        environment = self._environments.get(target.environment)
        return environment.cache if environment is not None else None

    async def _start(self, target: Target, progress: Progress) -> Shell | Denial:
        try:
            async with asyncio.timeout(GIVE_UP_S):
                outcome = await self._of(target).start(target, progress)
        except TimeoutError:
            return unavailable(target, f"waiting for it: not ready after {GIVE_UP_S:g} s")
        if isinstance(outcome, Shell):
            self._answered[target] = (outcome.host, outcome.port)
        return outcome

    async def _keep(self, environment: Environment, app: str) -> None:
        """Renew the lease of a running shell. A cluster that does not answer refuses no login into it."""
        with suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(REQUEST_S):
                await environment.leases.keep(app)

    def _count(self, target: Target, by: int) -> None:
        with suppress(RuntimeError):  # the loop is closed: nothing renews any more
            self._loop.call_soon_threadsafe(self._counted, target, by)

    def _counted(self, target: Target, by: int) -> None:
        environment = self._environments.get(target.environment)
        if environment is None:
            return
        # Those who leave an app that offers no shell any more are counted too, or its lease would be
        # renewed for ever.
        environment.leases.count(target.app, by)
        if by < 0 and self.knows(target):
            # The idle time runs from the last one's leaving.
            self._spawn(self._keep(environment, target.app))

    async def _renew(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(RENEW_S)
            failed = [
                failure
                for environment in self._environments.values()
                for failure in await environment.leases.keep_all()
            ]
            if failed and not failing:
                self._on_problem(f"leases cannot be renewed ({failed[0][0]}: {failed[0][1]})")
            elif failing and not failed:
                self._on_problem(None)
            failing = bool(failed)

    def _no_app(self, target: Target) -> Denial:
        place = f"{target.app} in {target.environment}" if target.environment else target.app
        cache = self._cache(target)
        if cache is None:
            fix = f"no environment {target.environment or ''} is in kubernetes.namespaces"
        else:
            fix = (
                f"a Deployment or StatefulSet {target.app} in the namespace {cache.namespace} offers "
                f"a shell once it is labelled {OPT_IN}=true"
            )
        return Denial(Reason.NO_APP, f"there is no app {place} here ({fix})")

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _keys_ended(target: Target, at: float, namespace: str) -> Denial:
    """Nobody's key is taken by the shell's sshd, which would call it a wrong one."""
    return Denial(
        Reason.SHELL_UNAVAILABLE,
        f"the keys in {target.shell_name} ended at {show_time(at)}, since no controller has renewed them: "
        "does one run, and does the cluster's API answer it? (`kubectl get pods` and the controller's log "
        f"say so; it needs its rights in the namespace {namespace})",
        retry_after_s=MENDED_S,
    )
