"""The runner of apps on Kubernetes.

The gateway writes a lease, for which the controller creates a suspended Job from the run's order in the
store. The gateway derives the Job too, compares every field, and writes the Job's uid and generation to the
register. The admission policy lets the controller resume only this Job (docs/decisions/0048-runs.md). A
second Job of a run is never approved.
"""

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.denial import Denial
from stagedoor.model.run import START_WITHIN_S, Run, RunOrder
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive.compare import find_job_differences
from stagedoor.shells.kubernetes.derive.objects import read_failure_cause
from stagedoor.shells.kubernetes.derive.run import (
    build_run_input,
    build_run_job,
    build_run_lease,
    find_cancel_time,
    has_started,
    make_run_kit,
    read_end,
)
from stagedoor.shells.kubernetes.live.diagnose import find_cause
from stagedoor.shells.kubernetes.live.namespace_directory import NamespaceDirectory
from stagedoor.shells.kubernetes.live.register import (
    DeriveContext,
    fetch_and_derive,
    fetch_app,
    identify_shell,
)
from stagedoor.shells.kubernetes.live.runs.folder import ClusterRunFolders, RunApp
from stagedoor.shells.kubernetes.live.runs.log_copies import RunLogCopies
from stagedoor.shells.kubernetes.names import (
    REGISTER,
    RUN_CANCELLED,
    RUN_ENTRY,
    RUN_JOB,
    make_run_name,
)
from stagedoor.shells.kubernetes.ports import RunCluster
from stagedoor.wire.rfc3339 import show_time

START_WAIT_S = 0.8 * START_WITHIN_S
"""The longest wait for a start. A pod that takes longer, because of a node or an image, still starts."""
POLL_S = 0.1
CHECK_EVERY_S = 1.0
CALL_S = 20.0
PER_NAMESPACE = 100
"""The most runs in one namespace at a time."""


FindRuns = Callable[[str], Awaitable[Sequence[Run] | Denial]]
"""Returns the runs in the store whose id begins so."""


class KubernetesRunner(ClusterRunFolders):
    """A `shells.runner.Runner` of Jobs. It belongs to the event loop in which it is created.

    `directory` has the namespaces by environment, `has_target` returns whether an app offers a shell, and
    `find_runs` reads the store. `folder` has a folder for each run, and `sizes` are the names in
    `Kit.run_sizes`. Without `context` the cluster has no admission policy, and no Job is compared.
    """

    def __init__(
        self,
        cluster: RunCluster,
        directory: NamespaceDirectory,
        has_target: Callable[[Target], bool],
        find_runs: FindRuns,
        folder: Path,
        holder: str,
        context: DeriveContext | None = None,
        sizes: Collection[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(folder, now)
        self._cluster = cluster
        self._directory = directory
        self._has_target = has_target
        self._find_runs = find_runs
        self._holder = holder
        self._context = context and replace(context, kit=make_run_kit(context.kit))
        self._sizes = frozenset(sizes)
        self._loop = asyncio.get_running_loop()
        names = list(directory.by_environment.values()) if directory.is_fixed else None
        self._log_copies = RunLogCopies(cluster, names, self, self._find_run_app, now)

    async def run(self) -> None:
        """Copy the logs of all runs until cancelled."""
        await self._log_copies.run()

    def has(self, target: Target) -> bool:
        """Return whether the app is in one of the namespaces."""
        return self._has_target(target)

    def has_input_stream(self, target: Target) -> bool:
        """Return False: a Job gets all its input at the start, in a Secret."""
        return False

    def find_limit(self, target: Target) -> str | None:
        """Return the limit of the app's namespace if that has PER_NAMESPACE runs, else None."""
        namespace = self._directory.by_environment.get(target.environment)
        pods = {} if namespace is None else self._log_copies.list_pods(namespace)
        if sum(read_end(pod) is None for pod in pods.values()) < PER_NAMESPACE:
            return None
        return (
            f"the namespace of {target.login_name} has {PER_NAMESPACE} runs, and more are not started; try "
            "again later"
        )

    def list_sizes(self, target: Target) -> Collection[str]:
        """Return the sizes that the installation offers."""
        return self._sizes

    async def start(self, run_id: str, order: RunOrder, whole_input: bytes = b"") -> str | None:
        """Request the Job and approve it. Return None once it runs, or else why it does not."""
        namespace = self._directory.by_environment.get(order.target.environment)
        if namespace is None:
            return "its namespace is no longer served"
        try:
            app = RunApp(namespace, order.target.app)
            await asyncio.to_thread(self.make, run_id, app)
            async with asyncio.timeout(START_WAIT_S):
                why = await self._request_job(namespace, run_id, order, whole_input)
                why = why or await self._wait_for_pod(namespace, run_id)
        except TimeoutError:
            if self._log_copies.find_pod(namespace, run_id) is not None:
                return None  # it waits for a node or an image
            why = "no controller has started its Job; an administrator finds the reason in its log"
        except ClusterError as error:
            why = f"asking the cluster: {error.message}"
        except OSError as error:
            why = error.strerror or str(error)
        finally:
            with suppress(ClusterError):
                await self._approve(namespace, run_id, None)
        return why

    def feed(self, run_id: str, at: int, data: bytes) -> int:
        """Drop input: the task got all of it at its start."""
        return at + len(data)

    def end_input(self, run_id: str, size: int | None) -> bool:
        """Do nothing: the task got all of its input at its start."""
        return True

    def keep_input(self, run_id: str) -> None:
        """Do nothing: the task got all of its input at its start."""

    def cancel(self, run_id: str) -> None:
        """Ask the controller to delete the Job, and so its pod."""
        namespace = self.read_run_app(run_id).namespace
        future = asyncio.run_coroutine_threadsafe(self._cancel(namespace, run_id), self._loop)
        try:
            future.result(CALL_S)
        except (ClusterError, TimeoutError) as error:
            raise OSError(str(error)) from error

    async def _request_job(
        self, namespace: str, run_id: str, order: RunOrder, whole_input: bytes
    ) -> str | None:
        """Request the Job, give it its input and approve it.

        Return why that is not possible, or None. Raises ClusterError.
        """
        app = await fetch_app(self._cluster, namespace, order.target.app)
        if app is None:
            return "there is no such app"
        lease = await self._cluster.create(build_run_lease(app, run_id, self._holder, self._now()))
        while RUN_JOB not in (lease["metadata"].get("annotations") or {}):
            cause = read_failure_cause(lease)
            if cause is not None:
                return f"{cause.step}: {cause.message}"
            if find_cancel_time(lease) is not None:
                return "it was cancelled before it had begun"
            await asyncio.sleep(POLL_S)
            current = await self._cluster.get(Kind.LEASE, namespace, make_run_name(run_id))
            if current is None:
                return "its lease was deleted"
            lease = current
        job = await self._cluster.get(Kind.JOB, namespace, make_run_name(run_id))
        if job is None:
            return "its Job was deleted"
        why = await self._compare(namespace, run_id, order, job)
        if why is not None:
            return why
        if order.has_input:
            await self._cluster.create(build_run_input(app, job, run_id, whole_input))
        await self._approve(namespace, run_id, identify_shell(job))
        return None

    async def _compare(
        self, namespace: str, run_id: str, order: RunOrder, job: Object
    ) -> str | None:
        """Return how a Job differs from the one derived from the app, or None. Raises ClusterError."""
        if self._context is None:
            return None
        result = await fetch_and_derive(self._cluster, namespace, order.target.app, self._context)
        if isinstance(result, str):
            return result
        resources = None if order.size is None else self._context.kit.run_sizes.get(order.size)
        paths = find_job_differences(build_run_job(*result, run_id, order, resources), job)
        return f"its Job is not what the app has at {', '.join(paths)}" if paths else None

    async def _approve(self, namespace: str, run_id: str, entry: str | None) -> None:
        """Write a run's entry in the register, or remove it (None). Raises ClusterError."""
        if self._context is not None:
            patch = {"data": {f"{RUN_ENTRY}{run_id}": entry}}
            await self._cluster.merge(Kind.CONFIG_MAP, namespace, REGISTER, patch)

    async def _find_run_app(self, run_id: str) -> RunApp | None:
        """Return the app of a run according to the store, or None if it has no such run.

        Raises OSError if the store does not answer, or the namespace is not known, at least not yet.
        """
        runs = await self._find_runs(run_id)
        if isinstance(runs, Denial):
            raise OSError(errno.EAGAIN, runs.message)
        target = next((run.target for run in runs if run.id == run_id), None)
        if target is None:
            return None
        namespace = self._directory.by_environment.get(target.environment)
        if namespace is None:
            raise OSError(errno.EAGAIN, "its namespace is not known")
        return RunApp(namespace, target.app)

    async def _wait_for_pod(self, namespace: str, run_id: str) -> str | None:
        """Wait until the task runs. Return why it does not start, else None."""
        while True:
            pod = self._log_copies.find_pod(namespace, run_id)
            if pod is not None:
                if has_started(pod) or read_end(pod) is not None:
                    return None
                cause = find_cause(pod, self._now())
                if cause is not None:
                    return f"{cause.step}: {cause.message}"
            await self._log_copies.wait(CHECK_EVERY_S)

    async def _cancel(self, namespace: str, run_id: str) -> None:
        patch = {"metadata": {"annotations": {RUN_CANCELLED: show_time(self._now())}}}
        try:
            await self._cluster.merge(Kind.LEASE, namespace, make_run_name(run_id), patch)
        except ClusterError as error:
            if error.status != 404:  # without a lease the run has ended
                raise
