"""Waiting for a shell that somebody asked for: how far it is, where it answers, or why it does not."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.shell import Progress, Shell, StartStep
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.cause import Cause
from stagedoor.shells.kubernetes.derive.objects import answered_failure
from stagedoor.shells.kubernetes.live.diagnose import LOG_LINES, SSHD, LogRequest, diagnose
from stagedoor.shells.kubernetes.live.lease_writer import LeaseWriter
from stagedoor.shells.kubernetes.live.namespace_cache import Address, NamespaceCache
from stagedoor.shells.kubernetes.ports import Cluster
from stagedoor.wire.oneline import folded

DIAL_S = 2.0
"""A pod's address that does not answer in this time is tried again, or another one is."""
AGAIN_S = 0.05
"""How soon a pod is asked again whose sshd does not listen yet."""
LOOK_S = 1.0
"""How often a start in which nothing seems to change is looked at."""
EVENTS_S = 2.0
"""How often Events are read, which no watch brings, of a start that has not come to its pod's end."""
AWAITED_S = 3.0
"""How old the lease may get while somebody waits: a start may take longer than the idle time."""
SURE_S = 0.5
"""A cause must hold so long: what the mirrors show may be the last of an attempt before this one."""
UNCHANGED_S = 5.0
"""The same of a shell that is what it was when we asked: its app may have been mended a moment ago, and a
busy controller is about to replace the shell."""
SOON_S = 5
"""When to come again where the cluster was only silent."""
MENDED_S = 60
"""When to come again where there is a cause: somebody must mend it. Clients that try again by
themselves wait no longer than half of it, so their person is told at once."""


class Start:
    """One start. `lease_writer` asks for it. `now` is seconds since the epoch."""

    def __init__(
        self,
        cluster: Cluster,
        cache: NamespaceCache,
        target: Target,
        lease_writer: LeaseWriter,
        tell: Progress,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._target = target
        self._lease_writer = lease_writer
        self._asked = 0
        """The count of our request: only what failed after it is an answer to us."""
        self._asked_of: object = None
        """The shell's generation when we asked."""
        self._tell = tell
        self._now = now
        self._told: StartStep | None = None
        self._logs: dict[tuple[str, str], str] = {}
        self._events: Sequence[Object] = ()
        self._events_at = 0.0
        self._cause: Cause | None = None
        self._cause_since = 0.0

    async def wait(self) -> Shell | Denial:
        """The shell once its sshd has said its banner, or the cause why it will not."""
        loop = asyncio.get_running_loop()
        self._asked_of = self._generation()
        problem = await self._ask()
        renew_at = loop.time() + AWAITED_S
        self._events_at = loop.time() + EVENTS_S / 2
        while True:
            pulse = self._cache.pulse
            addresses = self._cache.addresses(self._target.app, ready=False)
            for address in addresses:
                if await answers(address):
                    return shell_at(self._target, address)
            if problem is not None:
                return unavailable(self._target, problem)
            if self._cache.lease(self._target.app) is None:
                # It was deleted in the very moment of our request, or somebody did it by hand.
                problem = await self._ask()
            elif loop.time() >= renew_at:
                renew_at = loop.time() + AWAITED_S
                with suppress(ClusterError):
                    await self._lease_writer.keep(self._target.app, AWAITED_S)
            found = await self._diagnose()
            if isinstance(found, Cause):
                if found != self._cause:
                    self._cause, self._cause_since = found, loop.time()
                sure_s = UNCHANGED_S if self._generation() == self._asked_of else SURE_S
                if self._is_fresh(found) or loop.time() - self._cause_since >= sure_s:
                    why = f"{found.step}: {found.message}"
                    return unavailable(self._target, why, MENDED_S)
            else:
                self._cause = None
                self._say(found)
            wait_s = LOOK_S
            if addresses or self._cause:
                wait_s = AGAIN_S if found == StartStep(SSHD) else SURE_S / 5
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await pulse.wait()

    async def _ask(self) -> str | None:
        """Ask for the shell; why that was not possible."""
        try:
            self._asked = await self._lease_writer.request_shell(self._target.app)
        except ClusterError as error:
            return f"asking the cluster: {error.message}"
        return None

    def _generation(self) -> object:
        """Of the shell's Deployment: another one once the controller has started or replaced it."""
        shell = self._cache.shell(self._target.app)
        return shell["metadata"].get("generation") if shell is not None else None

    def _is_fresh(self, cause: Cause) -> bool:
        """Whether it is what the controller has just written: then there is nothing to wait for."""
        return self._failure() == cause

    def _failure(self) -> Cause | None:
        lease = self._cache.lease(self._target.app)
        found = answered_failure(lease) if lease is not None else None
        return found[0] if found is not None and found[1] >= self._asked else None

    def _say(self, step: StartStep) -> None:
        if step != self._told:
            self._told = step
            self._tell(step)

    async def _diagnose(self) -> StartStep | Cause:
        await self._read_events()
        while True:
            app = self._target.app
            found = diagnose(
                self._cache.shell(app),
                self._cache.replica_sets(app),
                self._cache.pods(app),
                self._events,
                self._now(),
                logs=self._logs,
                failure=self._failure(),
            )
            if not isinstance(found, LogRequest):
                return found
            self._logs[found.pod, found.container] = await self._log(found)

    async def _log(self, wanted: LogRequest) -> str:
        with suppress(ClusterError):
            return await self._cluster.logs(
                self._cache.namespace, wanted.pod, wanted.container, lines=LOG_LINES
            )
        return ""

    async def _read_events(self) -> None:
        """What no mirror has, now and then: a start that takes long may be held up by what only they say."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._events_at:
            return
        self._events_at = loop.time() + EVENTS_S
        app, namespace = self._target.app, self._cache.namespace
        with suppress(ClusterError):
            events: list[Object] = []
            for pod in self._cache.pods(app):
                events += await self._cluster.list(
                    Kind.EVENT, namespace, fields=f"regarding.name={pod['metadata']['name']}"
                )
            self._events = events


async def answers(address: Address) -> bool:
    """Whether an SSH server says its banner there, within `DIAL_S` (RFC 4253 §4.2)."""
    writer = None
    try:
        async with asyncio.timeout(DIAL_S):
            reader, writer = await asyncio.open_connection(*address, limit=1024)
            return (await reader.readline()).startswith(b"SSH-")
    except (
        OSError,
        ValueError,
    ):  # TimeoutError is an OSError; a line past the limit is a ValueError
        return False
    finally:
        if writer is not None:
            writer.close()


def shell_at(target: Target, address: Address) -> Shell:
    return Shell(target, address[0], address[1], started_by_us=True)


def unavailable(target: Target, why: str, retry_after_s: int = SOON_S) -> Denial:
    """Why there is no shell, as a line for its person."""
    return Denial(
        Reason.SHELL_UNAVAILABLE,
        f"the shell {target.shell_name} could not be started; {folded(why)}",
        retry_after_s=retry_after_s,
    )
