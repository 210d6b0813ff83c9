"""A queue that is fair to sources. It decides which entry is served next, and which loses its place. Pure.

Every queue that strangers can fill is a `FairQueue`: unauthenticated connections, passwords to verify, logins
without a user. It counts entries by network (`model.source.list_networks`): first by site, and within a site
by the smaller networks, down to the source. So a network that floods the queue loses its own places, even if
it has an IPv6 /48 and thus 65,536 sources, and a client with a single connection keeps its place.
"""

import sys
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from stagedoor.model.source import find_site_network, list_networks

Key = TypeVar("Key")


class _Network(Generic[Key]):
    """A network with its keys. A source has `keys`; a larger network has `parts`, the networks within it.

    No part is empty. The part whose turn it is comes first.
    """

    __slots__ = ("_by_size", "keys", "parts", "size")

    def __init__(self) -> None:
        self.size = 0
        self.keys: dict[Key, None] = {}
        self.parts: OrderedDict[str, _Network[Key]] = OrderedDict()
        self._by_size: dict[int, dict[str, None]] = {}
        """The parts with each size, so that finding the largest needs no pass over all of them."""

    def add(self, key: Key, path: Sequence[str]) -> None:
        """Add `key` to the source at the end of `path`."""
        self.size += 1
        if not path:
            self.keys[key] = None
            return
        part = self.parts.setdefault(path[0], _Network())
        part.add(key, path[1:])
        self._move(path[0], part.size - 1, part.size)

    def remove(self, key: Key, path: Sequence[str]) -> None:
        """Remove `key` from the source at the end of `path`, where it is."""
        self.size -= 1
        if not path:
            del self.keys[key]
            return
        part = self.parts[path[0]]
        part.remove(key, path[1:])
        self._move(path[0], part.size + 1, part.size)
        if not part.size:
            del self.parts[path[0]]

    def find(self, path: Sequence[str]) -> "_Network[Key] | None":
        """Return the network at the end of `path`, or None if it has no keys."""
        network: _Network[Key] | None = self
        for name in path:
            network = network and network.parts.get(name)
        return network

    def end_turn(self, path: Sequence[str]) -> None:
        """Put each network along `path` behind its siblings, if it still has keys."""
        if path and path[0] in self.parts:
            self.parts.move_to_end(path[0])
            self.parts[path[0]].end_turn(path[1:])

    def fullest(self) -> "_Network[Key]":
        """Return the largest part; among equals, the one that has had its size for longest."""
        return self.parts[next(iter(self._by_size[max(self._by_size)]))]

    def fullest_source(self) -> "_Network[Key]":
        """Return the source to take a key from: the largest one of the largest network of each level."""
        return self.fullest().fullest_source() if self.parts else self

    def _move(self, name: str, before: int, now: int) -> None:
        if before:
            parts = self._by_size[before]
            del parts[name]
            if not parts:
                del self._by_size[before]
        if now:
            self._by_size.setdefault(now, {})[name] = None


class FairQueue(Generic[Key]):
    """Waiting keys in order of arrival, each with its source.

    At most `room` keys wait, and at most `room_of_source` of one source (None: no limit for a source).
    """

    def __init__(self, room: int = sys.maxsize, room_of_source: int | None = None) -> None:
        self._room = room
        self._room_of_source = room_of_source
        self._all: _Network[Key] = _Network()
        self._path_of: dict[Key, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return self._all.size

    def list_keys_of(self, source: str) -> Sequence[Key]:
        """Return the keys of `source`, the oldest first."""
        network = self._all.find(list_networks(source))
        return list(network.keys) if network else []

    def count_keys(self) -> Mapping[str, int]:
        """Return how many keys each source has."""
        return Counter(path[-1] for path in self._path_of.values())

    def list_fullest_keys(self) -> Sequence[Key]:
        """Return the keys of the source that has to make room, the oldest first.

        It is the one with the most keys within the network with the most; among equals, the one that has
        had that many for longest.
        """
        return list(self._all.fullest_source().keys)

    def add(self, key: Key, source: str) -> None:
        """Add `key` to the queue, whether there is room or not."""
        path = list_networks(source)
        self._all.add(key, path)
        self._path_of[key] = path

    def remove(self, key: Key) -> None:
        """Remove `key` from the queue, if it is there."""
        path = self._path_of.pop(key, None)
        if path is not None:
            self._all.remove(key, path)

    def enter(self, key: Key, source: str) -> Key | None:
        """Add `key`, and return the key that loses its place for it, or None.

        That is the oldest key, which has had the most time, of the source that has to make room
        (`list_fullest_keys`), or of `source` itself if it has used all of its places.
        """
        victim: Key | None = None
        own = self._all.find(list_networks(source))
        if (
            own is not None
            and self._room_of_source is not None
            and own.size >= self._room_of_source
        ):
            victim = next(iter(own.keys))
        elif self._all.size >= self._room and self._all.size:
            victim = next(iter(self._all.fullest_source().keys))
        if victim is not None:
            self.remove(victim)
        self.add(key, source)
        return victim

    def queue_for_turn(self, key: Key, source: str) -> Key | None:
        """Queue `key` for its turn, and return the key that loses its place, or None.

        That is the newest key of the source with the most keys, because the others have waited longer.
        If no other network has more keys than its own, it is `key` itself, which is then not queued.
        """
        victim: Key | None = None
        if self._all.size >= self._room:
            fuller = self._fuller_than(list_networks(source))
            if fuller is None:
                return key
            victim = next(reversed(fuller.fullest_source().keys))
            self.remove(victim)
        self.add(key, source)
        return victim

    def take(self) -> Key | None:
        """Remove and return the key whose turn it is, or None if the queue is empty.

        Sites take turns, and within a site its networks.
        """
        if not self._all.size:
            return None
        network = self._all
        while network.parts:
            network = next(iter(network.parts.values()))
        key = next(iter(network.keys))
        path = self._path_of[key]
        self.remove(key)
        self._all.end_turn(path)
        return key

    def _fuller_than(self, path: Sequence[str]) -> "_Network[Key] | None":
        """Return the largest network that has more keys than its sibling on `path` would have with one more.

        If there are several such levels, the one of the largest networks decides. None if there is none.
        """
        network: _Network[Key] | None = self._all
        for name in path:
            if network is None or not network.parts:
                return None
            own = network.parts.get(name)
            fullest = network.fullest()
            if fullest.size > (own.size if own else 0) + 1:
                return fullest
            network = own
        return None


@dataclass(frozen=True, slots=True)
class Full:
    """The refusal of one more entry, since `most` are waiting.

    `where` is ` from your address`, ` from your network`, or empty if the limit is on all of them.
    """

    most: int
    where: str = ""


@dataclass(frozen=True, slots=True)
class PendingLimits:
    """The limits on waiting entries: of a source, of a site (`model.source.find_site_network`), and of all.

    Anyone can get an IPv6 /48, which has 65,536 sources, so sites have a limit too.
    """

    of_source: int
    of_site: int
    of_all: int

    def judge_entry(self, waiting: Mapping[str, int], source: str) -> Full | str | None:
        """Decide whether one more entry of `source` may wait beside `waiting` (the number of each source).

        Return None if it may, and `Full` if it may not. If all places are taken and another site has
        more of them, return the source whose newest entry has to make room.
        """
        if waiting.get(source, 0) >= self.of_source:
            return Full(self.of_source, " from your address")
        sites: Counter[str] = Counter()
        for other, number in waiting.items():
            sites[find_site_network(other)] += number
        own = sites[find_site_network(source)]
        if own >= self.of_site:
            return Full(self.of_site, " from your network")
        if sites.total() < self.of_all:
            return None
        fullest, most = sites.most_common(1)[0]
        # Otherwise two sites that differ by one would displace each other for ever.
        if most <= own + 1:
            return Full(self.of_all)
        of_fullest = (other for other in waiting if find_site_network(other) == fullest)
        return max(of_fullest, key=lambda other: waiting[other])
