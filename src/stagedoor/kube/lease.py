"""Who leads? The decisions of an election by a Lease, with time as an argument. Pure.

As client-go's `leaderelection`: the clocks of two machines are never compared. Each looks at when
*it* saw the record change last, by its own monotonic clock; the times in the record are for people.
Every write names the version that it replaces, so of two that take the Lease one is refused.

What differs is the figures. With client-go's (15 s, 10 s, 2 s) the place of a killed leader stays
empty for 17 s at worst; ours for 11 s + 2 s + a few requests, since who waits looks every 2 s and wakes
at the very moment when the lease runs out.
"""

from dataclasses import dataclass, field

from stagedoor.model.cluster import Object


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds. The leader leads for `renew_within_s` from before the request that renewed last;
    others wait for `lease_s` from when they saw that: for the time between, nobody leads."""

    lease_s: int = 11
    renew_within_s: float = 7.0
    retry_s: float = 2.0

    def __post_init__(self) -> None:
        """Raises ValueError where the figures do not keep two from leading at once."""
        if not self.lease_s > self.renew_within_s > 2 * self.retry_s > 0:
            raise ValueError("an election needs lease_s > renew_within_s > 2 * retry_s > 0")


@dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says. `version` changes with every write; the rest only with a candidate's."""

    version: str = field(compare=False)
    holder: str
    """"" when the last one has resigned."""
    lease_s: float
    renewed: str
    transitions: int


@dataclass(frozen=True, slots=True)
class ReadLease:
    """Read the Lease."""


@dataclass(frozen=True, slots=True)
class Create:
    """Make the Lease, with us in it."""


@dataclass(frozen=True, slots=True)
class Write:
    """Write our name and the time, if the Lease still has this version."""

    replaces: Record
    taking: bool
    """Whether we take it from somebody, rather than renew it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so long."""

    for_s: float


Step = ReadLease | Create | Write | Wait


@dataclass(slots=True)
class Candidate:
    """One who would lead. Ask `next` what to do, and tell what came of it, again and again.

    `leads` is the only truth about leading; time alone can end it. All instants are readings of
    one monotonic clock.
    """

    identity: str
    timing: Timing = field(default_factory=Timing)
    seizes: bool = False
    """Whether we take the Lease from a leader that renews it. Who led leads on for `renew_within_s`."""
    record: Record | None = None
    """As it was last seen; None: the Lease is not there, or nobody has looked."""
    _seen_at: float = 0.0
    """When `record` was first seen to say what it says."""
    _renewed_at: float | None = None
    """When the request was sent that made us leader or kept us so; None: we do not lead."""
    _next_at: float = float("-inf")
    _must_look: bool = True
    _overtaken: bool = False
    """Since our last write: a second time we wait, or two could race in a circle."""

    def leads(self, now: float) -> bool:
        """Whether we lead at that moment."""
        return now < self.ends_at

    @property
    def ends_at(self) -> float:
        """When we cease to lead unless we renew before; minus infinity if we do not lead."""
        if self._renewed_at is None:
            return float("-inf")
        return self._renewed_at + self.timing.renew_within_s

    @property
    def holder(self) -> str:
        """Who leads as far as is known, "" for nobody."""
        return self.record.holder if self.record is not None else ""

    def next(self, now: float) -> Step:
        """What to do now."""
        if not self.leads(now):
            self._renewed_at = None
        if now < self._next_at:
            return Wait(self._next_at - now)
        if self._must_look:
            return ReadLease()
        if self.record is None:
            return Create()
        if self._renewed_at is not None:
            return Write(self.record, taking=False)
        if self.seizes or now >= self._runs_out_at():
            return Write(self.record, taking=self.record.holder != self.identity)
        return ReadLease()

    def looked(self, now: float, record: Record | None) -> None:
        """A look brought this, None: there is no Lease. `now` is from after the answer."""
        if record != self.record:
            self._seen_at = now
        self.record = record
        self._must_look = False
        if record is None or record.holder != self.identity:
            # Taken, or deleted, under our hands: we are no leader, whatever time says.
            self._renewed_at = None
        if record is None or self._renewed_at is not None or self.seizes:
            self._next_at = now
        else:
            self._next_at = min(now + self.timing.retry_s, max(now, self._runs_out_at()))

    def wrote(self, sent_at: float, now: float, record: Record) -> None:
        """A `Create` or `Write` was done; `sent_at` is from before its request."""
        self.record, self._seen_at = record, now
        self._renewed_at = sent_at if record.holder == self.identity else None
        self._next_at = sent_at + self.timing.retry_s
        self._overtaken = False

    def failed(self, now: float, *, overtaken: bool) -> None:
        """The step was not done, or nobody knows; `overtaken`: somebody has written the Lease in
        between (also an annotation by kubectl). We lead until our time is over, and look first."""
        self._must_look = True
        if overtaken and not self._overtaken:
            self._overtaken = True
            self._next_at = now
        elif self._renewed_at is not None:
            self._next_at = now + self.timing.retry_s / 4
        else:
            self._next_at = now + self.timing.retry_s

    def resign(self) -> Record | None:
        """We lead no more. What to write `resigned` over, so that the next need not wait; None if
        there is nothing of ours."""
        led, self._renewed_at = self._renewed_at is not None, None
        ours = self.record is not None and self.record.holder == self.identity
        return self.record if led and ours else None

    def _runs_out_at(self) -> float:
        assert self.record is not None
        if self.record.holder in ("", self.identity):
            # Nobody's; or ours by a write of which we never heard that it was done.
            return float("-inf")
        return self._seen_at + self.record.lease_s


def read(lease: Object) -> Record:
    """A Lease (coordination.k8s.io/v1) as a Record; what is missing or odd counts as nobody's."""
    spec = lease.get("spec") or {}
    seconds = spec.get("leaseDurationSeconds")
    return Record(
        version=lease["metadata"]["resourceVersion"],
        holder=spec.get("holderIdentity") or "",
        lease_s=float(seconds) if isinstance(seconds, int) else 0.0,
        renewed=spec.get("renewTime") or "",
        transitions=spec.get("leaseTransitions") or 0,
    )


def held(candidate: Candidate, over: Record | None, stamp: str, *, taking: bool) -> Object:
    """The `spec` with the candidate in it. `stamp` is a MicroTime, for people."""
    spec: dict[str, object] = {
        "holderIdentity": candidate.identity,
        "leaseDurationSeconds": candidate.timing.lease_s,
        "renewTime": stamp,
    }
    if taking:
        spec["acquireTime"] = stamp
        spec["leaseTransitions"] = over.transitions + 1 if over is not None else 0
    return spec


def resigned(stamp: str) -> Object:
    """The `spec` of who has left in order, as client-go writes it."""
    return {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": stamp}
