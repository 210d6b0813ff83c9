"""The gateway's side of local shells."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from stagedoor.holder.folder import FOLDER as TERMINALS
from stagedoor.holder.folder import end_all
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Admission, Grant
from stagedoor.model.shell import Progress, ProgressStep, Shell, ShellState
from stagedoor.model.target import Target
from stagedoor.model.units import DAY_S, MINUTE_S
from stagedoor.shells.authorized import decide_keys_end, end_by, render_authorized_keys
from stagedoor.shells.local import tmux
from stagedoor.shells.local.jobs import end_jobs
from stagedoor.shells.local.settings import LocalShell, Order
from stagedoor.shells.local.shell_folder import Running, ShellFolder, is_alive
from stagedoor.shells.local.start import StartFailedError, start_shell
from stagedoor.shells.starts import Starts, make_start_denial
from stagedoor.shells.static import make_unknown_app_denial

REPLACE_AFTER_S = 30 * DAY_S
"""The age from which the next login replaces a process. The new one has a new host key."""
IDLE_STOP_S = 10 * MINUTE_S
"""A shell without a session stops itself after this time. The next login starts it again within a second."""
_POLL_S = 0.02


class LocalShells:
    """A `shells.ports.Shells` of processes on this machine.

    `folder` contains the shells' folders. `user_ca_lines` returns the public keys of the user CAs.
    `sign_host(public_key, principals)` returns a host certificate. It should be valid for a year, since a
    process lives for `REPLACE_AFTER_S` and until its last session ends. `admitted` returns the users that the
    current policy admits to a target; call `refresh` whenever its result may have changed.
    """

    def __init__(
        self,
        shells: Iterable[LocalShell],
        folder: Path,
        *,
        user_ca_lines: Callable[[], Sequence[str]],
        sign_host: Callable[[str, tuple[str, ...]], str],
        admitted: Callable[[Target], Sequence[Admission]],
        idle_stop_s: float = IDLE_STOP_S,
        start_timeout_s: float = 60.0,
        drain_grace_s: float = 10.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        entries = tuple(shells)
        self._user_ca_lines = user_ca_lines
        self._sign_host = sign_host
        self._admitted = admitted
        self._start_timeout_s = start_timeout_s
        self._drain_grace_s = drain_grace_s
        self._root = folder.absolute()
        self._folders = {
            shell.target: ShellFolder(self._root / shell.target.login_name) for shell in entries
        }
        self._orders = {
            shell.target: Order(
                shell, str(self._folders[shell.target].folder), idle_stop_s, drain_grace_s
            )
            for shell in entries
        }
        self._digests = {target: order.hash_order() for target, order in self._orders.items()}
        self._starts = Starts()
        # Not the loop's own pool, in which waiting starts would delay the resolution of names.
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="shells")
        self._now = now
        self._keys_until: float | None = None

    def list_targets(self) -> tuple[Target, ...]:
        """Return the targets in the settings, sorted."""
        return tuple(sorted(self._folders, key=str))

    def has_target(self, target: Target) -> bool:
        """Return whether the target is in the settings."""
        return target in self._folders

    def find_ready(self, grant: Grant) -> Shell | None:
        """Return the shell if it runs and its settings have not changed, and mark it as used."""
        target = grant.target
        place = self._folders.get(target)
        if place is None:
            return None
        with suppress(OSError, ValueError), place.hold_lock(shared=True, wait=False):
            running = place.read_running()
            if running is not None and self._is_current(target, running):
                place.mark_used()
                return _shell(target, running)
        return None

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        """Return the shell, after a start if it does not run or its settings have changed."""
        target = grant.target
        place = self._folders.get(target)
        if place is None:
            return make_unknown_app_denial(target)
        return await self._starts.join(target, partial(self._start, target, place), progress)

    async def resolve(self, target: Target) -> Shell | None:
        """Return the shell if its process runs, else None."""
        running = self._running(target)
        return _shell(target, running) if running else None

    async def observe(self, target: Target) -> ShellState:
        """Return the state of the shell, by its folder."""
        place = self._folders.get(target)
        if place is None:
            return ShellState.ABSENT
        if self._running(target):
            return ShellState.READY
        try:
            with place.hold_lock(shared=True, wait=False):
                return ShellState.FAILED if place.failed.exists() else ShellState.ABSENT
        except BlockingIOError:
            return ShellState.STARTING
        except OSError:
            return ShellState.ABSENT

    def find_notice(self, target: Target) -> str | None:
        """Return None."""
        return None

    def touch(self, target: Target) -> None:
        """Record that the shell is in use until a session is open; the process counts its sessions itself."""
        place = self._folders.get(target)
        if place:
            with suppress(OSError):
                place.mark_used()

    def release(self, target: Target) -> None:
        """Record that the shell was in use until now."""
        self.touch(target)

    def has_due_keys(self) -> bool:
        """Return whether the keys in the shells must be renewed with `refresh`."""
        return decide_keys_end(self._keys_until, self._now()) != self._keys_until

    def refresh(self) -> None:
        """Write to every shell's folder the keys that may log in now, and their end.

        Every worker calls this when it applies a new policy, so that a removed key or grant is refused as
        soon as the store's watch has seen the removal. The keys have an end because shells outlive a gateway,
        which then renews nothing. Blocks while it writes a few small files; called in any thread. Raises
        OSError.
        """
        self._keys_until = decide_keys_end(self._keys_until, self._now())
        for target, place in self._folders.items():
            if place.folder.is_dir():
                self._write_keys(target, place)
        for place in self._left_over():
            # The app is no longer in the settings, so a process that still runs refuses all logins.
            place.write_keys(render_authorized_keys((), ()))

    async def stop_watching(self) -> None:
        """Cancel the starts that have not begun. The shells keep running."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def stop_all(self) -> None:
        """Stop every process, terminal, tmux and background job of all shells. Blocks until they have ended.

        Sessions have `drain_grace_s` to end. This is for the end of a demo. When a gateway stops, its shells
        keep running for their sessions.
        """
        with ExitStack() as stack:
            configured = [place for place in self._folders.values() if place.folder.is_dir()]
            stopping = list(_terminate((*configured, *self._left_over()), stack))
            for pid, _ in _wait_for_end(stopping, self._drain_grace_s + 5):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            _wait_for_end(stopping, 5)
        for place in (*self._folders.values(), *self._left_over()):
            end_all(place.terminals)
            tmux.end(place.folder)
            end_jobs(TERMINALS, str(place.terminals))

    def _left_over(self) -> Iterator[ShellFolder]:
        """Yield the folders of shells that are no longer in the settings."""
        known = {place.folder for place in self._folders.values()}
        with suppress(FileNotFoundError):
            for folder in self._root.iterdir():
                if folder not in known and (folder / "state.json").exists():
                    yield ShellFolder(folder)

    def _running(self, target: Target) -> Running | None:
        place = self._folders.get(target)
        with suppress(OSError, ValueError):
            return place.read_running() if place else None
        return None

    def _is_current(self, target: Target, running: Running) -> bool:
        fresh = time.time() - running.started_at < REPLACE_AFTER_S
        return fresh and running.digest == self._digests[target]

    def _write_keys(self, target: Target, place: ShellFolder) -> None:
        """Write the keys of one shell. Raises OSError."""
        until = self._keys_until = decide_keys_end(self._keys_until, self._now())
        written = None
        # Repeat if the policy has changed meanwhile. Otherwise a start that read the old policy could
        # overwrite, for good, the keys that a `refresh` wrote by the new one.
        while written != (
            now := render_authorized_keys(
                end_by(self._admitted(target), until), self._user_ca_lines()
            )
        ):
            place.write_keys(now)
            written = now

    async def _start(
        self, target: Target, place: ShellFolder, progress: Progress
    ) -> Shell | Denial:
        loop = asyncio.get_running_loop()

        def report(step: ProgressStep) -> None:
            loop.call_soon_threadsafe(progress, step)

        return await loop.run_in_executor(self._pool, self._start_blocking, target, place, report)

    def _start_blocking(
        self, target: Target, place: ShellFolder, report: Progress
    ) -> Shell | Denial:
        try:
            place.make()
            with place.hold_lock():
                # The previous holder of the lock may have started the process.
                running = place.read_running()
                if running is not None and not self._is_current(target, running):
                    # After SIGHUP it accepts no new sessions, but still serves the open ones.
                    os.kill(running.pid, signal.SIGHUP)
                    place.state.unlink(missing_ok=True)
                    running = None
                if running is None:
                    place.failed.unlink(missing_ok=True)
                    self._write_keys(target, place)
                    try:
                        running = start_shell(
                            self._orders[target],
                            place,
                            lambda key: self._sign_host(key, target.principals),
                            self._start_timeout_s,
                            report,
                        )
                    except StartFailedError as error:
                        message = f"{error.step}: {error}"
                        place.failed.write_text(message)
                        return make_start_denial(target, message)
                place.mark_used()
                return _shell(target, running)
        except OSError as error:
            why = error.strerror or error
            shown = make_start_denial(target, f"preparing its folder: {why}")
            denial = make_start_denial(target, f"preparing {place.folder}: {why}")
            return replace(denial, person_message=shown.message)


def _terminate(places: Iterable[ShellFolder], stack: ExitStack) -> Iterator[tuple[int, int]]:
    """Send SIGTERM to each process, and yield its pid and its life sign, which `stack` closes."""
    for place in places:
        # The lock waits for a start to end, so that its process is not missed.
        with place.hold_lock():
            process = place.open_running()
            if process is not None:
                running, life_sign = process
                stack.callback(os.close, life_sign)
                with suppress(ProcessLookupError):
                    os.kill(running.pid, signal.SIGTERM)
                yield running.pid, life_sign


def _wait_for_end(processes: Sequence[tuple[int, int]], seconds: float) -> list[tuple[int, int]]:
    """Wait until processes (pid and life sign) have ended, and return those that have not in time."""
    deadline = time.monotonic() + seconds
    while True:
        alive = [(pid, life_sign) for pid, life_sign in processes if is_alive(life_sign)]
        if not alive or time.monotonic() >= deadline:
            return alive
        time.sleep(_POLL_S)


def _shell(target: Target, running: Running) -> Shell:
    return Shell(target, running.host, running.port, started_by_us=True)
