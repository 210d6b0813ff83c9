"""How often may each source do something? Pure: time is an argument.

The generic cell rate algorithm (ITU-T I.371): one number for each source. A source may do it `burst`
times at once, and once more each `interval_s`.
"""

from collections import OrderedDict
from dataclasses import dataclass

from stagedoor.model.source import site_network

SITE_TIMES = 4
"""What a site may do, by what one of its sources may: an office has some that are busy at a time."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, and one more each `interval_s` seconds; more may wait for `patience_s`."""

    burst: int
    interval_s: float
    patience_s: float = 0.0


class SourceRates:
    """Counts for each source. Belongs to one event loop.

    Memory is bounded: a source is forgotten once it may do `burst` again. Past `entries`, so is the one
    that did it longest ago.
    """

    def __init__(self, rate: Rate, entries: int = 10_000) -> None:
        self._rate = rate
        self._entries = entries
        self._paid_until: OrderedDict[str, float] = OrderedDict()
        """Until when each has used up what it may do."""

    def __len__(self) -> int:
        return len(self._paid_until)

    def wait_s(self, source: str, now: float) -> float:
        """Seconds until it may be done once more; 0 for now."""
        rate = self._rate
        return max(self._ahead_s(source, now) - (rate.burst - 1) * rate.interval_s, 0.0)

    def take(self, source: str, now: float) -> float | None:
        """Do it once: after how many seconds, 0 for now. None, and nothing is taken, if after more than
        `patience_s`."""
        wait_s = self.wait_s(source, now)
        if wait_s > self._rate.patience_s:
            return None
        self._paid_until[source] = now + self._ahead_s(source, now) + self._rate.interval_s
        self._paid_until.move_to_end(source)
        self._forget(now)
        return wait_s

    def give_back(self, source: str) -> None:
        """What was taken is not to count."""
        if source in self._paid_until:
            self._paid_until[source] -= self._rate.interval_s

    def _ahead_s(self, source: str, now: float) -> float:
        rate = self._rate
        ahead_s = self._paid_until.get(source, now) - now
        # A clock that was set back holds nobody up for longer than that.
        return min(max(ahead_s, 0.0), rate.burst * rate.interval_s + rate.patience_s)

    def _forget(self, now: float) -> None:
        while self._paid_until:
            oldest = next(iter(self._paid_until))
            if self._paid_until[oldest] > now and len(self._paid_until) <= self._entries:
                return
            del self._paid_until[oldest]


class SiteRates:
    """For each source, and `times` as often for the site that it is in (`model.source.site_network`): with an
    IPv6 /48, which anybody can have, a stranger has 65,536 sources."""

    def __init__(self, rate: Rate, times: int = SITE_TIMES) -> None:
        self._sources = SourceRates(rate)
        of_site = Rate(rate.burst * times, rate.interval_s / times, rate.patience_s)
        self._sites = SourceRates(of_site)

    def take(self, source: str, now: float) -> float | None:
        """As `SourceRates.take`."""
        site = site_network(source)
        of_site = self._sites.take(site, now)
        if of_site is None:
            return None
        of_source = self._sources.take(source, now)
        if of_source is None:
            self._sites.give_back(site)
            return None
        return max(of_source, of_site)

    def wait_s(self, source: str, now: float) -> float:
        return max(self._sources.wait_s(source, now), self._sites.wait_s(site_network(source), now))

    def whose(self, source: str, now: float) -> str:
        """What has to wait, for a message: `address` or `network`."""
        return "address" if self._sources.wait_s(source, now) > 0 else "network"

    def give_back(self, source: str) -> None:
        """What was taken is not to count."""
        self._sources.give_back(source)
        self._sites.give_back(site_network(source))
