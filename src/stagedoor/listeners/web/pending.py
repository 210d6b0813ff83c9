"""Connections whose peer has not proved who it is: how many may there be, and which one has to go?

`PendingLimit` is pure: it decides. `PendingConnections` holds three of them for an event loop, by what a
connection costs: 5 KiB where nothing was said yet, 70 KiB with a header and a form, and more with TLS.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from stagedoor.model.source import Source

Key = TypeVar("Key", bound=Hashable)

MOST_PLAIN = 768
"""Connections a worker that have said something."""
MOST_TLS = 384
"""The same over TLS, those in the handshake too: OpenSSL takes 50 KiB for each, and a form comes on top."""
SHARE = 4
"""One source has at most a quarter of the places, but always `LEAST_OF_SOURCE`."""
LEAST_OF_SOURCE = 8


class PendingLimit(Generic[Key]):
    """At most `most` at once, and `most_of_source` of one source. When one more comes, one goes.

    It goes from the source that has the most of them, and is its oldest: that one has had the most
    time. So a source that floods drops its own, and one that has a single connection keeps it.
    """

    def __init__(self, most: int, most_of_source: int) -> None:
        self._most = most
        self._most_of_source = most_of_source
        self._by_source: dict[str, dict[Key, None]] = {}
        self._source_of: dict[Key, str] = {}
        self._by_count: dict[int, dict[str, None]] = {}
        """The sources that have so many: the largest count is found without a look at each source."""

    def __len__(self) -> int:
        return len(self._source_of)

    def enter(self, key: Key, source: str) -> Key | None:
        """`key` is one more, of `source`. Returns which one has to go for it, None if none has."""
        held = self._by_source.get(source, {})
        victim: Key | None = None
        if len(held) >= self._most_of_source:
            victim = next(iter(held))
        elif len(self) >= self._most:
            fullest = next(iter(self._by_count[max(self._by_count)]))
            victim = next(iter(self._by_source[fullest]))
        if victim is not None:
            self.leave(victim)
        self._source_of[key] = source
        held = self._by_source.setdefault(source, {})
        held[key] = None
        self._recount(source, len(held) - 1, len(held))
        return victim

    def leave(self, key: Key) -> None:
        """`key` is none of them any more. Harmless if it was not."""
        source = self._source_of.pop(key, None)
        if source is None:
            return
        held = self._by_source[source]
        del held[key]
        self._recount(source, len(held) + 1, len(held))
        if not held:
            del self._by_source[source]

    def _recount(self, source: str, before: int, now: int) -> None:
        if before:
            sources = self._by_count[before]
            del sources[source]
            if not sources:
                del self._by_count[before]
        if now:
            self._by_count.setdefault(now, {})[source] = None


def _nothing() -> None:
    """For a connection that is gone."""


class Peer(Protocol):
    """What carries a connection (`net.transport.StreamTransport`), as far as it is needed here."""

    def trust(self) -> None: ...


@dataclass(eq=False, slots=True)
class PendingConnection:
    """One connection, from its accept to its end. `crowded_out` closes it to make room for another."""

    source: Source
    owner: "PendingConnections"
    crowded_out: Callable[[], None] = _nothing
    has_spoken: bool = False
    peer: Peer | None = None

    def comes_from(self, source: Source, counted_as: str) -> None:
        """A load balancer has said whom it speaks for."""
        self.source = source
        self.owner.move(self, counted_as)

    def prove(self) -> None:
        """The peer has proved who it is: it counts no longer, and has time to read."""
        self.owner.leave(self)
        if self.peer is not None:
            self.peer.trust()

    def ended(self) -> None:
        """Nothing is left of it. May be called again."""
        self.owner.leave(self)
        # They refer to this connection, and it to them: what TLS holds must not wait for the collector.
        self.crowded_out, self.peer = _nothing, None


@dataclass(eq=False, slots=True)
class PendingConnections:
    """Of one event loop. `most` are those that have said nothing yet (`listen.max_pending`)."""

    most: int
    silent: PendingLimit[PendingConnection] = field(init=False)
    plain: PendingLimit[PendingConnection] = field(init=False)
    tls: PendingLimit[PendingConnection] = field(init=False)

    def __post_init__(self) -> None:
        self.silent = _limit(self.most)
        self.plain = _limit(min(self.most, MOST_PLAIN))
        self.tls = _limit(min(self.most, MOST_TLS))

    def arrive(self, source: Source, counted_as: str) -> PendingConnection:
        """A connection was accepted; it has said nothing yet."""
        arrived = PendingConnection(source, self)
        _enter(self.silent, arrived, counted_as)
        return arrived

    def speaks(self, connection: PendingConnection, counted_as: str, *, secure: bool) -> None:
        """Its first bytes are there; `secure`: they are TLS."""
        connection.has_spoken = True
        self.silent.leave(connection)
        _enter(self.tls if secure else self.plain, connection, counted_as)

    def move(self, connection: PendingConnection, counted_as: str) -> None:
        self.leave(connection)
        _enter(self.silent, connection, counted_as)

    def leave(self, connection: PendingConnection) -> None:
        """It has ended, or counts no longer. May be called again."""
        for limit in (self.silent, self.plain, self.tls):
            limit.leave(connection)


def _limit(most: int) -> PendingLimit[PendingConnection]:
    return PendingLimit(most, max(most // SHARE, LEAST_OF_SOURCE))


def _enter(
    limit: PendingLimit[PendingConnection], connection: PendingConnection, counted_as: str
) -> None:
    victim = limit.enter(connection, counted_as)
    if victim is not None:
        victim.crowded_out()
