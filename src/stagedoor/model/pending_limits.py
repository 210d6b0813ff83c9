"""How many may wait at once: of a source, of the site that it is in, and of all? Pure."""

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

    def full(self, waiting: Mapping[str, int], source: str) -> Full | None:
        """Why no more of `source` may wait beside those who do, by their sources."""
        if waiting.get(source, 0) >= self.of_source:
            return Full(self.of_source, " from your address")
        site = site_network(source)
        if sum(n for one, n in waiting.items() if site_network(one) == site) >= self.of_site:
            return Full(self.of_site, " from your network")
        return Full(self.of_all) if sum(waiting.values()) >= self.of_all else None
