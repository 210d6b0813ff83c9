"""Which of those that wait is served next, and which loses its place when too many wait. Pure.

Everything that strangers can fill is kept in a `FairQueue`: connections that have not proved who they are,
passwords to verify, logins without a user. It counts by source (`model.source.source_network`), so that a
source that floods loses its own places and one with a single connection keeps it.
"""

import sys
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from stagedoor.model.source import site_network

Key = TypeVar("Key")


class FairQueue(Generic[Key]):
    """Keys that wait, each for its source, in the order in which they came.

    At most `room` wait, and at most `room_of_source` of one source (None: no limit of its own).
    """

    def __init__(self, room: int = sys.maxsize, room_of_source: int | None = None) -> None:
        self._room = room
        self._room_of_source = room_of_source
        self._by_source: OrderedDict[str, dict[Key, None]] = OrderedDict()
        """The source whose turn it is comes first; none is empty."""
        self._source_of: dict[Key, str] = {}
        self._by_count: dict[int, dict[str, None]] = {}
        """The sources that have so many: the largest count is found without a look at each source."""

    def __len__(self) -> int:
        return len(self._source_of)

    def of_source(self, source: str) -> Sequence[Key]:
        """Return the keys of `source`, the oldest first."""
        return list(self._by_source.get(source, ()))

    def counts(self) -> Mapping[str, int]:
        """Return how many keys each source has."""
        return {source: len(keys) for source, keys in self._by_source.items()}

    def fullest(self) -> str | None:
        """Return the source with most keys, of equals the one that has had so many longest."""
        return next(iter(self._by_count[max(self._by_count)])) if self._by_count else None

    def add(self, key: Key, source: str) -> None:
        """Let `key` wait, whether there is room or not."""
        keys = self._by_source.setdefault(source, {})
        keys[key] = None
        self._source_of[key] = source
        self._recount(source, len(keys) - 1, len(keys))

    def remove(self, key: Key) -> None:
        """Let `key` wait no longer. Harmless if it did not."""
        source = self._source_of.pop(key, None)
        if source is None:
            return
        keys = self._by_source[source]
        del keys[key]
        self._recount(source, len(keys) + 1, len(keys))
        if not keys:
            del self._by_source[source]

    def enter(self, key: Key, source: str) -> Key | None:
        """Let `key` wait, and return the key that loses its place for it, or None.

        That is the oldest of the source with most keys, or of `source` where that has all its own places:
        the oldest had the most time to do what it is waited for.
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
        """Let `key` wait for its turn, and return the key that has to go, or None.

        That is the newest of the source with most keys: the others have waited longer. It is `key` itself,
        which then does not wait, where no other source has more keys than its own.
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
        """Remove and return the key whose turn it is: sources take turns. None if nothing waits."""
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
    """The refusal of one more, since `most` wait.

    `where` is ` from your address`, ` from your network`, or empty for all.
    """

    most: int
    where: str = ""


@dataclass(frozen=True, slots=True)
class PendingLimits:
    """How many may wait of a source, of a site (`model.source.site_network`) and of all together.

    With an IPv6 /48, which anybody can have, a stranger has 65,536 sources.
    """

    of_source: int
    of_site: int
    of_all: int

    def room(self, waiting: Mapping[str, int], source: str) -> Full | str | None:
        """Judge whether one more of `source` may wait beside `waiting` (how many of each source).

        Return None where it may, and `Full` where it may not. Where all places are taken and another site
        has more of them, return the source whose newest has to go for it.
        """
        if waiting.get(source, 0) >= self.of_source:
            return Full(self.of_source, " from your address")
        sites: Counter[str] = Counter()
        for each, number in waiting.items():
            sites[site_network(each)] += number
        own = sites[site_network(source)]
        if own >= self.of_site:
            return Full(self.of_site, " from your network")
        if sites.total() < self.of_all:
            return None
        fullest, most = sites.most_common(1)[0]
        # With one more than its own a site would only take turns with it.
        if most <= own + 1:
            return Full(self.of_all)
        of_fullest = (each for each in waiting if site_network(each) == fullest)
        return max(of_fullest, key=lambda each: waiting[each])
