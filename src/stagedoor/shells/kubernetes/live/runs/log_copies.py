"""The copies of the logs of all runs on Kubernetes, which follow the runs' pods.

Each gateway has a copy of every run's log, so any gateway can show it, and nothing is lost with a pod or
another gateway. One worker of a gateway follows each run: the one that holds the lock in the run's folder.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass

from stagedoor.holder.run_folder import MAX_DETAIL_CHARS, LogWriter, RunFolder, RunStatus
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.run import CANCELLED_CODE, LOST_CODE, START_WITHIN_S, RunState
from stagedoor.shells.kubernetes.derive.objects import read_time
from stagedoor.shells.kubernetes.derive.run import (
    LogParser,
    PodEnd,
    find_cancel_time,
    has_started,
    read_end,
)
from stagedoor.shells.kubernetes.live.kept_fields import trim_pod
from stagedoor.shells.kubernetes.live.mirror import Mirror, ObjectKey
from stagedoor.shells.kubernetes.live.runs.folder import ClusterRunFolders, RunApp
from stagedoor.shells.kubernetes.names import CONTAINER, RUN_OF, make_run_name
from stagedoor.shells.kubernetes.ports import RunCluster
from stagedoor.shells.run_folders import is_final, read_status

CHECK_S = 5.0
"""Seconds between two searches for runs that no worker follows."""
_MAX_ID_CHARS = 16
RETRY_PAUSE_S = 0.2
"""The first pause before a log is requested again."""
MAX_RETRY_PAUSE_S = 5.0
LOST_S = 60.0
"""A pod that should have been gone for so long was lost with its node."""
READS_AFTER_END = 6
"""How often the log of an ended container is read for missing output, in some six seconds."""
_GONE = PodEnd(RunState.LOST, LOST_CODE, "its pod was deleted")


@dataclass(frozen=True)
class RunLogCopy:
    """The copy of one run's log. `find_pod` returns the run's pod as it is now, or None once it is deleted.

    `wait` returns at the next change of a pod, or after that many seconds. `was_cancelled` returns whether a
    user has cancelled the run.
    """

    cluster: RunCluster
    folder: RunFolder
    namespace: str
    find_pod: Callable[[], Object | None]
    wait: Callable[[float], Awaitable[None]]
    was_cancelled: Callable[[], Awaitable[bool]]
    now: Callable[[], float] = time.time

    async def follow(self) -> None:
        """Copy the log until the run has ended. Do nothing if another worker does so, or if its end is here.

        Raises OSError if the disk fails.
        """
        try:
            life = self.folder.show_life()
        except BlockingIOError:
            return
        log = LogWriter(self.folder, self.folder.measure()[1])
        try:
            if is_final(read_status(self.folder)):
                return
            await self._finish(log, await self._copy(log))
        finally:
            log.close_files()
            os.close(life)

    async def _copy(self, log: LogWriter) -> PodEnd:
        """Copy output as long as there is any, and return how the pod has ended."""
        pause_s, reads, is_running = RETRY_PAUSE_S, 0, False
        end: PodEnd | None = None
        while True:
            pod = self.find_pod()
            if pod is None:
                return end or _GONE
            end = read_end(pod)
            if end is not None and end.size is not None and log.size >= end.size:
                return end
            if end is not None and end.size is None:
                reads = READS_AFTER_END - 1  # the amount of output is unknown: read once
            if has_started(pod):
                if not is_running:
                    is_running = True
                    self.folder.write_status(RunStatus("running", os.getpid()))
                pause_s = min(2 * pause_s, MAX_RETRY_PAUSE_S)
                if await self._read(log, str(pod["metadata"]["name"])):
                    pause_s = RETRY_PAUSE_S
            if end is not None:
                reads += 1
                if reads >= READS_AFTER_END or not has_started(pod):
                    return end
                # Not `wait`, which returns at each change of another pod: the node may need this time.
                await asyncio.sleep(RETRY_PAUSE_S * 2 ** (reads - 1))
            elif self._is_lost(pod):
                return PodEnd(RunState.LOST, LOST_CODE, "its node was lost")
            else:
                await self.wait(pause_s if has_started(pod) else MAX_RETRY_PAUSE_S)

    def _is_lost(self, pod: Object) -> bool:
        """Return whether the pod's end is overdue by LOST_S, since its node does not report it."""
        gone_at = read_time(pod["metadata"].get("deletionTimestamp"))
        return gone_at is not None and self.now() > gone_at + LOST_S

    async def _read(self, log: LogWriter, pod: str) -> bool:
        """Read the container's log to its end. Return whether there was new output."""
        parser, before = LogParser(), log.size
        try:
            async with aclosing(self.cluster.follow_log(self.namespace, pod, CONTAINER)) as pieces:
                async for piece in pieces:
                    for line in parser.feed(piece):
                        missing = line.start - log.size
                        if missing > 0:
                            problem = (
                                "bytes of its output were lost as the node began a new log file"
                            )
                            log.skip(line.start, f"{missing} {problem}")
                        fresh = line.data[log.size - line.start :]
                        if fresh:
                            at = self.now() if line.at is None else line.at
                            log.append(fresh, is_error=line.is_error, at=at)
        except ClusterError:
            pass  # the kubelet or the API does not answer; the log will be requested again
        return log.size > before

    async def _finish(self, log: LogWriter, end: PodEnd) -> None:
        state, code, detail = end.state, end.code, end.detail
        if state is RunState.LOST and await self.was_cancelled():
            state, code, detail = RunState.CANCELLED, CANCELLED_CODE, ""
        missing = (end.size or 0) - log.size
        if missing > 0:
            detail = f"{detail}; " if detail else ""
            detail += f"the last {missing} bytes of its output were lost with its pod"
        self.folder.write_status(
            RunStatus(
                state.value,
                os.getpid(),
                code,
                self.now(),
                (detail or log.problem)[:MAX_DETAIL_CHARS],
                max(log.size, end.size or 0),
            )
        )


FindRunApp = Callable[[str], Awaitable[RunApp | None]]
"""Returns the app of a run from the store, or None if the store has no such run. Raises OSError if the caller
should try again later."""
_RunKey = tuple[str, str]
"""A namespace, and the id of a run whose pod is there. A user of the cluster may give a pod any id."""


class RunLogCopies:
    """The copies in `folders` of the logs of the runs in `namespaces`, or in all namespaces if that is None.

    It belongs to one event loop. A pod counts as that of a run if the store has the run in the pod's
    namespace (`find_run_app`). Other pods are another installation's, or forged.
    """

    def __init__(
        self,
        cluster: RunCluster,
        namespaces: Collection[str] | None,
        folders: ClusterRunFolders,
        find_run_app: FindRunApp,
        now: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._folders = folders
        self._find_run_app = find_run_app
        self._now = now
        self._pods = Mirror(cluster, Kind.POD, namespaces, RUN_OF, trim_pod)
        self._pods.listen(self._on_change)
        self._changed = asyncio.Event()
        self._copies: dict[_RunKey, asyncio.Task[None]] = {}
        self._names: dict[_RunKey, str] = {}
        """The name of the pod of each run."""
        self._ended: set[_RunKey] = set()
        """The runs whose end is written in their folder."""
        self._foreign: set[_RunKey] = set()
        """The pods that are not those of runs: the store does not have such a run in their namespace."""

    async def run(self) -> None:
        """Follow the pods of runs, and copy their logs, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pods.run())
            while True:
                changed = self._changed
                self._follow_all(tasks)
                await wait_for(changed, CHECK_S)

    def find_pod(self, namespace: str, run_id: str) -> Object | None:
        """Return a run's pod as it is now, or None."""
        name = self._names.get((namespace, run_id))
        return None if name is None else self._pods.get(namespace, name)

    def list_pods(self, namespace: str) -> Mapping[str, Object]:
        """Return the pods of the runs in a namespace, also of those that have ended."""
        return self._pods.list_objects(namespace)

    async def wait(self, within_s: float) -> None:
        """Wait for the next change of a pod, for `within_s` seconds at most."""
        await wait_for(self._changed, within_s)

    def _on_change(self, keys: Collection[ObjectKey]) -> None:
        for namespace, name in keys:
            pod = self._pods.get(namespace, name)
            run_id = None if pod is None else _run_of(pod)
            if run_id is not None:
                self._names[namespace, run_id] = name
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _follow_all(self, tasks: asyncio.TaskGroup) -> None:
        """Start a copy of each run that has a pod, or has lost it although its end is not recorded here."""
        for key, name in list(self._names.items()):
            pod = self._pods.get(key[0], name)
            if pod is not None:
                labels = pod["metadata"]["labels"]
                self._follow(tasks, key, RunApp(key[0], str(labels.get(RUN_OF))))
            elif key not in self._copies:
                del self._names[key]
        ids = self._folders.list_ids()
        self._ended = {key for key in self._ended if key[1] in ids or key in self._names}
        self._foreign &= self._names.keys()
        # Runs are kept for days, and this is called at each change of a pod: an end is read once.
        followed = (self._names.keys() - self._foreign) | self._ended
        for run_id in ids.difference(run_id for _, run_id in followed):
            with suppress(OSError):
                app = self._folders.read_run_app(run_id)
                is_old = self._folders.measure_age(run_id) > START_WITHIN_S
                if is_old and self._pods.is_synced(app.namespace):
                    self._follow(tasks, (app.namespace, run_id), app)

    def _follow(self, tasks: asyncio.TaskGroup, key: _RunKey, app: RunApp) -> None:
        if key in self._copies or key in self._ended or key in self._foreign:
            return
        task = tasks.create_task(self._copy(key, app))
        self._copies[key] = task
        task.add_done_callback(lambda _: self._copies.pop(key, None))

    async def _copy(self, key: _RunKey, app: RunApp) -> None:
        run_id = key[1]

        async def was_cancelled() -> bool:
            with suppress(ClusterError):
                name = make_run_name(run_id)
                lease = await self._cluster.get(Kind.LEASE, app.namespace, name)
                return find_cancel_time(lease) is not None
            return False

        with suppress(OSError):  # a full disk, a store out of reach; the next search tries again
            try:
                recorded: RunApp | None = self._folders.read_run_app(run_id)
            except FileNotFoundError:
                recorded = await self._find_run_app(run_id)
            if recorded != app:
                self._foreign.add(key)
                return
            folder = self._folders.make(run_id, app)
            if is_final(read_status(folder)):
                self._ended.add(key)
                return
            copy = RunLogCopy(
                self._cluster,
                folder,
                app.namespace,
                lambda: self.find_pod(*key),
                self.wait,
                was_cancelled,
                self._now,
            )
            await copy.follow()


def _run_of(pod: Object) -> str | None:
    """Return the id of the run whose Job controls a pod, else None."""
    owners = pod["metadata"].get("ownerReferences") or ()
    jobs = (owner for owner in owners if owner.get("controller") and owner.get("kind") == Kind.JOB)
    name = next((str(owner["name"]) for owner in jobs), "")
    run_id = name.removeprefix(make_run_name(""))
    is_run = name == make_run_name(run_id) and run_id.isalnum() and run_id.isascii()
    return run_id if is_run and len(run_id) <= _MAX_ID_CHARS else None


async def wait_for(event: asyncio.Event, within_s: float) -> None:
    """Wait for an event, for `within_s` seconds at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()
