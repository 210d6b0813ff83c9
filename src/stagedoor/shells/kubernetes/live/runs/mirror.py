"""The copy of a run's log in a folder of the gateway, which follows the log of its container.

Each gateway has a copy of every run, so any of them shows it, and a pod or a gateway that is lost takes no
copy of another with it. Of the workers of a gateway one follows a run: it has the lock in the run's folder.
"""

import os
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from stagedoor.holder.run_folder import MAX_DETAIL_CHARS, LogWriter, RunFolder, RunStatus
from stagedoor.model.cluster import ClusterError, Object
from stagedoor.model.run import CANCELLED_CODE, LOST_CODE, RunState
from stagedoor.shells.kubernetes.derive.objects import read_time
from stagedoor.shells.kubernetes.derive.run import LogParser, PodEnd, has_started, read_end
from stagedoor.shells.kubernetes.live.runs.folder import is_final, read_status
from stagedoor.shells.kubernetes.names import CONTAINER
from stagedoor.shells.kubernetes.ports import RunCluster

AGAIN_S = 0.2
"""The first pause before a log is asked for again."""
LONGEST_AGAIN_S = 5.0
LOST_S = 60.0
"""A pod that should be gone for so long is lost with its node."""
READS_AFTER_END = 3
"""How often the log of an ended container is read for output that is missing."""
_GONE = PodEnd(RunState.LOST, LOST_CODE, "its pod was deleted")


@dataclass(frozen=True)
class RunMirror:
    """The copy of one run's log. `find_pod` returns the run's pod as it is now, None once it is gone.

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
        """Copy the log until the run has ended; do nothing if another worker does, or if it has ended here.

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
        """Copy the output while there is some, and return the end of the pod."""
        pause_s, reads, is_running = AGAIN_S, 0, False
        while True:
            pod = self.find_pod()
            if pod is None:
                return _GONE
            end = read_end(pod)
            if end is not None and end.size is not None and log.size >= end.size:
                return end
            if end is not None and end.size is None:
                reads = READS_AFTER_END - 1  # nothing says how much there is: read once
            if has_started(pod):
                if not is_running:
                    is_running = True
                    self.folder.write_status(RunStatus("running", os.getpid()))
                pause_s = min(2 * pause_s, LONGEST_AGAIN_S)
                if await self._read(log, str(pod["metadata"]["name"])):
                    pause_s = AGAIN_S
            if end is not None:
                reads += 1
                if reads >= READS_AFTER_END or not has_started(pod):
                    return end
            elif self._is_lost(pod):
                return PodEnd(RunState.LOST, LOST_CODE, "its node was lost")
            await self.wait(pause_s if has_started(pod) else LONGEST_AGAIN_S)

    def _is_lost(self, pod: Object) -> bool:
        """Return whether the pod is overdue by LOST_S: its node does not report its end."""
        gone_at = read_time(pod["metadata"].get("deletionTimestamp"))
        return gone_at is not None and self.now() > gone_at + LOST_S

    async def _read(self, log: LogWriter, pod: str) -> bool:
        """Read the container's log to its end. Return whether there was new output."""
        parser, before = LogParser(), log.size
        try:
            async with aclosing(self.cluster.follow_log(self.namespace, pod, CONTAINER)) as pieces:
                async for piece in pieces:
                    for line in parser.feed(piece):
                        if line.start > log.size:
                            log.skip(line.start)
                        fresh = line.data[log.size - line.start :]
                        if fresh:
                            at = self.now() if line.at is None else line.at
                            log.append(fresh, is_error=line.is_error, at=at)
        except ClusterError:
            pass  # the kubelet or the API does not answer; the log is asked for again
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
