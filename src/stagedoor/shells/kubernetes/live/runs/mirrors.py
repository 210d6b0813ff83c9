"""The copies of the logs of all runs on Kubernetes, which follow the runs' pods."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.run import START_WITHIN_S
from stagedoor.shells.kubernetes.derive.run import find_cancel_time
from stagedoor.shells.kubernetes.live.kept_fields import keep_pod
from stagedoor.shells.kubernetes.live.mirror import Key, Mirror
from stagedoor.shells.kubernetes.live.runs.folder import (
    RunFolders,
    RunNamespace,
    is_final,
    read_status,
)
from stagedoor.shells.kubernetes.live.runs.mirror import RunMirror
from stagedoor.shells.kubernetes.names import RUN_OF, run_object
from stagedoor.shells.kubernetes.ports import RunCluster

CHECK_S = 5.0
"""Seconds between two looks for runs that no worker follows."""
_MAX_ID_CHARS = 16


class RunMirrors:
    """The copies in `folders`, of the runs in `namespaces`, or in all. Belongs to one event loop."""

    def __init__(
        self,
        cluster: RunCluster,
        namespaces: Collection[str] | None,
        folders: RunFolders,
        now: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._folders = folders
        self._now = now
        self._pods = Mirror(cluster, Kind.POD, namespaces, RUN_OF, keep_pod)
        self._pods.listen(self._on_change)
        self._changed = asyncio.Event()
        self._copies: dict[str, asyncio.Task[None]] = {}
        self._names: dict[str, Key] = {}
        """The pod of each run, by the run's id."""
        self._ended: set[str] = set()
        """The runs whose end is in their folder."""

    async def run(self) -> None:
        """Follow the pods of runs, and copy their logs, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pods.run())
            while True:
                changed = self._changed
                self._follow_all(tasks)
                await wait_for(changed, CHECK_S)

    def find_pod(self, run_id: str) -> Object | None:
        """Return a run's pod as it is now, or None."""
        key = self._names.get(run_id)
        return None if key is None else self._pods.get(*key)

    def pods(self, namespace: str) -> Mapping[str, Object]:
        """Return the pods of the runs in a namespace, also of those that have ended."""
        return self._pods.all(namespace)

    async def wait(self, within_s: float) -> None:
        """Wait for the next change of a pod, for `within_s` seconds at most."""
        await wait_for(self._changed, within_s)

    def _on_change(self, keys: Collection[Key]) -> None:
        for namespace, name in keys:
            pod = self._pods.get(namespace, name)
            run_id = None if pod is None else _run_of(pod)
            if run_id is not None:
                self._names[run_id] = (namespace, name)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _follow_all(self, tasks: asyncio.TaskGroup) -> None:
        """Start a copy of each run that has a pod, and of each that has none any more and no end here."""
        for run_id, key in list(self._names.items()):
            pod = self._pods.get(*key)
            if pod is not None:
                app = str(pod["metadata"]["labels"].get(RUN_OF))
                self._follow(tasks, run_id, RunNamespace(key[0], app))
            elif run_id not in self._copies:
                del self._names[run_id]
                self._ended.discard(run_id)
        for run_id in self._folders.ids() - self._names.keys():
            with suppress(OSError):
                place = self._folders.read_place(run_id)
                is_old = self._folders.measure_age(run_id) > START_WITHIN_S
                if is_old and self._pods.is_synced(place.namespace):
                    self._follow(tasks, run_id, place)

    def _follow(self, tasks: asyncio.TaskGroup, run_id: str, place: RunNamespace) -> None:
        if run_id in self._copies or run_id in self._ended:
            return
        with suppress(OSError):
            if is_final(read_status(self._folders.find(run_id))):
                self._ended.add(run_id)
                return
        task = tasks.create_task(self._copy(run_id, place))
        self._copies[run_id] = task
        task.add_done_callback(lambda _: self._copies.pop(run_id, None))

    async def _copy(self, run_id: str, place: RunNamespace) -> None:
        async def was_cancelled() -> bool:
            with suppress(ClusterError):
                name = run_object(run_id)
                lease = await self._cluster.get(Kind.LEASE, place.namespace, name)
                return find_cancel_time(lease) is not None
            return False

        with suppress(OSError):  # a full disk; the next look tries again
            copy = RunMirror(
                self._cluster,
                self._folders.make(run_id, place),
                place.namespace,
                lambda: self.find_pod(run_id),
                self.wait,
                was_cancelled,
                self._now,
            )
            await copy.follow()


def _run_of(pod: Object) -> str | None:
    """Return the id of the run whose Job controls a pod, else None."""
    owners = pod["metadata"].get("ownerReferences") or ()
    name = next((str(owner["name"]) for owner in owners if owner.get("kind") == Kind.JOB), "")
    run_id = name.removeprefix(run_object(""))
    is_run = name == run_object(run_id) and run_id.isalnum() and run_id.isascii()
    return run_id if is_run and len(run_id) <= _MAX_ID_CHARS else None


async def wait_for(event: asyncio.Event, within_s: float) -> None:
    """Wait for an event, for `within_s` seconds at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()
