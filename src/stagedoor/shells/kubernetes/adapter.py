"""The gateway's side of shells on Kubernetes: it requests shells and waits for them, but creates none."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.session import STOPPED
from stagedoor.model.shell import Progress, ProgressStep, Shell, ShellState
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive.objects import read_failure_cause
from stagedoor.shells.kubernetes.live.bounds import DEFAULT_BOUNDS, ShellBounds
from stagedoor.shells.kubernetes.live.diagnose import LogRequest, diagnose
from stagedoor.shells.kubernetes.live.environment import Environment, Environments
from stagedoor.shells.kubernetes.live.namespace_cache import (
    Address,
    ClusterCache,
    NamespaceCache,
)
from stagedoor.shells.kubernetes.live.namespace_directory import NamespaceDirectory, Namespaces
from stagedoor.shells.kubernetes.live.outdated import Outdated, make_notice, read_outdated
from stagedoor.shells.kubernetes.live.register import DeriveContext
from stagedoor.shells.kubernetes.live.rights import ClusterAccess
from stagedoor.shells.kubernetes.live.session_leases import SessionLeases
from stagedoor.shells.kubernetes.live.start import (
    make_ended_keys_denial,
    make_shell,
    make_unserved_denial,
)
from stagedoor.shells.kubernetes.names import OPT_IN
from stagedoor.shells.kubernetes.ports import Cause, Cluster
from stagedoor.shells.starts import Starts, make_start_denial
from stagedoor.shells.static import make_unknown_app_denial
from stagedoor.tasks import Tasks

SYNC_S = 15.0
"""The longest that a login waits for the first list of its namespace, just after the gateway has started."""
GIVE_UP_S = 900.0
"""The longest wait for a start."""

OnProblem = Callable[[str, str | None], None]
"""Called with the part that fails and one line, and with None once the part works."""


class KubernetesShells:
    """A `shells.ports.Shells` of apps on Kubernetes. It belongs to the event loop in which it is created.

    `namespaces` maps environments to namespaces, or selects them. A namespace that is no longer selected
    admits no logins, but the leases of its open sessions are still renewed. `holder` names this gateway in
    leases. With `rights` the cluster has to agree to a login too; with None only Stagedoor's grants decide.
    `context` has the settings with which the gateway derives shells, to approve them for the cluster's
    admission policy; it is None if there is no such policy. `bounds` are for users' logins. `now` returns
    seconds since the epoch.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespaces: Namespaces,
        holder: str,
        *,
        rights: ClusterAccess | None = None,
        context: DeriveContext | None = None,
        bounds: ShellBounds = DEFAULT_BOUNDS,
        on_problem: OnProblem = lambda part, problem: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._rights = rights
        self._bounds = bounds
        self._now = now
        self._loop = asyncio.get_running_loop()
        self.directory = NamespaceDirectory(cluster, namespaces, self._follow_namespaces)
        names = self.directory.by_environment.values() if self.directory.is_fixed else None
        self._cluster_cache = ClusterCache(cluster, names)
        self.access = self._cluster_cache.access
        make = partial(
            Environment,
            cluster,
            self._cluster_cache,
            holder=holder,
            context=context,
            on_problem=partial(on_problem, "register of shells"),
            now=now,
        )
        self._tasks = Tasks("the cluster is not followed because of an internal fault")
        self._environments = Environments(make, self._tasks)
        on_lease_problem = partial(on_problem, "leases of shells")
        self._leases = SessionLeases(
            self._environments, self.has_target, self._tasks, on_lease_problem
        )
        self._starting: dict[Target, asyncio.Timeout] = {}
        """The time limit of each start."""
        self._requesters: dict[Target, str] = {}
        """The user of the login that is requesting each shell."""
        self._answered: dict[Target, Address] = {}
        """The address from which each shell has sent its banner to this gateway."""
        self._starts = Starts()
        self._targets: tuple[Target, ...] | None = None
        """The result of `list_targets`, until an app is added or removed."""
        for mirror in self._cluster_cache.apps:
            mirror.listen(self._forget_targets)
        self._follow_namespaces()

    def start(self, *others: Coroutine[Any, Any, None]) -> None:
        """Start the watches and the other tasks. `ensure` itself waits for the first list."""
        for work in (
            *self.directory.list_coroutines(),
            *self._cluster_cache.list_coroutines(),
            self._leases.run(),
            *others,
        ):
            self._tasks.start(work)

    def _follow_namespaces(self) -> None:
        """Serve the namespaces that are selected now, and stop serving the others."""
        self._targets = None
        namespaces = self.directory.by_environment
        left = self._environments.follow(namespaces)
        for target, limit in self._starting.items():
            if target.environment in left:
                limit.reschedule(self._loop.time())
        if not self.directory.is_fixed:
            self.access.follow(tuple(namespaces.values()))

    async def wait_until_synced(self, within_s: float) -> bool:
        """Wait up to `within_s` seconds until each namespace is listed or the API has refused that.

        Return whether all are listed.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.directory.wait_until_synced(or_refused=True)
        if self.directory.problem is not None:
            return False
        caches = [environment.cache for environment in self._environments.served.values()]
        return all(await asyncio.gather(*(cache.wait_until_synced(within_s) for cache in caches)))

    def list_unserved(self) -> dict[str | None, str]:
        """Return a reason in one line for each environment whose namespace cannot be seen at the moment."""
        problems = {}
        for name, environment in self._environments.served.items():
            if environment.cache.problem is not None:
                problems[name] = environment.cache.problem.message
            elif not environment.cache.is_synced:
                problems[name] = f"no answer of the Kubernetes API in {SYNC_S:g} s"
        return problems

    def list_targets(self) -> tuple[Target, ...]:
        """Return the apps that offer a shell at the moment, sorted."""
        if self._targets is None:
            targets = [
                Target(app, name)
                for name, environment in self._environments.served.items()
                for app in environment.cache.list_apps()
            ]
            self._targets = tuple(sorted(targets, key=str))
        return self._targets

    def _forget_targets(self, _: object) -> None:
        self._targets = None

    def has_target(self, target: Target) -> bool:
        """Return whether the app offers a shell at the moment."""
        cache = self._cache(target)
        return cache is not None and cache.find_app(target.app) is not None

    def find_ready(self, grant: Grant) -> Shell | None:
        """Return None, since the cluster may have to be asked whether the user may enter."""
        return None

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        """Return the shell once its sshd answers, if the cluster permits the login."""
        target, user = grant.target, grant.identity.name
        denial = await self._check(grant)
        if denial is None:
            served = self._environments.served.items()
            caches = {name: environment.cache for name, environment in served}
            if target.environment not in caches:
                return self._no_app(target)  # its namespace has lost the label meanwhile
            denial = self._bounds.check_start(target, user, caches, self._requesters)
        if denial is not None:
            return denial
        self._requesters.setdefault(target, user)
        try:
            return await self.start_without_grant(target, progress, user)
        finally:
            self._requesters.pop(target, None)

    async def _check(self, grant: Grant) -> Denial | None:
        """Return why the grant opens no shell at the moment, or None if it does."""
        target, cache = grant.target, self._cache(grant.target)
        if cache is None:
            return self._no_app(target)
        is_synced = await cache.wait_until_synced(SYNC_S)
        if is_synced and cache.find_app(target.app) is not None:
            rights = self._rights
            return None if rights is None else await rights.judge(grant, cache.namespace)
        if cache.problem is not None and not cache.problem.retry:
            return make_unserved_denial(target, cache.namespace)
        if not is_synced:
            return make_start_denial(target, "asking the cluster: its API has not answered yet")
        return self._no_app(target)

    async def start_without_grant(
        self, target: Target, progress: Progress, user: str = ""
    ) -> Shell | Denial:
        """Return the shell once its sshd answers. This needs no grant (`stagedoor app start`).

        No bound applies, but a shell that this starts counts as the `user`'s.
        """
        environment = self._environments.served.get(target.environment)
        if environment is None:
            return self._no_app(target)
        cache = environment.cache
        ended_at = cache.find_keys_end(target.app)
        if ended_at is not None and ended_at <= self._now():
            return make_ended_keys_denial(target, ended_at, cache.namespace)
        address = self._answered.get(target)
        if address is not None and address in cache.list_addresses(target.app, ready=True):
            await self._leases.renew(environment, target.app)
            return make_shell(target, address, cache)
        if cache.problem is not None and not cache.problem.retry:
            return make_unserved_denial(target, cache.namespace)
        start = partial(self._start, environment, target, user)
        return await self._starts.join(target, start, progress)

    async def resolve(self, target: Target) -> Shell | None:
        """Return the shell if one of its pods is ready, else None."""
        cache = self._cache(target)
        if cache is None or not await cache.wait_until_synced(SYNC_S):
            return None
        addresses = cache.list_addresses(target.app, ready=True)
        return make_shell(target, addresses[0], cache) if addresses else None

    async def observe(self, target: Target) -> ShellState:
        """Return the state of the shell according to the mirrors."""
        if not self.has_target(target):
            return ShellState.ABSENT
        if await self.resolve(target) is not None:
            return ShellState.READY
        state = self.diagnose_start(target)
        if isinstance(state, Cause):
            return ShellState.FAILED
        return ShellState.STARTING if state is not None else ShellState.ABSENT

    def read_outdated(self, target: Target) -> Outdated | None:
        """Return how a running shell is outdated, or None if it is up to date or not running."""
        cache = self._cache(target)
        return read_outdated(cache.find_shell(target.app)) if cache is not None else None

    def find_notice(self, target: Target) -> str | None:
        """Return a line for the developers in an outdated shell; None if it is up to date."""
        state = self.read_outdated(target)
        return make_notice(target.app, state) if state else None

    def diagnose_start(self, target: Target) -> ProgressStep | Cause | None:
        """Return the step of a start, or why it has failed, by the mirrors. Return None without a start."""
        cache = self._cache(target)
        if cache is None:
            return None
        shell, lease = cache.find_shell(target.app), cache.find_lease(target.app)
        failure = read_failure_cause(lease) if lease else None
        if failure is None and (shell is None or not shell["spec"].get("replicas", 1)):
            return None
        logs: dict[tuple[str, str], str] = {}
        while True:
            diagnosis = diagnose(
                shell, (), cache.list_pods(target.app), (), self._now(), logs=logs, failure=failure
            )
            if not isinstance(diagnosis, LogRequest):
                return diagnosis
            logs[diagnosis.pod, diagnosis.container] = ""  # logs are not read from the API here

    async def find_denials(self, grants: Mapping[str, Grant]) -> dict[str, Denial]:
        """Return the denials of the sessions that the cluster no longer allows (`rights`), by session.

        Guests who only watch are left out.
        """
        if self._rights is None:
            return {}
        checked = {
            session_id: (grant, cache.namespace)
            for session_id, grant in grants.items()
            if (cache := self._cache(grant.target)) is not None
            and self.has_target(grant.target)
            and (grant.guest is None or grant.guest.may_type)
        }
        return await self._rights.find_denials(checked)

    def touch(self, target: Target) -> None:
        """Count a new session, during which the lease is renewed."""
        self._leases.count_later(target, 1)

    def release(self, target: Target) -> None:
        """Count the end of a session."""
        self._leases.count_later(target, -1)

    async def stop_watching(self) -> None:
        """Stop all watches, renewals and waits for starts. The shells keep running."""
        self._tasks.cancel(STOPPED)
        await asyncio.gather(self._tasks.wait(), self._starts.cancel_all())

    def _cache(self, target: Target) -> NamespaceCache | None:
        environment = self._environments.served.get(target.environment)
        return environment.cache if environment is not None else None

    async def _start(
        self, environment: Environment, target: Target, user: str, progress: Progress
    ) -> Shell | Denial:
        try:
            async with asyncio.timeout(GIVE_UP_S) as limit:
                self._starting[target] = limit
                outcome = await environment.start(target, progress, user)
        except TimeoutError:
            if self._environments.served.get(target.environment) is not environment:
                return self._no_app(target)
            return make_start_denial(target, f"waiting for it: not ready after {GIVE_UP_S:g} s")
        finally:
            self._starting.pop(target, None)
        if isinstance(outcome, Shell):
            self._answered[target] = (outcome.host, outcome.port)
        return outcome

    def _no_app(self, target: Target) -> Denial:
        cache = self._cache(target)
        if cache is None:
            fix = f"no environment {target.environment or ''} is in kubernetes.namespaces"
            if not self.directory.is_fixed:
                fix = self.directory.explain_absence(target.environment)
            return make_unknown_app_denial(target, fix)
        app = f"{target.app} in {target.environment}" if target.environment else target.app
        return Denial(
            Reason.NO_APP,
            f"there is no app {app} here (a Deployment or StatefulSet {target.app} in the namespace "
            f"{cache.namespace} offers a shell once it is labelled {OPT_IN}=true)",
        )
