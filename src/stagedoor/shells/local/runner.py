"""Runs on this machine, each with a folder and a holder process (`holder.run`).

No process of the gateway is the parent of a task. So the task keeps running when a worker or the gateway
ends, and any worker can read its log, send its input or cancel it through the folder.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from stagedoor.holder.run import TaskOrder
from stagedoor.holder.run_folder import RunFolder
from stagedoor.holder.run_input import MAX_DATA_BYTES, InputFrame, InputKind, encode_input
from stagedoor.model.run import LOST_CODE, START_WITHIN_S, RunEnd, RunOrder, RunState
from stagedoor.model.target import Target
from stagedoor.shells.local.jobs import end_jobs
from stagedoor.shells.local.process import LocalAccount
from stagedoor.shells.local.settings import LocalShell
from stagedoor.shells.local.start import pass_environment
from stagedoor.shells.local.variables import describe_account, describe_app, drop_nul
from stagedoor.shells.run_folders import RunFolders, is_final, read_status

RUN = "STAGEDOOR_RUN"
"""The environment variable of a task with the id of its run."""
_START_S = 30.0
_STOP_S = 15.0
_HOLDER = [sys.executable, "-P", "-m", "stagedoor.holder", "run"]


class LocalRunner(RunFolders):
    """A `shells.runner.Runner` of processes on this machine. `folder` has a folder for each run."""

    def __init__(
        self, shells: Iterable[LocalShell], folder: Path, now: Callable[[], float] = time.time
    ) -> None:
        super().__init__(folder, now)
        self._shells = {shell.target: shell for shell in shells}

    def has(self, target: Target) -> bool:
        """Return whether the target's shell is on this machine."""
        return target in self._shells

    def has_input_stream(self, target: Target) -> bool:
        """Return True: a run has a pipe for its input."""
        return True

    def find_limit(self, target: Target) -> str | None:
        """Return None: this machine has no limit of its own."""
        return None

    def list_sizes(self, target: Target) -> Collection[str]:
        """Return no size: a run may use whatever the gateway's machine has."""
        return ()

    async def start(self, run_id: str, order: RunOrder, whole_input: bytes = b"") -> str | None:
        """Start a task. Return None once it runs, or else why it does not."""
        return await asyncio.to_thread(self._start, run_id, order)

    def _start(self, run_id: str, order: RunOrder) -> str | None:
        run_folder = self._get_folder(run_id)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            run_folder.folder.mkdir(mode=0o700)  # this fails if the same run is started again
            done = subprocess.run(
                _HOLDER,
                input=json.dumps(asdict(self._task(run_id, order, run_folder))),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
                cwd="/",
                env=pass_environment(),
                start_new_session=True,
                timeout=_START_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"the process that holds it did not answer within {_START_S:g} s"
        except OSError as error:
            return error.strerror or str(error)
        answer = done.stdout.strip()
        if answer == "started":
            return None
        return answer.removeprefix("stagedoor: ") or "the process that holds it ended at once"

    def _task(self, run_id: str, order: RunOrder, run_folder: RunFolder) -> TaskOrder:
        settings, account = self._shells[order.target], LocalAccount.of_process()
        shell = settings.login_shell or account.shell
        variables = describe_account(account, shell) | describe_app(settings, shell)
        home = account.home if Path(account.home).is_dir() else "/"
        return TaskOrder(
            str(run_folder.folder),
            shell,
            [shell.rpartition("/")[2], "-c", order.command],
            drop_nul(variables | {RUN: run_id}),
            settings.directory or home,
            order.timeout_s,
            order.has_input,
        )

    def observe(self, run_id: str) -> RunState | RunEnd:
        """Return how a run has ended, or `STARTING` or `RUNNING`."""
        run_folder = self.find(run_id)
        is_alive = run_folder.is_alive()
        status = read_status(run_folder)
        if status is not None and is_final(status):
            return self._make_end(status)  # its holder keeps the lock for a moment longer
        if is_alive:
            return RunState.RUNNING
        if status is None and self._now() < run_folder.folder.stat().st_mtime + START_WITHIN_S:
            return RunState.STARTING
        end_jobs(RUN, run_id)
        return RunEnd(
            RunState.LOST,
            LOST_CODE,
            self._now(),
            "the process that held it was killed, or its machine was restarted",
        )

    def feed(self, run_id: str, at: int, data: bytes) -> int:
        """Send input; see `Runner`."""
        pieces = [data[n : n + MAX_DATA_BYTES] for n in range(0, len(data), MAX_DATA_BYTES)]
        frames = [
            InputFrame(InputKind.DATA, at + n * MAX_DATA_BYTES, piece)
            for n, piece in enumerate(pieces)
        ]
        written = _write_input(self.find(run_id), frames)
        return at + sum(len(piece) for piece in pieces[:written])

    def end_input(self, run_id: str, size: int | None) -> bool:
        """Report the end of the input; see `Runner`."""
        run_folder = self.find(run_id)
        kind = InputKind.BROKEN if size is None else InputKind.END
        return bool(_write_input(run_folder, [InputFrame(kind, size or 0)]))

    def keep_input(self, run_id: str) -> None:
        """Report that the client is still there."""
        _write_input(self.find(run_id), [InputFrame(InputKind.KEEP, 0)])

    def cancel(self, run_id: str) -> None:
        """Ask the holder to end the task."""
        run_folder = self.find(run_id)
        status = read_status(run_folder)
        if status is None:
            return
        with suppress(ProcessLookupError):
            pidfd = os.pidfd_open(status.pid)
            try:
                # Only now is the descriptor certain to be the holder's, which holds the lock.
                if run_folder.is_alive():
                    signal.pidfd_send_signal(pidfd, signal.SIGTERM)
            finally:
                os.close(pidfd)

    def stop_all(self) -> None:
        """End all runs. Blocks. This is for the end of a demo: runs outlive a gateway."""
        deadline = time.monotonic() + _STOP_S
        for run_id in self.list_ids():
            with suppress(OSError):
                self.cancel(run_id)
        for run_id in self.list_ids():
            with suppress(OSError):
                while self._get_folder(run_id).is_alive() and time.monotonic() < deadline:
                    time.sleep(0.02)
                end_jobs(RUN, run_id)


def _write_input(run_folder: RunFolder, frames: Sequence[InputFrame]) -> int:
    """Write frames while there is room, each whole. Return how many. Raises OSError if no holder reads."""
    fifo = os.open(run_folder.input, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        for number, frame in enumerate(frames):
            try:
                os.write(fifo, encode_input(frame))
            except BlockingIOError:
                return number
    finally:
        os.close(fifo)
    return len(frames)
