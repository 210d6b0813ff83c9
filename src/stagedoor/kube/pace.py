"""The limits of requests, and their pacing by a token bucket, with time as an argument. Pure.

The API server has its own fairness (API Priority and Fairness), which slows down all clients of the same
kind. Pacing keeps Stagedoor's bursts from causing that.
"""

from dataclasses import dataclass, field

PATIENT_S = 5.0
"""The longest time that a patient request lets all others go first."""

URGENT_LIMIT_S = 3.5
"""The time for a request of an election. A leader has 7 s to renew its lease, and tries twice."""


@dataclass(slots=True)
class Bucket:
    """A token bucket. Call `take` for each request, in FIFO order, and wait for the time that it returns."""

    rate_per_s: float = 100.0
    """The long-term rate. New keys for 2,000 shells, with two requests each, take 40 s."""
    burst: int = 100
    """The most requests at once, after a quiet time."""
    _level: float = field(init=False)
    _at: float | None = field(default=None, init=False)
    _closed_until: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self._level = float(self.burst)

    def take(self, now: float) -> float:
        """Take a token, and return the seconds to wait before using it."""
        self._level = self._gain(now) - 1.0
        wait_s = max(0.0, -self._level / self.rate_per_s)
        return max(wait_s, self._closed_until - now)

    def _gain(self, now: float) -> float:
        """Add the tokens since the last call, and return how many there are."""
        if self._at is not None:
            gained = max(0.0, now - self._at) * self.rate_per_s
            self._level = min(float(self.burst), self._level + gained)
        self._at = now if self._at is None else max(now, self._at)
        return self._level

    def take_patiently(self, now: float) -> float:
        """Take a token and return 0 if more than half of the burst is left.

        Otherwise take none, and return the seconds until the next attempt. So a patient request has no place
        in the queue, and all others go first.
        """
        missing = self.burst // 2 + 1 - self._gain(now)
        if missing > 0 or self._closed_until > now:
            return max(missing / self.rate_per_s, self._closed_until - now, 1 / self.rate_per_s)
        self._level -= 1.0
        return 0.0

    def pause(self, until: float) -> None:
        """Let no request go before `until`, since the API asked for it (Retry-After, RFC 9110 §10.2.3)."""
        self._closed_until = max(self._closed_until, until)


def parse_retry_after(value: str, longest_s: float) -> float:
    """Return the seconds of a Retry-After header, at most `longest_s`; 1 if it cannot be read.

    Kubernetes sends seconds. The form with a date is not read, since it would need clocks that agree.
    """
    text = value.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        return min(1.0, longest_s)
    return min(float(text), longest_s)


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """The limits of a watch, in seconds."""

    answer_s: float = 30.0
    """The time for the head of the answer."""
    length_s: float = 300.0
    """How long one watch lasts before the API server ends it. Up to half of this is added at random, so that
    a thousand watches do not restart at once (client-go: 5 to 10 minutes)."""
    silence_s: float = 120.0
    """A watch that is silent for this long is restarted where it was. That costs one request, and shows
    whether the server still answers. A bookmark comes each minute, but only if the API server gets progress
    notifications from its store (etcd since 3.4.25, by `RequestProgress`), and never for events."""
    late_s: float = 15.0
    """How long after its due end a watch is given up that the API server has not ended."""
    first_wait_s: float = 0.25
    longest_wait_s: float = 10.0
    """The longest wait between two attempts, and so until it is noticed that the API works again. The wait
    doubles each time."""
    settled_s: float = 5.0
    """A watch that lasted this long has worked, so the next wait is `first_wait_s` again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a client. Durations are in seconds."""

    request_s: float = 15.0
    """The time for one request and its whole answer: an admission webhook may take 10 s."""
    list_s: float = 60.0
    """The time for a page of a list; the API server itself gives up after 60 s."""
    patience_s: float = 20.0
    """How long a request waits in total when the API asks to retry later (429 or 5xx with Retry-After)."""
    in_flight: int = 16
    """The most requests at the same time, watches excluded."""
    page: int = 500
    """The most objects in one page of a list, as in client-go."""
    watch: WatchLimits = field(default_factory=WatchLimits)
