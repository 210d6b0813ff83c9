"""Rate limits for each source. Pure: time is an argument.

This is the generic cell rate algorithm (ITU-T I.371), with one number for each source. A source may act
`burst` times at once, and once more every `interval_s`.
"""

from collections import OrderedDict
from dataclasses import dataclass

from stagedoor.model.source import find_site_network

SITE_TIMES = 4
"""The limit of a site as a multiple of a source's, since an office has several busy sources at once."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate: `burst` at once, and one more every `interval_s` seconds.

    An attempt that comes too early may wait for up to `patience_s` seconds.
    """

    burst: int
    interval_s: float
    patience_s: float = 0.0


class SourceRates:
    """The use of a rate by each source. An instance belongs to one event loop.

    Memory is bounded: a source is forgotten once it may use its whole `burst` again. Beyond `entries`
    sources, the least recently active one is forgotten too.
    """

    def __init__(self, rate: Rate, entries: int = 10_000) -> None:
        self._rate = rate
        self._entries = entries
        self._paid_until: OrderedDict[str, float] = OrderedDict()
        """The time until which each source has used up its rate."""

    def __len__(self) -> int:
        return len(self._paid_until)

    def wait_s(self, source: str, now: float) -> float:
        """Return the seconds until `source` may act once more; 0 for now."""
        rate = self._rate
        return max(self._ahead_s(source, now) - (rate.burst - 1) * rate.interval_s, 0.0)

    def take(self, source: str, now: float) -> float | None:
        """Use the rate once, and return the seconds to wait first; 0 for now.

        Return None, and use nothing, if the wait would be longer than `patience_s`.
        """
        wait_s = self.wait_s(source, now)
        if wait_s > self._rate.patience_s:
            return None
        self._paid_until[source] = now + self._ahead_s(source, now) + self._rate.interval_s
        self._paid_until.move_to_end(source)
        self._forget(now)
        return wait_s

    def give_back(self, source: str) -> None:
        """Undo one `take`."""
        if source in self._paid_until:
            self._paid_until[source] -= self._rate.interval_s

    def _ahead_s(self, source: str, now: float) -> float:
        rate = self._rate
        ahead_s = self._paid_until.get(source, now) - now
        # A clock that was set back must not delay a source for longer than that.
        return min(max(ahead_s, 0.0), rate.burst * rate.interval_s + rate.patience_s)

    def _forget(self, now: float) -> None:
        while self._paid_until:
            oldest = next(iter(self._paid_until))
            if self._paid_until[oldest] > now and len(self._paid_until) <= self._entries:
                return
            del self._paid_until[oldest]


class SiteRates:
    """The use of a rate by each source, and of `times` that rate by the source's site.

    Anyone can get an IPv6 /48, which has 65,536 sources, so sites have a limit too
    (`model.source.find_site_network`).
    """

    def __init__(self, rate: Rate, times: int = SITE_TIMES) -> None:
        self._sources = SourceRates(rate)
        of_site = Rate(rate.burst * times, rate.interval_s / times, rate.patience_s)
        self._sites = SourceRates(of_site)

    def take(self, source: str, now: float) -> float | None:
        """Use the rate of the source and of its site once. Return as `SourceRates.take` does."""
        site = find_site_network(source)
        of_site = self._sites.take(site, now)
        if of_site is None:
            return None
        of_source = self._sources.take(source, now)
        if of_source is None:
            self._sites.give_back(site)
            return None
        return max(of_source, of_site)

    def wait_s(self, source: str, now: float) -> float:
        """Return the seconds until both the source and its site may act once more; 0 for now."""
        return max(
            self._sources.wait_s(source, now), self._sites.wait_s(find_site_network(source), now)
        )

    def find_waiting_scope(self, source: str, now: float) -> str:
        """Return which limit makes the source wait, for a message: `address` or `network`."""
        return "address" if self._sources.wait_s(source, now) > 0 else "network"

    def give_back(self, source: str) -> None:
        """Undo one `take`."""
        self._sources.give_back(source)
        self._sites.give_back(find_site_network(source))
