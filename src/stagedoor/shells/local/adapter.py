"""The gateway's side of local shells."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from stagedoor.holder.folder import end_all
from stagedoor.model.admission import Admission
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.shell import Progress, Shell, ShellState, StartStep
from stagedoor.model.target import Target
from stagedoor.model.units import DAY_S
from stagedoor.shells.authorized import KEYS_LEASE_S, authorized_keys, ending_by, keys_until
from stagedoor.shells.local import tmux
from stagedoor.shells.local.jobs import end_jobs
from stagedoor.shells.local.settings import LocalShell, Order
from stagedoor.shells.local.shell_folder import Running, ShellFolder, lives
from stagedoor.shells.local.start import Starter, StartFailedError
from stagedoor.shells.starts import Starts
from stagedoor.shells.static import no_app

REPLACE_AFTER_S = 30 * DAY_S
"""A process older than this is replaced at the next login: it gets a new host key."""
_POLL_S = 0.02


class LocalShells:
    """Satisfies `shells.ports.Shells`.

    `folder` is where the shells' folders lie. `user_ca_lines` are the public keys of the user CAs;
    `sign_host(public_key, principals)` returns a host certificate, which should be good for a year
    (a process lives at most `REPLACE_AFTER_S` and its last session). `admitted` says who may enter
    a target by the policy of now; call `refresh` whenever its answers may have changed.
    """

    def __init__(
        self,
        shells: Iterable[LocalShell],
        folder: Path,
        *,
        user_ca_lines: Callable[[], Sequence[str]],
        sign_host: Callable[[str, tuple[str, ...]], str],
        admitted: Callable[[Target], Sequence[Admission]],
        idle_stop_s: float = 600.0,
        start_timeout_s: float = 60.0,
        drain_grace_s: float = 10.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        entries = tuple(shells)
        self._user_ca_lines = user_ca_lines
        self._admitted = admitted
        self._starter = Starter(sign_host, start_timeout_s)
        self._drain_grace_s = drain_grace_s
        self._folder = folder.absolute()
        self._places = {
            shell.target: ShellFolder(self._folder / shell.target.login_name) for shell in entries
        }
        self._orders = {
            shell.target: Order(
                shell, str(self._places[shell.target].folder), idle_stop_s, drain_grace_s
            )
            for shell in entries
        }
        self._digests = {target: order.digest() for target, order in self._orders.items()}
        self._starts = Starts()
        # Of its own, so that starts which wait never hold up name look-ups in the loop's.
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="shells")
        self._now = now
        self._keys_until: float | None = None

    def targets(self) -> tuple[Target, ...]:
        return tuple(sorted(self._places, key=str))

    def knows(self, target: Target) -> bool:
        return target in self._places

    async def ensure(self, grant: Grant, progress: Progress) -> Shell | Denial:
        target = grant.target
        place = self._places.get(target)
        if place is None:
            return no_app(target)
        with suppress(OSError, ValueError), place.locked(shared=True, wait=False):
            running = place.running()
            if running is not None and self._is_current(target, running):
                place.mark_used()
                return _shell(target, running)
        return await self._starts.join(target, partial(self._start, target, place), progress)

    async def resolve(self, target: Target) -> Shell | None:
        running = self._running(target)
        return _shell(target, running) if running else None

    async def observe(self, target: Target) -> ShellState:
        place = self._places.get(target)
        if place is None:
            return ShellState.ABSENT
        if self._running(target):
            return ShellState.READY
        try:
            with place.locked(shared=True, wait=False):
                return ShellState.FAILED if place.failed.exists() else ShellState.ABSENT
        except BlockingIOError:
            return ShellState.STARTING
        except OSError:
            return ShellState.ABSENT

    def notice(self, target: Target) -> str | None:
        return None

    def touch(self, target: Target) -> None:
        """The process counts its own sessions; this bridges the time until one is open."""
        place = self._places.get(target)
        if place:
            with suppress(OSError):
                place.mark_used()

    def release(self, target: Target) -> None:
        self.touch(target)

    def keys_are_due(self) -> bool:
        """Whether the keys in the shells have to be renewed, by `refresh`."""
        return keys_until(self._keys_until, self._now(), KEYS_LEASE_S) != self._keys_until

    def refresh(self) -> None:
        """Tell every shell who may log in now, until when. Blocks for a few small files; any thread.

        Each worker does so when it takes a new policy into force, so a key or grant that was
        removed is refused as soon as the store's watch has seen it. A gateway that is gone renews
        nothing, and its shells outlive it: so keys end. Raises OSError.
        """
        self._keys_until = keys_until(self._keys_until, self._now(), KEYS_LEASE_S)
        for target, place in self._places.items():
            if place.folder.is_dir():
                self._write_keys(target, place)
        for place in self._left_over():
            # An app that is in the settings no more: nobody may log in to what still runs of it.
            place.write_keys(authorized_keys((), ()))

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def stop_all(self) -> None:
        """Stop every process, with its sessions after `drain_grace_s`, every terminal, every tmux and
        what people left running. Blocks until they are gone.

        For the end of a demo; a gateway that stops leaves shells to their sessions.
        """
        with ExitStack() as stack:
            told = list(self._tell_to_stop(stack))
            for pid, _ in _wait_gone(told, self._drain_grace_s + 5):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            _wait_gone(told, 5)
        for place in (*self._places.values(), *self._left_over()):
            end_all(place.terminals)
            tmux.end(place.folder)
            end_jobs(place.terminals)

    def _tell_to_stop(self, stack: ExitStack) -> Iterator[tuple[int, int]]:
        """Each process that runs, and its life sign, which `stack` closes."""
        configured = [place for place in self._places.values() if place.folder.is_dir()]
        for place in (*configured, *self._left_over()):
            # Waits for a start to end, so that none slips through.
            with place.locked():
                found = place.watched()
                if found is not None:
                    running, life_sign = found
                    stack.callback(os.close, life_sign)
                    with suppress(ProcessLookupError):
                        os.kill(running.pid, signal.SIGTERM)
                    yield running.pid, life_sign

    def _left_over(self) -> Iterator[ShellFolder]:
        """Folders of shells that these settings do not have, but earlier ones had."""
        known = {place.folder for place in self._places.values()}
        with suppress(FileNotFoundError):
            for folder in self._folder.iterdir():
                if folder not in known and (folder / "state.json").exists():
                    yield ShellFolder(folder)

    def _running(self, target: Target) -> Running | None:
        place = self._places.get(target)
        with suppress(OSError, ValueError):
            return place.running() if place else None
        return None

    def _is_current(self, target: Target, running: Running) -> bool:
        fresh = time.time() - running.started_at < REPLACE_AFTER_S
        return fresh and running.digest == self._digests[target]

    def _write_keys(self, target: Target, place: ShellFolder) -> None:
        """Raises OSError."""
        until = self._keys_until = keys_until(self._keys_until, self._now(), KEYS_LEASE_S)
        written = None
        # Again if the policy has changed meanwhile: a `refresh` may have been faster than a start
        # that had read the old one, and nothing else would take that back.
        while written != (
            now := authorized_keys(ending_by(self._admitted(target), until), self._user_ca_lines())
        ):
            place.write_keys(now)
            written = now

    async def _start(
        self, target: Target, place: ShellFolder, announce: Progress
    ) -> Shell | Denial:
        loop = asyncio.get_running_loop()

        def tell(step: StartStep) -> None:
            loop.call_soon_threadsafe(announce, step)

        return await loop.run_in_executor(self._pool, self._start_blocking, target, place, tell)

    def _start_blocking(self, target: Target, place: ShellFolder, tell: Progress) -> Shell | Denial:
        try:
            place.make()
            with place.locked():
                # The lock's holder before us may have started it.
                running = place.running()
                if running is not None and not self._is_current(target, running):
                    # Told to stand down: it serves the sessions that it has, and no new ones.
                    os.kill(running.pid, signal.SIGHUP)
                    place.state.unlink(missing_ok=True)
                    running = None
                if running is None:
                    place.failed.unlink(missing_ok=True)
                    self._write_keys(target, place)
                    try:
                        running = self._starter.start(
                            self._orders[target], place, _principals(target), tell
                        )
                    except StartFailedError as error:
                        message = f"{error.step}: {error}"
                        place.failed.write_text(message)
                        return _failed(target, message)
                place.mark_used()
                return _shell(target, running)
        except OSError as error:
            return _failed(target, f"preparing {place.folder}: {error.strerror or error}")


def _wait_gone(told: Sequence[tuple[int, int]], seconds: float) -> list[tuple[int, int]]:
    """Wait until these pids with their life signs have gone; those that have not by then."""
    deadline = time.monotonic() + seconds
    while True:
        alive = [(pid, life_sign) for pid, life_sign in told if lives(life_sign)]
        if not alive or time.monotonic() >= deadline:
            return alive
        time.sleep(_POLL_S)


def _shell(target: Target, running: Running) -> Shell:
    return Shell(target, running.host, running.port, started_by_us=True)


def _failed(target: Target, message: str) -> Denial:
    return Denial(
        Reason.SHELL_UNAVAILABLE,
        f"the shell {target.shell_name} could not be started; {message}",
        retry_after_s=5,
    )


def _principals(target: Target) -> tuple[str, ...]:
    """Every name under which a client may ask for the shell."""
    return (target.host_name, target.shell_name)
