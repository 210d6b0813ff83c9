"""The start of a shell for a login: request it, report progress, wait until sshd answers."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.shell import Progress, ProgressStep, Shell
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive.objects import read_failure
from stagedoor.shells.kubernetes.live.diagnose import (
    CAUSE_LOG_LINES,
    SSHD,
    WAITING,
    LogRequest,
    diagnose,
)
from stagedoor.shells.kubernetes.live.lease_writer import LeaseWriter
from stagedoor.shells.kubernetes.live.namespace_cache import Address, NamespaceCache, find_port
from stagedoor.shells.kubernetes.names import RESUME_PORT_NAME
from stagedoor.shells.kubernetes.ports import Cause, Cluster
from stagedoor.shells.starts import make_start_denial
from stagedoor.wire.rfc3339 import show_time

DIAL_S = 2.0
"""Seconds to wait for the banner of a pod's sshd before the next attempt."""
RETRY_PAUSE_S = 0.05
"""Seconds until the next attempt at a pod whose sshd does not listen yet."""
CHECK_EVERY_S = 1.0
"""Seconds between two checks of a start in which nothing changes."""
EVENTS_S = 2.0
"""Seconds between two reads of Events, which are not watched."""
RENEW_WAITING_S = 3.0
"""Seconds between renewals of the lease while a login waits: a start may take longer than the idle time."""
CAUSE_SETTLE_S = 0.5
"""Seconds for which a cause has to persist, since the mirrors may still show the previous attempt."""
UNCHANGED_SETTLE_S = 5.0
"""The same for a shell that has not changed since the request: the app may just have been corrected, and a
busy controller may have yet to replace the shell."""
RETRY_AFTER_CAUSE_S = 60
"""Seconds after which a client may try again if there is a cause, which has to be corrected first. Clients
that retry automatically wait for at most half of this, so they show the cause to their user at once."""


class ShellStart:
    """One start of a shell, for one login.

    `lease_writer` requests the shell, for `user` if this is a user's login, and `report` is called with each
    new step. `now` returns seconds since the epoch.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: NamespaceCache,
        target: Target,
        lease_writer: LeaseWriter,
        report: Progress,
        user: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._target = target
        self._lease_writer = lease_writer
        self._request = 0
        """The number of this login's request. Only a failure after it is an answer to it."""
        self._generation_before: object = None
        """The shell's generation at the time of the request."""
        self._report = report
        self._user = user
        self._now = now
        self._reported: ProgressStep | None = None
        self._logs: dict[tuple[str, str], str] = {}
        self._events: Sequence[Object] = ()
        self._events_at = 0.0
        self._cause: Cause | None = None
        self._cause_since = 0.0

    async def wait(self) -> Shell | Denial:
        """Request the shell. Return it once its sshd has sent its banner, or else why it does not start."""
        loop = asyncio.get_running_loop()
        self._generation_before = self._generation()
        problem = await self._request_shell()
        renew_at = loop.time() + RENEW_WAITING_S
        self._events_at = loop.time() + EVENTS_S / 2
        while True:
            changed = self._cache.changed
            addresses = self._cache.list_addresses(self._target.app, ready=False)
            for address in addresses:
                if await is_answering(address):
                    return make_shell(self._target, address, self._cache)
            if problem is not None:
                return make_start_denial(self._target, problem)
            if self._cache.find_lease(self._target.app) is None:
                # The lease was deleted at the moment of the request, or by hand.
                problem = await self._request_shell()
            elif loop.time() >= renew_at:
                renew_at = loop.time() + RENEW_WAITING_S
                with suppress(ClusterError):
                    await self._lease_writer.renew(self._target.app, RENEW_WAITING_S)
            diagnosis = await self._diagnose()
            if isinstance(diagnosis, Cause):
                if diagnosis != self._cause:
                    self._cause, self._cause_since = diagnosis, loop.time()
                is_unchanged = self._generation() == self._generation_before
                settle_s = UNCHANGED_SETTLE_S if is_unchanged else CAUSE_SETTLE_S
                # The controller has written this cause for this request, so it is certain.
                is_certain = self._failure() == diagnosis
                if is_certain or loop.time() - self._cause_since >= settle_s:
                    why = f"{diagnosis.step}: {diagnosis.message}"
                    return make_start_denial(self._target, why, RETRY_AFTER_CAUSE_S)
            else:
                self._cause = None
                if diagnosis != self._reported:
                    self._reported = diagnosis
                    self._report(diagnosis)
            wait_s = CHECK_EVERY_S
            if addresses or self._cause:
                wait_s = RETRY_PAUSE_S if diagnosis == ProgressStep(SSHD) else CAUSE_SETTLE_S / 5
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await changed.wait()

    async def _request_shell(self) -> str | None:
        """Request the shell. Return why that failed, or None."""
        try:
            self._request = await self._lease_writer.request_shell(self._target.app, self._user)
        except ClusterError as error:
            return f"asking the cluster: {error.message}"
        return None

    def _generation(self) -> object:
        """Return the generation of the shell's Deployment, which a start or a replacement changes."""
        shell = self._cache.find_shell(self._target.app)
        return shell["metadata"].get("generation") if shell is not None else None

    def _failure(self) -> Cause | None:
        lease = self._cache.find_lease(self._target.app)
        failure = read_failure(lease) if lease is not None else None
        return failure[0] if failure is not None and failure[1] >= self._request else None

    async def _diagnose(self) -> ProgressStep | Cause:
        if self._cache.is_synced and self._cache.find_app(self._target.app) is None:
            return Cause(WAITING, "the app no longer offers a shell")
        await self._read_events()
        while True:
            app = self._target.app
            diagnosis = diagnose(
                self._cache.find_shell(app),
                self._cache.list_replica_sets(app),
                self._cache.list_pods(app),
                self._events,
                self._now(),
                logs=self._logs,
                failure=self._failure(),
            )
            if not isinstance(diagnosis, LogRequest):
                return diagnosis
            self._logs[diagnosis.pod, diagnosis.container] = await self._read_log(diagnosis)

    async def _read_log(self, request: LogRequest) -> str:
        with suppress(ClusterError):
            return await self._cluster.read_logs(
                self._cache.namespace, request.pod, request.container, lines=CAUSE_LOG_LINES
            )
        return ""

    async def _read_events(self) -> None:
        """Read the pods' Events every EVENTS_S seconds. Often only these show what delays a start."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._events_at:
            return
        self._events_at = loop.time() + EVENTS_S
        app, namespace = self._target.app, self._cache.namespace
        with suppress(ClusterError):
            events: list[Object] = []
            for pod in self._cache.list_pods(app):
                events += await self._cluster.list(
                    Kind.EVENT, namespace, fields=f"regarding.name={pod['metadata']['name']}"
                )
            self._events = events


async def is_answering(address: Address) -> bool:
    """Return whether an SSH server sends its banner within `DIAL_S` seconds (RFC 4253 §4.2)."""
    writer = None
    try:
        async with asyncio.timeout(DIAL_S):
            reader, writer = await asyncio.open_connection(*address, limit=1024)
            return (await reader.readline()).startswith(b"SSH-")
    except (OSError, ValueError):  # a timeout is an OSError, a line past the limit a ValueError
        return False
    finally:
        if writer is not None:
            writer.close()


def make_shell(target: Target, address: Address, cache: NamespaceCache) -> Shell:
    """Return the shell of `target` at an address."""
    host, port = address
    ports = (
        find_port(pod, RESUME_PORT_NAME)
        for pod in cache.list_pods(target.app)
        if (pod.get("status") or {}).get("podIP") == host
    )
    return Shell(target, host, port, started_by_us=True, resume_port=next(ports, None))


def make_unserved_denial(target: Target, namespace: str) -> Denial:
    """Return the denial for a namespace that is not served, worded for developers."""
    why = (
        f"the gateway has no access to the namespace {namespace}, which was deleted or lost its Role; "
        "an administrator can mend that"
    )
    return make_start_denial(target, f"asking the cluster: {why}", RETRY_AFTER_CAUSE_S)


def make_ended_keys_denial(target: Target, at: float, namespace: str) -> Denial:
    """Return the denial for a shell whose keys have ended, since its sshd would refuse every key as wrong."""
    return Denial(
        Reason.SHELL_UNAVAILABLE,
        f"the keys in {target.shell_name} ended at {show_time(at)}, since no controller has renewed them: "
        "does one run, and does the cluster's API answer it? (`kubectl get pods` and the controller's log "
        f"say so; it needs its rights in the namespace {namespace})",
        retry_after_s=RETRY_AFTER_CAUSE_S,
    )
