"""How long, how fast and how much: every limit of what is asked of a cluster, and why."""

from dataclasses import dataclass, field

ASK_LIMIT_S = 15.0
"""For one request and its whole answer: an admission webhook may take 10 s."""

LIST_LIMIT_S = 60.0
"""For a page of a list; the API server itself gives up after 60 s."""

PAGE = 500
"""Objects in one answer to a list, as client-go asks."""

IN_FLIGHT = 16
"""Requests that are under way at once, watches aside."""

PATIENCE_S = 20.0
"""How long we wait, all in all, when the API asks to come later (429 or 5xx with Retry-After)."""

URGENT_LIMIT_S = 3.5
"""For the requests of an election: a leader has 8 s to renew its lease, and tries twice."""


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """How a watch is kept. All in seconds."""

    answer_s: float = 30.0
    """For the head of the answer."""
    length_s: float = 300.0
    """How long one watch lasts before the API server ends it; up to half as much again, so that a
    thousand watches do not begin again at once (client-go: 5 to 10 minutes)."""
    silence_s: float = 120.0
    """A watch that has said nothing for so long is begun again from where it was: that costs one
    request, and finds out whether anybody is there. A bookmark comes each minute, but only where the
    API server hears of progress from its store (etcd since 3.4.25, by `RequestProgress`), and never
    of events."""
    late_s: float = 15.0
    """How long after its end a watch that the API server has not ended is left."""
    first_wait_s: float = 0.25
    longest_wait_s: float = 10.0
    """Between two tries; it doubles. So soon after the API is back, we are too."""
    settled_s: float = 5.0
    """A watch that lasted so long has worked: the next wait is the first again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient, how fast and how wide. Durations in seconds."""

    ask_s: float = ASK_LIMIT_S
    list_s: float = LIST_LIMIT_S
    patience_s: float = PATIENCE_S
    in_flight: int = IN_FLIGHT
    page: int = PAGE
    watch: WatchLimits = field(default_factory=WatchLimits)
