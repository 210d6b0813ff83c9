"""How many may wait at once: of a source, of the site that it is in, and of all? Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from stagedoor.model.source import site_network


@dataclass(frozen=True, slots=True)
class Full:
    """Why no more may wait: `most` do. `where` is ` from your address`, ` from your network` or nothing,
    for all."""

    most: int
    where: str = ""


@dataclass(frozen=True, slots=True)
class PendingLimits:
    """Of a source (`model.source.source_network`), of a site (`site_network`) and of all together. With an
    IPv6 /48, which anybody can have, a stranger has 65,536 sources."""

    of_source: int
    of_site: int
    of_all: int

    def room(self, waiting: Mapping[str, int], source: str) -> Full | str | None:
        """Whether one more of `source` may wait beside those who do, by their sources: None where one may,
        `Full` where none may. Where all places are taken and another site has more of them, the source
        whose newest has to go for it."""
        if waiting.get(source, 0) >= self.of_source:
            return Full(self.of_source, " from your address")
        sites: Counter[str] = Counter()
        for one, number in waiting.items():
            sites[site_network(one)] += number
        own = sites[site_network(source)]
        if own >= self.of_site:
            return Full(self.of_site, " from your network")
        if sites.total() < self.of_all:
            return None
        fullest, most = sites.most_common(1)[0]
        # With one more than its own a site would only take turns with it.
        if most <= own + 1:
            return Full(self.of_all)
        of_fullest = (one for one in waiting if site_network(one) == fullest)
        return max(of_fullest, key=lambda one: waiting[one])
