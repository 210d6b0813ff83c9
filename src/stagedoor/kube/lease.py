"""Decides on the steps of an election by a Lease, with time as an argument. Pure.

As in client-go's `leaderelection`, the clocks of two machines are never compared. Each candidate counts from
when *it* last saw the record change, on its own monotonic clock; the times in the record are for people.
Every write names the version that it replaces, so if two candidates try to take the Lease, one of them fails.

Only the figures differ. With client-go's (15 s, 10 s, 2 s) there is no leader for up to 17 s after one is
killed. Here this takes 11 s + 2 s + a few requests, since a waiting candidate reads the Lease every 2 s, and
wakes exactly when it expires.
"""

from dataclasses import dataclass, field

from stagedoor.model.cluster import Object


@dataclass(frozen=True, slots=True)
class Timing:
    """The figures of an election, in seconds.

    The leader leads for `renew_within_s`, counted from before its last successful renewal. Other candidates
    wait for `lease_s`, counted from when they saw that renewal. In between there is no leader.
    """

    lease_s: int = 11
    renew_within_s: float = 7.0
    retry_s: float = 2.0

    def __post_init__(self) -> None:
        """Check the figures. Raises ValueError if two candidates could lead at once."""
        if not self.lease_s > self.renew_within_s > 2 * self.retry_s > 0:
            raise ValueError("an election needs lease_s > renew_within_s > 2 * retry_s > 0")


@dataclass(frozen=True, slots=True)
class Record:
    """The contents of a Lease. `version` changes with every write, the rest only with a candidate's."""

    version: str = field(compare=False)
    holder: str
    """The holder's identity; "" after it has resigned."""
    lease_s: float
    renewed: str
    transitions: int


@dataclass(frozen=True, slots=True)
class ReadLease:
    """The step to read the Lease."""


@dataclass(frozen=True, slots=True)
class Create:
    """The step to create the Lease, with us as its holder."""


@dataclass(frozen=True, slots=True)
class Write:
    """The step to write our identity and the time, if the Lease is still as in `replaces`."""

    replaces: Record
    taking: bool
    """Whether this takes the Lease from another holder rather than renews it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The step to wait for `for_s` seconds."""

    for_s: float


Step = ReadLease | Create | Write | Wait


@dataclass(slots=True)
class Candidate:
    """A candidate of an election.

    Carry out the step that `choose_step` returns, and report its result, in a loop. Only `is_leader` says
    whether we lead; the passing of time alone can end it. All instants are readings of one monotonic clock.
    """

    identity: str
    timing: Timing = field(default_factory=Timing)
    seizes: bool = False
    """Whether this takes the Lease from a leader that renews it. The old leader still leads for
    `renew_within_s`."""
    record: Record | None = None
    """The record as last read; None if the Lease does not exist or was not read yet."""
    _seen_at: float = 0.0
    """When `record` was first seen with its present content."""
    _renewed_at: float | None = None
    """When the request by which this candidate leads was sent; None if it does not lead."""
    _next_at: float = float("-inf")
    _must_read: bool = True
    _overtaken: bool = False
    """Whether another client has written the Lease since this candidate's last write. The second time in a
    row, the candidate waits, so that two candidates do not keep colliding."""

    def is_leader(self, now: float) -> bool:
        """Return whether this candidate leads at the instant `now`."""
        return now < self.ends_at

    @property
    def ends_at(self) -> float:
        """The instant at which it stops leading unless it renews first; minus infinity without a lease."""
        if self._renewed_at is None:
            return float("-inf")
        return self._renewed_at + self.timing.renew_within_s

    def choose_step(self, now: float) -> Step:
        """Return the step to take now."""
        if not self.is_leader(now):
            self._renewed_at = None
        if now < self._next_at:
            return Wait(self._next_at - now)
        if self._must_read:
            return ReadLease()
        if self.record is None:
            return Create()
        if self._renewed_at is not None:
            return Write(self.record, taking=False)
        if self.seizes or now >= self._runs_out_at():
            return Write(self.record, taking=self.record.holder != self.identity)
        return ReadLease()

    def note_read(self, now: float, record: Record | None) -> None:
        """Take the result of a read; None if there is no Lease. `now` is from after the answer."""
        if record != self.record:
            self._seen_at = now
        self.record = record
        self._must_read = False
        if record is None or record.holder != self.identity:
            # The Lease was taken or deleted meanwhile, so this candidate does not lead, even if its time is
            # not over.
            self._renewed_at = None
        if record is None or self._renewed_at is not None or self.seizes:
            self._next_at = now
        else:
            self._next_at = min(now + self.timing.retry_s, max(now, self._runs_out_at()))

    def note_write(self, sent_at: float, now: float, record: Record) -> None:
        """Take the result of a successful `Create` or `Write`; `sent_at` is from before the request."""
        self.record, self._seen_at = record, now
        self._renewed_at = sent_at if record.holder == self.identity else None
        self._next_at = sent_at + self.timing.retry_s
        self._overtaken = False

    def note_failure(self, now: float, *, overtaken: bool) -> None:
        """Take note that a step failed, or that its result is unknown.

        `overtaken`: another client has written the Lease in between, perhaps just an annotation by kubectl.
        The candidate leads until its time is over, and reads the Lease before the next write.
        """
        self._must_read = True
        if overtaken and not self._overtaken:
            self._overtaken = True
            self._next_at = now
        elif self._renewed_at is not None:
            self._next_at = now + self.timing.retry_s / 4
        else:
            self._next_at = now + self.timing.retry_s

    def resign(self) -> Record | None:
        """Stop leading. Return the record to replace by `make_resigned_spec`, None if it has another holder.

        With that spec written, the next leader need not wait.
        """
        led, self._renewed_at = self._renewed_at is not None, None
        ours = self.record is not None and self.record.holder == self.identity
        return self.record if led and ours else None

    def _runs_out_at(self) -> float:
        assert self.record is not None
        if self.record.holder in ("", self.identity):
            # It is free, or held by this candidate through a write whose answer never arrived.
            return float("-inf")
        return self._seen_at + self.record.lease_s


def read(lease: Object) -> Record:
    """Parse a Lease (coordination.k8s.io/v1). With a missing or invalid field it counts as free."""
    spec = lease.get("spec") or {}
    seconds = spec.get("leaseDurationSeconds")
    return Record(
        version=lease["metadata"]["resourceVersion"],
        holder=spec.get("holderIdentity") or "",
        lease_s=float(seconds) if isinstance(seconds, int) else 0.0,
        renewed=spec.get("renewTime") or "",
        transitions=spec.get("leaseTransitions") or 0,
    )


def make_held_spec(
    candidate: Candidate, previous: Record | None, stamp: str, *, taking: bool
) -> Object:
    """Return the `spec` of a Lease that the candidate holds. `stamp` is a MicroTime, for people."""
    spec: dict[str, object] = {
        "holderIdentity": candidate.identity,
        "leaseDurationSeconds": candidate.timing.lease_s,
        "renewTime": stamp,
    }
    if taking:
        spec["acquireTime"] = stamp
        spec["leaseTransitions"] = previous.transitions + 1 if previous is not None else 0
    return spec


def make_resigned_spec(stamp: str) -> Object:
    """Return the `spec` of a Lease that was released, as client-go writes it."""
    return {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": stamp}
