"""The controller's part in runs: it creates a suspended Job for each run's lease, resumes it, and removes it.

The Job of a lease is created once, and the lease then records its uid. So a Job that is lost with its node,
or deleted by hand, is never created again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from enum import Enum, auto

from stagedoor.controller.shell_writer import is_unapproved, merge_when_approved
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.run import RunOrder
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive.objects import (
    make_failure_patch,
    read_failure_cause,
    read_time,
)
from stagedoor.shells.kubernetes.derive.run import build_run_job, find_cancel_time
from stagedoor.shells.kubernetes.live.kept_fields import select_fields
from stagedoor.shells.kubernetes.live.mirror import Mirror, ObjectKey
from stagedoor.shells.kubernetes.live.namespace_directory import NamespaceDirectory
from stagedoor.shells.kubernetes.live.register import DeriveContext, fetch_and_derive
from stagedoor.shells.kubernetes.names import RUN_JOB, RUN_OF, make_run_name
from stagedoor.shells.kubernetes.ports import Cause, Cluster

CHECK_S = 10.0
"""Seconds between two checks of all runs."""
RESUME_WITHIN_S = 90.0
"""Seconds after its lease was created at which a Job that was not resumed is deleted, since no gateway waits
for it any longer."""
CANCELLED_LEASE_KEPT_S = 120.0
"""How long the lease of a cancelled run is kept, in which gateways read that a user has cancelled it."""
CONCURRENCY = 8


FindOrder = Callable[[str], Awaitable[RunOrder | None]]
"""Returns the order of a run that is to start, by its id, as the store has it; None if there is none."""


class RunStep(Enum):
    """The next step for a run."""

    NOTHING = auto()
    CREATE = auto()
    MARK = auto()
    """Write the Job's uid to the lease."""
    RESUME = auto()
    DELETE_JOB = auto()
    DELETE_LEASE = auto()


def decide_run(lease: Object | None, job: Object | None, now: float) -> RunStep:
    """Return the next step for a run by its lease and Job. Pure; `now` is in seconds since the epoch."""
    is_suspended = job is not None and bool(job["spec"].get("suspend"))
    if lease is None:
        return RunStep.DELETE_JOB if is_suspended else RunStep.NOTHING
    requested_at = read_time((lease.get("spec") or {}).get("renewTime"))
    is_late = requested_at is None or now > requested_at + RESUME_WITHIN_S
    is_over = job is not None and _has_ended(job)
    cancelled = find_cancel_time(lease)
    if cancelled is not None:
        if job is not None and not is_over:
            return RunStep.DELETE_JOB
        return RunStep.DELETE_LEASE if now > cancelled + CANCELLED_LEASE_KEPT_S else RunStep.NOTHING
    created = (lease["metadata"].get("annotations") or {}).get(RUN_JOB)
    if job is None:
        if created is not None or is_late:
            return RunStep.DELETE_LEASE
        return RunStep.NOTHING if read_failure_cause(lease) is not None else RunStep.CREATE
    if created is None:
        return RunStep.MARK
    if created != job["metadata"].get("uid"):
        return RunStep.NOTHING  # another client has created it
    if is_over:
        return RunStep.DELETE_LEASE
    if is_suspended:
        return RunStep.DELETE_JOB if is_late else RunStep.RESUME
    return RunStep.NOTHING


def _has_ended(job: Object) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(
        condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True"
        for condition in conditions
    )


class RunReconciler:
    """A reconciler of the runs in the namespaces of `directory`. `now` returns seconds since the epoch.

    `context` has the settings of the derivation, with the kit of runs. The order of a run is in the store, so
    a lease alone makes no Job. `on_problem` is called like the controller's.
    """

    def __init__(
        self,
        cluster: Cluster,
        directory: NamespaceDirectory,
        context: DeriveContext,
        find_order: FindOrder,
        on_problem: Callable[[Target, str, float], None],
        now: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._directory = directory
        self._context = context
        self._find_order = find_order
        self._on_problem = on_problem
        self._now = now
        namespaces = list(directory.by_environment.values()) if directory.is_fixed else None
        self._leases = Mirror(cluster, Kind.LEASE, namespaces, RUN_OF)
        self._jobs = Mirror(cluster, Kind.JOB, namespaces, RUN_OF, _trim_job)
        for mirror in (self._leases, self._jobs):
            mirror.listen(self._on_change)
        self._due: set[ObjectKey] = set()
        self._busy: set[ObjectKey] = set()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Keep the runs until cancelled."""
        slots = asyncio.Semaphore(CONCURRENCY)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._leases.run())
            tasks.create_task(self._jobs.run())
            while True:
                self._news.clear()
                due, self._due = self._due - self._busy, self._due & self._busy
                for key in due:
                    self._busy.add(key)
                    tasks.create_task(self._keep(key, slots))
                with suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_S):
                        await self._news.wait()
                        continue
                self._due |= {
                    (namespace, name)
                    for mirror in (self._leases, self._jobs)
                    for namespace, name in mirror.list_keys()
                }

    def _on_change(self, keys: Collection[ObjectKey]) -> None:
        self._due |= set(keys)
        self._news.set()

    async def _keep(self, key: ObjectKey, slots: asyncio.Semaphore) -> None:
        try:
            # An empty list of Jobs causes no change, so a lease that was seen earlier waits for the list
            # here.
            await self._directory.wait_until_synced()
            for mirror in (self._leases, self._jobs):
                await mirror.wait_until_synced(key[0])
            async with slots:
                if self._directory.problem is None:
                    is_served = key[0] in self._directory.by_environment.values()
                    # Runs in a namespace that has lost its label may be another installation's.
                    if is_served or await self._cluster.may_i(key[0], "delete", "jobs.batch"):
                        await self._do(key, begins=is_served)
        except ClusterError as error:
            self._on_problem(self._target(key), f"{key[1]}: {error.message}", CHECK_S)
        except Exception as error:  # a bug that one run triggers must not stop the others
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"a fault in the controller at {key[1]}", "exception": error}
            )
        finally:
            self._busy.discard(key)
            if key in self._due:
                self._news.set()

    def _target(self, key: ObjectKey) -> Target:
        item = self._leases.get(*key) or self._jobs.get(*key) or {"metadata": {"labels": {}}}
        app = str(item["metadata"]["labels"].get(RUN_OF, key[1]))
        return Target(app, self._find_environment(key[0]))

    def _find_environment(self, namespace: str) -> str | None:
        environments = self._directory.by_environment.items()
        return next((name for name, other in environments if other == namespace), f"({namespace})")

    async def _do(self, key: ObjectKey, *, begins: bool) -> None:
        """Take the next step for a run. Unless it `begins`, a run that has not started never will."""
        namespace, name = key
        lease, job = self._leases.get(*key), self._jobs.get(*key)
        step = decide_run(lease, job, self._now())
        if not begins and step in (RunStep.CREATE, RunStep.MARK, RunStep.RESUME):
            step = RunStep.DELETE_LEASE if job is None else RunStep.DELETE_JOB
        match step:
            case RunStep.CREATE if lease is not None:
                await self._create(namespace, lease)
            case RunStep.MARK if job is not None:
                await self._mark(job)
            case RunStep.RESUME if job is not None:
                await self._resume(job)
            case RunStep.DELETE_JOB if job is not None:
                uid = str(job["metadata"]["uid"])
                await self._cluster.delete(Kind.JOB, namespace, name, uid=uid)
            case RunStep.DELETE_LEASE if lease is not None:
                version = str(lease["metadata"]["resourceVersion"])
                await self._cluster.delete(Kind.LEASE, namespace, name, version=version)

    async def _create(self, namespace: str, lease: Object) -> None:
        """Create the suspended Job of a lease, or write to the lease why there can be none."""
        name, app = str(lease["metadata"]["name"]), str(lease["metadata"]["labels"][RUN_OF])
        run_id = name.removeprefix(make_run_name(""))
        order = await self._find_order(run_id)
        if order is None or order.target != Target(app, self._find_environment(namespace)):
            await self._fail(namespace, name, "the store has no such run that is to start")
            return
        result = await fetch_and_derive(self._cluster, namespace, app, self._context)
        if isinstance(result, str):
            await self._fail(namespace, name, result)
            return
        resources = None if order.size is None else self._context.kit.run_sizes.get(order.size)
        if order.size is not None and resources is None:
            await self._fail(namespace, name, f"the controller has no size {order.size}")
            return
        try:
            created = await self._cluster.create(build_run_job(*result, run_id, order, resources))
        except ClusterError as error:
            if error.status is None or error.retry or error.reason == "AlreadyExists":
                raise
            await self._fail(namespace, name, error.message)
            return
        self._jobs.put(created)
        await self._mark(created)

    async def _mark(self, job: Object) -> None:
        metadata = job["metadata"]
        patch = {"metadata": {"annotations": {RUN_JOB: metadata["uid"]}}}
        lease = await self._cluster.merge(
            Kind.LEASE, metadata["namespace"], metadata["name"], patch
        )
        self._leases.put(lease)

    async def _fail(self, namespace: str, name: str, why: str) -> None:
        patch = make_failure_patch(Cause("creating its Job", why), self._now())
        self._leases.put(await self._cluster.merge(Kind.LEASE, namespace, name, patch))

    async def _resume(self, job: Object) -> None:
        """Resume a Job once a gateway has approved it."""
        try:
            patch = {"spec": {"suspend": False}}
            self._jobs.put(await merge_when_approved(self._cluster, job, patch))
        except ClusterError as error:
            if error.status != 404 and not is_unapproved(error):
                raise  # otherwise it was deleted, or the next check tries again


def _trim_job(item: Object) -> Object:
    return {
        **select_fields(item, "status"),
        "spec": {"suspend": (item.get("spec") or {}).get("suspend", False)},
    }
