"""The controller's loop: changes and times name keys, a few keys at once are looked at."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial

from stagedoor.controller.make import ShellWriter, StepError
from stagedoor.controller.metrics import Metrics
from stagedoor.controller.mirrors import NamespaceMirrors
from stagedoor.controller.opt_ins import OptIns
from stagedoor.controller.queue import WorkQueue
from stagedoor.controller.reconcile import Reconciler
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.target import Target, valid_app
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import DEFAULT_SETTINGS, AppSettings
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.ports import Cluster

AT_ONCE = 8
"""Keys that are looked at at the same time. Most of a look is waiting for the API."""

OnProblem = Callable[[Target, str, float], None]
"""Told what went wrong with a target, and in how many seconds it is tried again."""


class Controller:
    """Keeps the shells of some namespaces as they should be, for as long as `run` runs.

    `namespaces` go by environment; in those of `leaving` no shell is offered. An app's annotations
    come before `defaults`. `now` is seconds since the epoch, `clock` is monotonic.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespaces: Mapping[str | None, str],
        maker: ShellWriter,
        kit: Kit,
        *,
        on_problem: OnProblem,
        defaults: AppSettings = DEFAULT_SETTINGS,
        metrics: Metrics | None = None,
        leaving: Iterable[str] = (),
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics = metrics or Metrics()
        self._on_problem = on_problem
        self._now = now
        self._clock = clock
        self._queue: WorkQueue[Target] = WorkQueue()
        self._wake = asyncio.Event()
        self._worlds = {
            environment: NamespaceMirrors(cluster, namespace, partial(self._named, environment))
            for environment, namespace in namespaces.items()
        }
        for namespace in leaving:
            # By a name that no environment can have: people have none for such a shell any more.
            key = f"({namespace})"
            self._worlds[key] = NamespaceMirrors(
                cluster, namespace, partial(self._named, key), offers=False
            )
        self._reconciler = Reconciler(cluster, maker, kit, self._worlds, defaults, now)
        self._opt_ins = OptIns(cluster, kit.pod_labels)
        self._requests: dict[Target, object] = {}
        """How often each shell was asked for, and whether its lease says why it failed, as they were last
        seen. A renewal asks for nothing."""
        self._apps: dict[Target, object] = {}
        """What was last seen of each app of which there is no shell, its status left aside."""
        self._loop = asyncio.get_running_loop()

    def unserved(self) -> dict[str, str]:
        """Return why each namespace that is not served at the moment is not, in one line."""
        problems = {world.namespace: world.problem for world in self._worlds.values()}
        return {name: problem for name, problem in problems.items() if problem is not None}

    async def run(self) -> None:
        """Watch and work until cancelled; a write that is under way then may or may not be done."""
        async with asyncio.TaskGroup() as tasks:
            for environment, world in self._worlds.items():
                for mirror in world.mirrors:
                    tasks.create_task(mirror.run())
                tasks.create_task(self._begin(environment, world))
            await self._work(tasks)

    async def _begin(self, environment: str | None, world: NamespaceMirrors) -> None:
        """Work in a namespace from when it is listed: what is not seen yet is not gone."""
        await world.wait_until_synced()
        self._look_at_all_in(environment, world)
        await self._opt_ins.run(world)

    def refresh(self) -> None:
        """The policy has changed: every shell's ConfigMap is looked at. Any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody works any more
            self._loop.call_soon_threadsafe(self.look_at_all)

    def look_at_all(self) -> None:
        """Queue every app, and whatever is left of one, in the namespaces that are listed."""
        for environment, world in self._worlds.items():
            if world.is_synced:
                self._look_at_all_in(environment, world)

    def _look_at_all_in(self, environment: str | None, world: NamespaceMirrors) -> None:
        for app in world.concerned():
            self._add(Target(app, environment))

    async def _work(self, tasks: asyncio.TaskGroup) -> None:
        room = asyncio.Semaphore(AT_ONCE)
        while True:
            await room.acquire()
            target = await self._next()
            tasks.create_task(self._look_at(target)).add_done_callback(lambda _: room.release())

    async def _next(self) -> Target:
        """The next key that is due, waiting for it."""
        while (target := self._queue.take(self._clock())) is None:
            self._wake.clear()
            next_at = self._queue.next_at()
            with suppress(TimeoutError):
                async with asyncio.timeout(
                    None if next_at is None else max(0.0, next_at - self._clock())
                ):
                    await self._wake.wait()
        return target

    async def _look_at(self, target: Target) -> None:
        began = self._clock()
        try:
            looked = await self._reconciler.reconcile(target)
        except (StepError, ClusterError) as error:
            await self._failed(target, error)
        except Exception as error:  # a bug with one app is no reason to leave the others
            self.metrics.failures["Fault"] += 1
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"a fault in the controller at {target}", "exception": error}
            )
            self._queue.failed(target, self._clock())
        else:
            self.metrics.decisions[looked.decision] += 1
            again_at = looked.again_at
            at = None if again_at is None else self._clock() + max(0.0, again_at - self._now())
            self._queue.done(target, at)
        finally:
            self.metrics.reconcile_seconds += self._clock() - began
            self._wake.set()

    async def _failed(self, target: Target, error: StepError | ClusterError) -> None:
        refused = error.error if isinstance(error, StepError) else error
        self.metrics.failures[refused.reason] += 1
        # A conflict or a lost connection is nobody's fault; what the API says is for who waits.
        is_told = refused.status is not None and refused.reason != "Conflict"
        if isinstance(error, StepError) and is_told:
            await self._reconciler.fail(target, error)
        now = self._clock()
        self._on_problem(target, str(error), self._queue.failed(target, now) - now)

    def _named(self, environment: str | None, app: str, kind: Kind) -> None:
        world = self._worlds.get(environment)
        if world is None or not world.is_synced or not valid_app(app):
            return
        target = Target(app, environment)
        if kind is Kind.LEASE:
            lease = world.lease(app)
            asked = lease and (objects.asked(lease), objects.failure_of(lease) is not None)
            before = self._requests.get(target)
            # What has failed is written by ourselves; that it is gone says that somebody asks, too.
            if asked and before == (asked[0], False) and asked[1]:
                self._requests[target] = asked
            self._forgive_if_other(self._requests, target, asked or None)
        elif kind in (Kind.DEPLOYMENT, Kind.STATEFUL_SET) and world.shell(app) is None:
            self._forgive_if_other(self._apps, target, _written(world.app(app)))
        self._add(target)

    def _forgive_if_other(
        self, known: dict[Target, object], target: Target, now: object | None
    ) -> None:
        """The next try is not put off, if something has really changed."""
        if known.get(target) == now:
            return
        if now is None:
            del known[target]
        else:
            known[target] = now
        self._queue.forgive(target)

    def _add(self, target: Target) -> None:
        self._queue.add(target, self._clock())
        self._wake.set()

    def measure(self) -> Metrics:
        """Return the counts as they are now."""
        unserved = len(self.unserved())
        self.metrics.unserved = unserved
        self.metrics.served = len(self._worlds) - unserved
        self.metrics.queue = len(self._queue)
        self.metrics.apps = sum(world.apps() for world in self._worlds.values())
        self.metrics.shells = sum(world.shells() for world in self._worlds.values())
        return self.metrics


def _written(app: Object | None) -> object:
    """What people write of an app: its status changes with every pod of it."""
    if app is None:
        return None
    meta = app["metadata"]
    return (meta.get("uid"), app.get("spec"), meta.get("labels"), meta.get("annotations"))
