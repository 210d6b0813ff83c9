"""Elects a leader among replicas by a Lease, in the steps that `lease` decides on."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from stagedoor.kube import lease
from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.lease import Candidate, Create, ReadLease, Timing, Wait, Write
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.problem import ProblemState
from stagedoor.wire.rfc3339 import show_time

RESIGN_LIMIT_S = 3.0
"""The time for releasing the Lease at the end. If this fails, other candidates wait until it expires."""


def read_clock() -> float:
    """Read a clock, in seconds, that also runs while the machine is suspended, if the system has one.

    A leader that was suspended must notice it (clock_gettime(2), CLOCK_BOOTTIME).
    """
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class Election:
    """A candidate, which takes part in an election while `run` runs."""

    def __init__(
        self,
        cluster: KubeCluster,
        namespace: str,
        name: str,
        identity: str,
        *,
        on_problem: Callable[[str | None], None] = lambda problem: None,
        timing: Timing | None = None,
        seizes: bool = False,
        annotations: Callable[[], Mapping[str, str | None]] = dict,
        clock: Callable[[], float] = read_clock,
    ) -> None:
        """Create a candidate for the Lease `namespace/name`.

        A random suffix is added to `identity`, a pod's name, so that a restarted replica is not taken for the
        one before it. `on_problem` is called with one line when the Lease cannot be read or written, and with
        None once it can. `seizes`: take the Lease from its holder, and let it expire at the end instead of
        releasing it. `annotations` are written to the Lease with each renewal; None removes one.
        """
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._candidate = Candidate(
            f"{identity}_{secrets.token_hex(4)}", timing or Timing(), seizes
        )
        self._annotations = annotations
        self._clock = clock
        self._problem = ProblemState(on_problem)

    @property
    def identity(self) -> str:
        """This candidate's identity, as written to the Lease."""
        return self._candidate.identity

    @property
    def leads(self) -> bool:
        """Return whether this candidate leads right now, by the clock.

        Check this before each write that only a leader may make. After a long pause of the whole process, it
        is False before any other part has noticed the pause.
        """
        return self._candidate.is_leader(self._clock())

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Take part in the election: run `lead()` while we lead, and cancel it at once when we stop leading.

        A cancelled `lead()` should end soon, since another replica may already lead; the next attempt waits
        for it. Returns when `lead()` returns, and raises what it raises. In both cases, and when this is
        cancelled, the Lease is held until `lead()` has ended, and then released, so that no other replica
        starts during the cleanup.
        """
        leading: asyncio.Task[None] | None = None
        try:
            while True:
                if leading is not None and leading.done():
                    return leading.result()
                if leading is not None and not self.leads:
                    await _cancel(leading)
                    leading = None
                await self._step(leading)
                if leading is None and self.leads:
                    leading = asyncio.ensure_future(lead())
        finally:
            if leading is not None:
                await self._stop_leading(leading)
            await self._resign()

    async def _step(self, leading: "asyncio.Task[None] | None") -> None:
        step = self._candidate.choose_step(self._clock())
        if isinstance(step, Wait):
            await self._wait(step.for_s, leading)
            return
        sent_at = self._clock()
        # A leader's request ends with its lease, at which `lead` must be cancelled.
        within_s = max(0.0, self._candidate.ends_at - sent_at) if self.leads else None
        try:
            async with asyncio.timeout(within_s):
                await self._do(step, sent_at)
        except TimeoutError:
            self._on_failure("the API did not answer in time", overtaken=False)
        except ClusterError as error:
            overtaken = error.reason in ("Conflict", "AlreadyExists") or (
                error.status == 404 and isinstance(step, Write)
            )
            self._on_failure(None if overtaken else error.message, overtaken=overtaken)
        else:
            self._problem.update(None)

    async def _do(self, step: ReadLease | Create | Write, sent_at: float) -> None:
        candidate, stamp = self._candidate, show_time(time.time(), micro=True)
        if isinstance(step, ReadLease):
            lease_object = await self._cluster.get(Kind.LEASE, self._namespace, self._name)
            candidate.note_read(
                self._clock(), None if lease_object is None else lease.read(lease_object)
            )
            return
        if isinstance(step, Create):
            manifest = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"namespace": self._namespace, "name": self._name},
                "spec": lease.make_held_spec(candidate, None, stamp, taking=True),
            }
            done = await self._cluster.create(manifest)
        else:
            spec = lease.make_held_spec(candidate, step.replaces, stamp, taking=step.taking)
            done = await self._patch(step.replaces.version, spec)
        candidate.note_write(sent_at, self._clock(), lease.read(done))

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

    async def _stop_leading(self, leading: "asyncio.Task[None]") -> None:
        """Cancel `lead` and wait for its end. Meanwhile, renew the Lease as long as possible."""
        leading.cancel()
        with suppress(asyncio.CancelledError):
            while not leading.done() and self.leads:
                await self._step(leading)
        await _cancel(leading)

    async def _resign(self) -> None:
        ours = self._candidate.resign()
        if ours is not None and not self._candidate.seizes:
            with suppress(ClusterError, TimeoutError):
                async with asyncio.timeout(RESIGN_LIMIT_S):
                    stamp = show_time(time.time(), micro=True)
                    await self._patch(ours.version, lease.make_resigned_spec(stamp))

    def _on_failure(self, problem: str | None, *, overtaken: bool) -> None:
        self._candidate.note_failure(self._clock(), overtaken=overtaken)
        if problem is not None:
            self._problem.update(f"the election {self._namespace}/{self._name}: {problem}")


async def _cancel(task: "asyncio.Task[None]") -> None:
    """Cancel a task, wait for its end, and ignore its result."""
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()  # retrieved, so that asyncio logs nothing
