"""The pacing of requests by a token bucket, with time as an argument. Pure.

The API server has its own fairness (API Priority and Fairness), which slows down all clients of the same
kind. This keeps our bursts from being the reason.
"""

from dataclasses import dataclass, field

RATE_PER_S = 50.0
"""The rate in the long run. With client-go's default of 5, a restart with 500 apps would take minutes."""

BURST = 100
"""The most requests at once, after a quiet time."""


@dataclass(slots=True)
class Bucket:
    """A token bucket. Call `take` for each request, and wait as long as it returns, in FIFO order."""

    rate_per_s: float = RATE_PER_S
    burst: int = BURST
    _level: float = field(init=False)
    _at: float | None = field(default=None, init=False)
    _closed_until: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self._level = float(self.burst)

    def take(self, now: float) -> float:
        """Take a token, and return the seconds to wait before it may be used; 0 for at once."""
        if self._at is not None:
            gained = max(0.0, now - self._at) * self.rate_per_s
            self._level = min(float(self.burst), self._level + gained)
        self._at = now if self._at is None else max(now, self._at)
        self._level -= 1.0
        wait_s = max(0.0, -self._level / self.rate_per_s)
        return max(wait_s, self._closed_until - now)

    def pause(self, until: float) -> None:
        """Let no request go before `until`, since the API asked for it (Retry-After, RFC 9110 §10.2.3)."""
        self._closed_until = max(self._closed_until, until)


def retry_after_s(value: str, longest_s: float) -> float:
    """Return the seconds of a Retry-After header, at most `longest_s`; 1 if it cannot be read.

    Kubernetes sends seconds. The date form is not read, since it needs a clock that both sides share.
    """
    text = value.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        return min(1.0, longest_s)
    return min(float(text), longest_s)
