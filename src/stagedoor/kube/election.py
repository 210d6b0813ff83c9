"""One leader among the replicas, by a Lease. What is decided stands in `lease`; here it is done."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

from stagedoor.kube import lease
from stagedoor.kube.lease import Candidate, Create, ReadLease, Timing, Wait, Write
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.problem import Problem

RESIGN_LIMIT_S = 3.0
"""For telling the others that we have left; if it fails they wait for the lease to run out."""


class Leases(Protocol):
    """What is needed of a cluster (`KubeCluster.urgent()`: it must not wait behind other requests)."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None: ...

    async def create(self, manifest: Object) -> Object: ...

    async def merge(
        self, kind: Kind, namespace: str, name: str, patch: Object, *, subresource: str = ""
    ) -> Object: ...


def monotonic() -> float:
    """Seconds that go on while the machine is suspended, where the system can say so: a leader that
    slept must know that it slept (clock_gettime(2), CLOCK_BOOTTIME)."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class Election:
    """Stands for election for as long as `run` runs."""

    def __init__(
        self,
        cluster: Leases,
        namespace: str,
        name: str,
        identity: str,
        *,
        on_change: Callable[[str], None] = lambda holder: None,
        on_problem: Callable[[str | None], None] = lambda problem: None,
        timing: Timing | None = None,
        seizes: bool = False,
        annotations: Callable[[], Mapping[str, str | None]] = dict,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """The Lease is `namespace/name`; `identity` is a pod's name, to which chance is added, so
        that a restarted replica is not taken for the one before it.

        `on_change` gets the identity of each new leader, "" for nobody; `on_problem` one line when
        the Lease cannot be read or written, and None when it can again. `seizes`: take the Lease from
        its holder, and let it run out in the end instead of giving it back. `annotations` are written
        to the Lease with each renewal; None removes one.
        """
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._candidate = Candidate(
            f"{identity}_{secrets.token_hex(4)}", timing or Timing(), seizes
        )
        self._on_change = on_change
        self._annotations = annotations
        self._clock = clock
        self._told = ""
        self._problem = Problem(on_problem)

    @property
    def identity(self) -> str:
        """Our own, as it stands in the Lease."""
        return self._candidate.identity

    @property
    def leads(self) -> bool:
        """Whether we lead right now, by the clock: ask before each write that only a leader may do.
        After a long pause of the whole process it is false before anything else has noticed."""
        return self._candidate.leads(self._clock())

    @property
    def holder(self) -> str:
        """Who leads as far as is known, "" for nobody."""
        return self._candidate.holder

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Stand for election; whenever we win, run `lead()`, and cancel it at once when we lose.

        Before the next campaign it is waited for: it should end soon, since another may lead by
        then. Returns when `lead()` returns, raises what it raises; either way, and when cancelled,
        after `lead` has ended, the Lease is given back. Until then it is held, so that nobody else
        begins while we tidy up.
        """
        leading: asyncio.Task[None] | None = None
        try:
            while True:
                if leading is not None and leading.done():
                    return leading.result()
                if leading is not None and not self.leads:
                    await _ended(leading)
                    leading = None
                await self._step(leading)
                if leading is None and self.leads:
                    leading = asyncio.ensure_future(lead())
        finally:
            if leading is not None:
                await self._tidy(leading)
            await self._resign()

    async def _step(self, leading: "asyncio.Task[None] | None") -> None:
        step = self._candidate.next(self._clock())
        if isinstance(step, Wait):
            await self._wait(step.for_s, leading)
            return
        sent_at = self._clock()
        # A leader's request ends when its time does: then there is something else to do.
        within_s = max(0.0, self._candidate.ends_at - sent_at) if self.leads else None
        try:
            async with asyncio.timeout(within_s):
                await self._do(step, sent_at)
        except TimeoutError:
            self._failed("the API did not answer in time", overtaken=False)
        except ClusterError as error:
            overtaken = error.reason in ("Conflict", "AlreadyExists") or (
                error.status == 404 and isinstance(step, Write)
            )
            self._failed(None if overtaken else error.message, overtaken=overtaken)
        else:
            self._problem.update(None)
        self._tell()

    async def _do(self, step: ReadLease | Create | Write, sent_at: float) -> None:
        candidate, stamp = self._candidate, _stamp()
        if isinstance(step, ReadLease):
            found = await self._cluster.get(Kind.LEASE, self._namespace, self._name)
            candidate.looked(self._clock(), None if found is None else lease.read(found))
            return
        if isinstance(step, Create):
            manifest = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"namespace": self._namespace, "name": self._name},
                "spec": lease.held(candidate, None, stamp, taking=True),
            }
            done = await self._cluster.create(manifest)
        else:
            spec = lease.held(candidate, step.replaces, stamp, taking=step.taking)
            done = await self._patch(step.replaces.version, spec)
        candidate.wrote(sent_at, self._clock(), lease.read(done))

    async def _patch(self, version: str, spec: Object) -> Object:
        metadata = {"resourceVersion": version, "annotations": dict(self._annotations())}
        patch = {"metadata": metadata, "spec": spec}
        return await self._cluster.merge(Kind.LEASE, self._namespace, self._name, patch)

    async def _wait(self, for_s: float, leading: "asyncio.Task[None] | None") -> None:
        if self.leads:
            for_s = min(for_s, self._candidate.ends_at - self._clock())
        if leading is None:
            await asyncio.sleep(for_s)
        else:
            await asyncio.wait((leading,), timeout=for_s)

    async def _tidy(self, leading: "asyncio.Task[None]") -> None:
        """Wait for `lead` to end, and renew meanwhile as long as we can."""
        leading.cancel()
        with suppress(asyncio.CancelledError):
            while not leading.done() and self.leads:
                await self._step(leading)
        await _ended(leading)

    async def _resign(self) -> None:
        ours = self._candidate.resign()
        if ours is not None and not self._candidate.seizes:
            with suppress(ClusterError, TimeoutError):
                async with asyncio.timeout(RESIGN_LIMIT_S):
                    await self._patch(ours.version, lease.resigned(_stamp()))
        if self._told == self.identity:
            self._told = ""
            self._on_change("")

    def _failed(self, problem: str | None, *, overtaken: bool) -> None:
        self._candidate.failed(self._clock(), overtaken=overtaken)
        if problem is not None:
            self._problem.update(f"the election {self._namespace}/{self._name}: {problem}")

    def _tell(self) -> None:
        holder = self.holder
        if holder == self.identity and not self.leads:
            holder = ""
        if holder != self._told:
            self._told = holder
            self._on_change(holder)


async def _ended(task: "asyncio.Task[None]") -> None:
    """Cancel it and wait until it has ended, whatever it ends with."""
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()  # it was asked to end: how it did does not matter any more


def _stamp() -> str:
    """A MicroTime (apimachinery): RFC 3339 with microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
