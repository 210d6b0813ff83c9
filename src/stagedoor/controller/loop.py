"""The controller's loop. Changes and timers queue apps, and a few apps are reconciled concurrently."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from stagedoor.controller.app_reader import AppReader
from stagedoor.controller.metrics import Metrics
from stagedoor.controller.mirrors import ControllerMirrors, NamespaceMirrors, is_annotated
from stagedoor.controller.namespace_registry import ADOPT_S, NamespaceRegistry
from stagedoor.controller.opt_ins import OptIns
from stagedoor.controller.queue import WorkQueue
from stagedoor.controller.reconcile import Reconciler
from stagedoor.controller.runs import FindOrder, RunReconciler
from stagedoor.controller.shell_writer import ShellWriter, StepError
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.target import Target, is_valid_app
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import DEFAULT_SETTINGS, AppSettings
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.derive.run import make_run_kit
from stagedoor.shells.kubernetes.live.namespace_directory import NamespaceDirectory, Namespaces
from stagedoor.shells.kubernetes.live.register import DeriveContext
from stagedoor.shells.kubernetes.ports import Cluster

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class LeaderOnly:
    """A `Cluster` that passes every call on to `cluster`, and refuses writes unless `leads()` is true.

    An election cancels the task of a controller that has lost, but only when its event loop runs again. A
    process that was suspended would first continue with its next write.
    """

    def __init__(self, cluster: Cluster, leads: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._leads = leads
        self.get, self.list, self.read_logs = cluster.get, cluster.list, cluster.read_logs
        self.watch, self.may, self.may_i = cluster.watch, cluster.may, cluster.may_i
        self.apply = self._guard(cluster.apply)
        self.create = self._guard(cluster.create)
        self.merge = self._guard(cluster.merge)
        self.delete = self._guard(cluster.delete)

    def _guard(
        self, write: Callable[Arguments, Coroutine[Any, Any, Result]]
    ) -> Callable[Arguments, Coroutine[Any, Any, Result]]:
        async def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            if not self._leads():
                raise ClusterError(
                    "this replica leads no more", status=None, reason="NotLeading", retry=True
                )
            return await write(*args, **kwargs)

        return guarded

    async def report(
        self, about: Object, *, reason: str, message: str, warning: bool = False
    ) -> None:
        """Create an Event as `Cluster.report` does. Do nothing in a replica that does not lead."""
        if self._leads():
            await self._cluster.report(about, reason=reason, message=message, warning=warning)


FIRST_S = 3600.0
"""How much earlier than the others a changed app becomes due, so that it does not wait behind thousands of
apps when the controller starts."""

CONCURRENCY = 8
"""The most apps that are reconciled concurrently. Most of that time is spent waiting for the API."""

OnProblem = Callable[[Target, str, float], None]
"""Called with a target, the failure, and the seconds until the next attempt."""


class Controller:
    """A controller that reconciles the shells of some namespaces while `run` runs.

    `namespaces` maps an environment to its namespace, or selects the namespaces. In the `leaving` namespaces,
    and in those that are no longer selected, no shells are offered, so existing ones are removed. An app's
    annotations take precedence over `defaults`. Without `find_order` it creates no runs. `now` returns
    seconds since the epoch, `clock` monotonic seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespaces: Namespaces,
        writer: ShellWriter,
        kit: Kit,
        *,
        on_problem: OnProblem,
        defaults: AppSettings = DEFAULT_SETTINGS,
        metrics: Metrics | None = None,
        leaving: Iterable[str] = (),
        find_order: FindOrder | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics = metrics or Metrics()
        self._on_problem = on_problem
        self._now = now
        self._clock = clock
        self._queue: WorkQueue[Target] = WorkQueue()
        self._wake = asyncio.Event()
        leaving = tuple(leaving)
        self._directory = NamespaceDirectory(cluster, namespaces, self._namespaces_changed)
        names = (*self._directory.by_environment.values(), *leaving)
        self._mirrors = ControllerMirrors(
            cluster, frozenset(names) if self._directory.is_fixed else None, self._app_changed
        )
        self._mirrors.access.on_change = self._access_changed
        self._registry = NamespaceRegistry(cluster, self._directory, self._mirrors, leaving)
        context = DeriveContext(kit, defaults)
        self._reader = AppReader(cluster, context, clock)
        self._reconciler = Reconciler(
            cluster, writer, self._reader, self._registry.by_environment, now
        )
        self._opt_ins = OptIns(cluster, self._registry.by_environment, self._reader.readings)
        self._runs = None
        if find_order is not None:
            of_runs = DeriveContext(make_run_kit(kit), defaults)
            self._runs = RunReconciler(
                cluster, self._directory, of_runs, find_order, on_problem, now
            )
        self._tasks: asyncio.TaskGroup | None = None
        self._requests: dict[Target, object] = {}
        """For each shell, the last seen number of requests for it, and whether its lease has a failure. A
        renewal of the lease is not a request."""
        self._apps: dict[Target, object] = {}
        """The last seen state, without the status, of each app that waits for a shell or is annotated."""
        self._loop = asyncio.get_running_loop()

    def list_unserved(self) -> dict[str, str]:
        """Return the reason, in one line, for each namespace that is currently not served."""
        problems = {
            view.namespace: view.why_unserved for view in self._registry.by_environment.values()
        }
        problems |= {**self._directory.refused, "every namespace": self._directory.problem}
        return {name: problem for name, problem in problems.items() if problem is not None}

    def count_ending(self) -> dict[str, int]:
        """Return the number of apps with a remaining shell in each namespace that is no longer served."""
        views = (view for view in self._registry.by_environment.values() if not view.may_offer)
        return {view.namespace: left for view in views if (left := len(view.list_with_shell()))}

    async def run(self) -> None:
        """Watch and reconcile until cancelled. A write in progress may or may not take effect."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for work in (*self._directory.list_coroutines(), *self._mirrors.list_coroutines()):
                tasks.create_task(work)
            self._begin_all(self._registry.by_environment)
            if not self._directory.is_fixed:
                tasks.create_task(self._adopt())
            tasks.create_task(self._opt_ins.run())
            if self._runs is not None:
                tasks.create_task(self._runs.run())
            await self._work(tasks)

    def _begin_all(self, environments: Iterable[str | None]) -> None:
        assert self._tasks is not None, "nothing changes before `run`"
        for environment in environments:
            self._tasks.create_task(
                self._begin(environment, self._registry.by_environment[environment])
            )

    def _namespaces_changed(self) -> None:
        """Serve the namespaces that are selected now, and let the shells in all others end."""
        self._begin_all(self._registry.follow())
        for states in (self._requests, self._apps, self._reader.readings):
            for target in [
                key for key in states if key.environment not in self._registry.by_environment
            ]:
                states.pop(target, None)

    async def _adopt(self) -> None:
        """Take over the shells in namespaces that lost their label while no controller was running."""
        await self._directory.wait_until_synced()
        self._namespaces_changed()
        while True:
            self._begin_all(await self._registry.adopt())
            await asyncio.sleep(ADOPT_S)

    async def _begin(self, environment: str | None, namespace: NamespaceMirrors) -> None:
        """Wait until a namespace is listed, and queue its apps.

        Nothing is decided before that, since an object that is not listed yet would count as deleted.
        """
        await namespace.wait_until_synced()
        if self._registry.by_environment.get(environment) is not namespace:
            return  # it has lost its label meanwhile
        for app in namespace.list_with_shell() | namespace.list_annotated():
            self._add(Target(app, environment), at_once=False)

    def refresh(self) -> None:
        """Bring every shell's ConfigMap up to date after a policy change. May be called in any thread."""
        with suppress(RuntimeError):  # the loop is closed: this controller has ended
            self._loop.call_soon_threadsafe(self.queue_all)

    def queue_all(self) -> None:
        """Queue every app in the listed namespaces that has a shell or remaining objects of one."""
        for environment, namespace in self._registry.by_environment.items():
            if namespace.is_synced:
                for app in namespace.list_with_shell():
                    self._add(Target(app, environment), at_once=False)

    def _access_changed(self, name: str) -> None:
        """Retry what was refused in a namespace that is served again."""
        environment = self._registry.environments[name]
        namespace = self._registry.by_environment[environment]
        if namespace.is_synced and namespace.problem is None:
            for app in namespace.list_with_shell():
                self._queue.forgive(Target(app, environment))
                self._add(Target(app, environment))

    async def _work(self, tasks: asyncio.TaskGroup) -> None:
        slots = asyncio.Semaphore(CONCURRENCY)
        while True:
            await slots.acquire()
            target = await self._next()
            tasks.create_task(self._reconcile(target)).add_done_callback(lambda _: slots.release())

    async def _next(self) -> Target:
        """Wait until a target is due, and take it from the queue."""
        while (target := self._queue.take(self._clock())) is None:
            self._wake.clear()
            next_at = self._queue.find_next_at()
            with suppress(TimeoutError):
                async with asyncio.timeout(
                    None if next_at is None else max(0.0, next_at - self._clock())
                ):
                    await self._wake.wait()
        return target

    async def _reconcile(self, target: Target) -> None:
        if target.environment not in self._registry.by_environment:
            self._queue.finish(target)
            return
        started_at = self._clock()
        try:
            result = await self._reconciler.reconcile(target)
        except (StepError, ClusterError) as error:
            await self._handle_failure(target, error)
        except Exception as error:  # a bug that one app triggers must not stop the others
            self.metrics.failures["Fault"] += 1
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"a fault in the controller at {target}", "exception": error}
            )
            self._queue.retry(target, self._clock())
        else:
            self.metrics.decisions[result.decision] += 1
            recheck_at = result.recheck_at
            at = None if recheck_at is None else self._clock() + max(0.0, recheck_at - self._now())
            self._queue.finish(target, at)
        finally:
            self.metrics.reconcile_seconds += self._clock() - started_at
            self._wake.set()

    async def _handle_failure(self, target: Target, error: StepError | ClusterError) -> None:
        refusal = error.error if isinstance(error, StepError) else error
        self.metrics.failures[refusal.reason] += 1
        # Waiting logins show the API's answers, except conflicts and lost connections, which pass.
        is_reported = refusal.status is not None and refusal.reason != "Conflict"
        if isinstance(error, StepError) and is_reported:
            await self._reconciler.fail(target, error)
        now = self._clock()
        self._on_problem(target, str(error), self._queue.retry(target, now) - now)

    def _app_changed(self, name: str, app: str, kind: Kind) -> None:
        if name not in self._registry.environments:
            self._registry.note_unmanaged(name)
            return
        environment = self._registry.environments[name]
        namespace = self._registry.by_environment[environment]
        self._registry.forget_if_empty(namespace)
        if not namespace.is_synced or not is_valid_app(app):
            return
        target = Target(app, environment)
        if kind is Kind.LEASE:
            lease = namespace.find_lease(app)
            request = lease and (
                objects.count_requests(lease),
                objects.read_failure_cause(lease) is not None,
            )
            before = self._requests.get(target)
            # A failure that the controller has written is not a change. Its removal by a gateway that
            # requests the shell is one.
            if request and before == (request[0], False) and request[1]:
                self._requests[target] = request
            self._forgive_if_changed(self._requests, target, request or None)
        elif namespace.find_shell(app) is None:
            state = _without_status(namespace.find_app(app))
            if not namespace.has_objects(app) and not is_annotated(namespace.find_app(app)):
                state = None
                if target not in self._apps:
                    return  # one of the many apps without a shell
            self._forgive_if_changed(self._apps, target, state)
        self._add(target)

    def _forgive_if_changed(
        self, states: dict[Target, object], target: Target, now: object | None
    ) -> None:
        """Forget the failures of a target if its state `now` differs from the one in `states`."""
        if states.get(target) == now:
            return
        if now is None:
            del states[target]
        else:
            states[target] = now
        self._queue.forgive(target)

    def _add(self, target: Target, *, at_once: bool = True) -> None:
        """Queue a target: to be due at once if it has changed, else behind all changed ones."""
        self._queue.add(target, self._clock() - (FIRST_S if at_once else 0.0))
        self._wake.set()

    def measure(self) -> Metrics:
        """Return the metrics, with the gauges updated."""
        unserved = len(self.list_unserved())
        self.metrics.unserved = unserved
        self.metrics.served = sum(
            not view.why_unserved for view in self._registry.by_environment.values()
        )
        self.metrics.leading = self.metrics.served > 0 or not unserved
        self.metrics.queue = len(self._queue)
        self.metrics.apps = sum(mirror.count() for mirror in self._mirrors.apps)
        self.metrics.shells = sum(
            namespace.count_shells() for namespace in self._registry.by_environment.values()
        )
        return self.metrics


def _without_status(app: Object | None) -> object:
    """Return the parts of an app that only its author changes; its status changes with every pod."""
    if app is None:
        return None
    meta = app["metadata"]
    return (meta.get("uid"), meta.get("generation"), meta.get("annotations"))
