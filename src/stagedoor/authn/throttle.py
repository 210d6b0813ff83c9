"""The throttle of wrong passwords: a state machine per (name, source), with time as an argument.

The first `free_tries` wrong passwords cause no wait, and a repeated wrong password counts once, so that a
forgotten job with an old password does not block its user. Each further one doubles the wait before the next
try, from `first_wait_s` up to `longest_wait_s`. Two sources share no state, so an attacker cannot lock a user
out from elsewhere. The source is the address, or for IPv6 the /64 that one subscriber holds (RFC 6177).

Memory is bounded: beyond `entries`, the least recently used entry is dropped. An attacker gains nothing by
this, since it takes `entries` failures, each with a whole argon2 verification in a bounded pool. At 20 per
second that takes more than 8 minutes, longer than `longest_wait_s`. `model.rate` limits the guesses of one
source for all names together.

Tokens are not throttled: 256 bits cannot be guessed. Each worker process counts for itself.
"""

from collections import OrderedDict
from dataclasses import dataclass

from stagedoor.model.source import Address, find_source_network
from stagedoor.model.units import MINUTE_S

ThrottleKey = tuple[str, str]
_NAME_LIMIT = 128


def make_key(name: str, address: Address) -> ThrottleKey:
    """Return the key of a bucket. All names of a source that are too long for a user's share one bucket."""
    return (name if len(name) <= _NAME_LIMIT else "", find_source_network(address))


@dataclass(slots=True)
class _Bucket:
    failures: int = 0
    guesses: tuple[bytes, ...] = ()
    running: int = 0
    blocked_until: float = 0.0
    forget_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ThrottleLimits:
    """The limits of a throttle. A bucket without a failure for `forget_s` seconds is reset."""

    free_tries: int = 5
    first_wait_s: float = 1.0
    longest_wait_s: float = 5 * MINUTE_S
    forget_s: float = 15 * MINUTE_S
    entries: int = 10_000


class Throttle:
    """The wrong passwords for each name and source, and the waits that they cause.

    Call `start` before each verification, and after it `record_success`, `record_failure` or
    `abandon`, exactly once. Not thread-safe: it belongs to one event loop.
    """

    def __init__(self, limits: ThrottleLimits | None = None) -> None:
        self._limits = limits or ThrottleLimits()
        self._buckets: OrderedDict[ThrottleKey, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def measure_block(self, of: ThrottleKey, now: float) -> float:
        """Return the seconds that earlier failures still block the next try, or 0."""
        bucket = self._buckets.get(of)
        if bucket is None:
            return 0.0
        if bucket.running == 0 and bucket.forget_at <= now:
            del self._buckets[of]
            return 0.0
        return max(bucket.blocked_until - now, 0.0)

    def start(self, of: ThrottleKey, now: float) -> float:
        """Start a try and return 0, or return the number of seconds until one may start.

        Running tries count as failures, so guessing in parallel is no cheaper than in sequence.
        """
        wait = self.measure_block(of, now)
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

    def record_success(self, of: ThrottleKey) -> None:
        """Record that a try was right, and forget the earlier failures."""
        bucket = self._buckets.get(of)
        if bucket is None:
            return
        bucket.running = max(bucket.running - 1, 0)
        bucket.failures, bucket.blocked_until, bucket.guesses = 0, 0.0, ()
        if bucket.running == 0:
            del self._buckets[of]

    def record_failure(self, of: ThrottleKey, now: float, guess: bytes = b"") -> None:
        """Record that a try was wrong.

        `guess` identifies the password, so that a repetition does not count. If it is empty, the failure
        always counts.
        """
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

    def abandon(self, of: ThrottleKey) -> None:
        """Drop a try that could not be verified for lack of room. It does not count."""
        bucket = self._buckets.get(of)
        if bucket is None:
            return
        bucket.running = max(bucket.running - 1, 0)
        if bucket.running == 0 and bucket.failures == 0:
            del self._buckets[of]
