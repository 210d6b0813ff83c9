"""A queue that is fair to sources: which entry is served next, and which loses its place. Pure.

Every queue that strangers can fill is a `FairQueue`: unauthenticated connections, passwords to verify,
logins without a user. It counts entries by source (`model.source.source_network`), so a source that
floods loses its own places, and a source with a single connection keeps its place.
"""

import sys
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from stagedoor.model.source import site_network

Key = TypeVar("Key")


class FairQueue(Generic[Key]):
    """Waiting keys in order of arrival, each with its source.

    At most `room` keys wait, and at most `room_of_source` of one source (None: no limit for a source).
    """

    def __init__(self, room: int = sys.maxsize, room_of_source: int | None = None) -> None:
        self._room = room
        self._room_of_source = room_of_source
        self._by_source: OrderedDict[str, dict[Key, None]] = OrderedDict()
        """The source whose turn it is comes first; no source is empty."""
        self._source_of: dict[Key, str] = {}
        self._by_count: dict[int, dict[str, None]] = {}
        """The sources with each count, so that finding the largest count needs no pass over all sources."""

    def __len__(self) -> int:
        return len(self._source_of)

    def of_source(self, source: str) -> Sequence[Key]:
        """Return the keys of `source`, the oldest first."""
        return list(self._by_source.get(source, ()))

    def counts(self) -> Mapping[str, int]:
        """Return how many keys each source has."""
        return {source: len(keys) for source, keys in self._by_source.items()}

    def fullest(self) -> str | None:
        """Return the source with the most keys; among equals, the one that has had that many for longest."""
        return next(iter(self._by_count[max(self._by_count)])) if self._by_count else None

    def add(self, key: Key, source: str) -> None:
        """Add `key` to the queue, whether there is room or not."""
        keys = self._by_source.setdefault(source, {})
        keys[key] = None
        self._source_of[key] = source
        self._recount(source, len(keys) - 1, len(keys))

    def remove(self, key: Key) -> None:
        """Remove `key` from the queue, if it is there."""
        source = self._source_of.pop(key, None)
        if source is None:
            return
        keys = self._by_source[source]
        del keys[key]
        self._recount(source, len(keys) + 1, len(keys))
        if not keys:
            del self._by_source[source]

    def enter(self, key: Key, source: str) -> Key | None:
        """Add `key`, and return the key that loses its place for it, or None.

        That is the oldest key of the source with the most keys, or of `source` if that has used all of
        its own places: the oldest key has had the most time to do what it is waited for.
        """
        victim: Key | None = None
        if self._room_of_source is not None and self._count(source) >= self._room_of_source:
            victim = next(iter(self._by_source[source]))
        elif len(self) >= self._room and (fullest := self.fullest()) is not None:
            victim = next(iter(self._by_source[fullest]))
        if victim is not None:
            self.remove(victim)
        self.add(key, source)
        return victim

    def line_up(self, key: Key, source: str) -> Key | None:
        """Queue `key` for its turn, and return the key that loses its place, or None.

        That is the newest key of the source with the most keys, because the others have waited longer.
        It is `key` itself, which is then not queued, if no other source has more keys than its own.
        """
        victim: Key | None = None
        if len(self) >= self._room:
            fullest = self.fullest()
            if fullest is None or self._count(fullest) <= self._count(source) + 1:
                return key
            victim = next(reversed(self._by_source[fullest]))
            self.remove(victim)
        self.add(key, source)
        return victim

    def take(self) -> Key | None:
        """Remove and return the key whose turn it is, or None if the queue is empty. Sources take turns."""
        if not self._by_source:
            return None
        source = next(iter(self._by_source))
        key = next(iter(self._by_source[source]))
        self.remove(key)
        if source in self._by_source:
            self._by_source.move_to_end(source)
        return key

    def _count(self, source: str) -> int:
        return len(self._by_source.get(source, ()))

    def _recount(self, source: str, before: int, now: int) -> None:
        if before:
            sources = self._by_count[before]
            del sources[source]
            if not sources:
                del self._by_count[before]
        if now:
            self._by_count.setdefault(now, {})[source] = None


@dataclass(frozen=True, slots=True)
class Full:
    """The refusal of one more entry, since `most` are waiting.

    `where` is ` from your address`, ` from your network`, or empty if the limit is on all of them.
    """

    most: int
    where: str = ""


@dataclass(frozen=True, slots=True)
class PendingLimits:
    """The limits on waiting entries: of a source, of a site (`model.source.site_network`), and of all.

    Anyone can get an IPv6 /48, which has 65,536 sources; hence the limit of a site.
    """

    of_source: int
    of_site: int
    of_all: int

    def room(self, waiting: Mapping[str, int], source: str) -> Full | str | None:
        """Decide whether one more entry of `source` may wait beside `waiting` (the number of each source).

        Return None if it may, and `Full` if it may not. If all places are taken and another site has
        more of them, return the source whose newest entry has to make room.
        """
        if waiting.get(source, 0) >= self.of_source:
            return Full(self.of_source, " from your address")
        sites: Counter[str] = Counter()
        for other, number in waiting.items():
            sites[site_network(other)] += number
        own = sites[site_network(source)]
        if own >= self.of_site:
            return Full(self.of_site, " from your network")
        if sites.total() < self.of_all:
            return None
        fullest, most = sites.most_common(1)[0]
        # A site with just one more would swap places with this one for ever.
        if most <= own + 1:
            return Full(self.of_all)
        of_fullest = (other for other in waiting if site_network(other) == fullest)
        return max(of_fullest, key=lambda other: waiting[other])
