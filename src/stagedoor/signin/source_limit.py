"""Limits on what the clients of one network may make the gateway do before they have proved anything."""

import math
from collections.abc import Callable

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.rate import Rate, SiteRates
from stagedoor.model.source import Source, find_source_network

ATTEMPTS = Rate(burst=50, interval_s=3.0)
"""The attempts of one source network that make the gateway ask an identity provider, or a token's issuer. One
that succeeds is given back, so the many jobs of a CI behind one address are not counted."""
START_RATE = Rate(burst=20, interval_s=5.0)
"""The sign-ins that one source network may start: each is a row in the store. One that succeeds is given back
if its service says so."""


class SourceLimit:
    """A rate for each source network, and for its site (`SiteRates`). Belongs to one event loop.

    `complaint` begins the refusal, such as `too many logins come from your {}`: the address, or the network.
    """

    def __init__(self, rate: Rate, complaint: str, now: Callable[[], float]) -> None:
        self._rates = SiteRates(rate)
        self._complaint = complaint
        self._now = now

    def take(self, source: Source) -> Denial | None:
        """Count a request of the source. Return a denial if there were too many, else None."""
        network, now = find_source_network(source.address), self._now()
        if self._rates.take(network, now) is not None:
            return None
        wait_s = math.ceil(self._rates.wait_s(network, now))
        whose = self._rates.find_waiting_scope(network, now)
        why = f"{self._complaint.format(whose)}; try again in {wait_s} s"
        return Denial(Reason.THROTTLED, why, wait_s)

    def give_back(self, source: Source) -> None:
        """Give the source back what `take` counted."""
        self._rates.give_back(find_source_network(source.address))
