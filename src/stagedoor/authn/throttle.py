"""How often may somebody guess? A state machine per (name, source), with time as an argument.

The first `free_tries` wrong passwords cost nothing, and the same one again is no further guess: a
forgotten job with an old password holds nobody up. Each further one doubles the wait before the
next, from `first_wait_s` up to `longest_wait_s`. There is no state that two sources share, so
nobody can lock another out from elsewhere. The source is the address, or for IPv6 the /64 that
one subscriber holds (RFC 6177).

Memory is bounded: past `entries` the one that failed longest ago is forgotten. That gives an
attacker nothing, because they must fail `entries` times to have one forgotten, and each of those
costs a whole argon2 verification out of a bounded pool: at 20 a second, more than 8 minutes,
longer than `longest_wait_s`. How many guesses one source has for all names together is for
`model.rate` to count.

Tokens are not throttled: nobody guesses 256 bits. Each worker process counts for itself.
"""

from collections import OrderedDict
from dataclasses import dataclass

from stagedoor.model.source import Address, source_network
from stagedoor.model.units import MINUTE_S

Key = tuple[str, str]
_NAME_LIMIT = 128


def key(name: str, address: Address) -> Key:
    """The key of a bucket; names longer than any user's share one for each source."""
    return (name if len(name) <= _NAME_LIMIT else "", source_network(address))


@dataclass(slots=True)
class _Bucket:
    failures: int = 0
    guesses: tuple[bytes, ...] = ()
    running: int = 0
    blocked_until: float = 0.0
    forget_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ThrottleLimits:
    """`forget_s`: after so long without a failure a bucket starts afresh."""

    free_tries: int = 5
    first_wait_s: float = 1.0
    longest_wait_s: float = 5 * MINUTE_S
    forget_s: float = 15 * MINUTE_S
    entries: int = 10_000


class Throttle:
    """Ask `start` before each verification, and tell `passed` or `failed` after it, once.

    Not thread-safe: it belongs to one event loop.
    """

    def __init__(self, limits: ThrottleLimits | None = None) -> None:
        self._limits = limits or ThrottleLimits()
        self._buckets: OrderedDict[Key, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def blocked_s(self, of: Key, now: float) -> float:
        """Seconds until the wait for earlier failures is over; 0 if there is none."""
        bucket = self._buckets.get(of)
        if bucket is None:
            return 0.0
        if bucket.running == 0 and bucket.forget_at <= now:
            del self._buckets[of]
            return 0.0
        return max(bucket.blocked_until - now, 0.0)

    def start(self, of: Key, now: float) -> float:
        """Seconds until another try may start; when it is 0 the try has started.

        Tries still running count as if they had failed, so that guesses made at once are no
        cheaper than guesses made in turn.
        """
        wait = self.blocked_s(of, now)
        if wait > 0:
            return wait
        bucket = self._buckets.setdefault(of, _Bucket())
        if bucket.running >= max(self._limits.free_tries - bucket.failures, 1):
            return self._limits.first_wait_s
        bucket.running += 1
        bucket.forget_at = now + self._limits.forget_s
        self._buckets.move_to_end(of)
        while len(self._buckets) > self._limits.entries:
            self._buckets.popitem(last=False)
        return 0.0

    def passed(self, of: Key) -> None:
        """The try was right: all is forgiven."""
        bucket = self._buckets.get(of)
        if bucket is None:
            return
        bucket.running = max(bucket.running - 1, 0)
        bucket.failures, bucket.blocked_until, bucket.guesses = 0, 0.0, ()
        if bucket.running == 0:
            del self._buckets[of]

    def failed(self, of: Key, now: float, guess: bytes = b"") -> None:
        """The try was wrong. `guess` stands for the password that was tried, empty for one of its own."""
        limits = self._limits
        bucket = self._buckets.get(of)
        if bucket is None:
            return
        bucket.running = max(bucket.running - 1, 0)
        bucket.forget_at = now + limits.forget_s
        if guess and guess in bucket.guesses:
            return
        bucket.guesses = (*bucket.guesses, guess)[-limits.free_tries :]
        bucket.failures += 1
        beyond = bucket.failures - limits.free_tries
        if beyond >= 0:
            # The exponent is bounded so that a float never overflows.
            wait = min(limits.first_wait_s * 2 ** min(beyond, 32), limits.longest_wait_s)
            bucket.blocked_until = now + wait

    def abandoned(self, of: Key) -> None:
        """The try came to no answer (no room to verify it): it counts for nothing."""
        bucket = self._buckets.get(of)
        if bucket is None:
            return
        bucket.running = max(bucket.running - 1, 0)
        if bucket.running == 0 and bucket.failures == 0:
            del self._buckets[of]
