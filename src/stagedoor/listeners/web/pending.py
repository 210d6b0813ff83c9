"""Connections whose peer has not proved who it is, of an event loop.

There are three queues, by what a connection costs: 5 KiB where nothing was said yet, 70 KiB with a header
and a form, and more with TLS.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from stagedoor.model.fair_queue import FairQueue
from stagedoor.model.source import Source

MOST_PLAIN = 768
"""Connections a worker that have said something."""
MOST_TLS = 384
"""The same over TLS, those in the handshake too: OpenSSL takes 50 KiB for each, and a form comes on top."""
SHARE = 4
"""One source has at most a quarter of the places, but always `LEAST_OF_SOURCE`."""
LEAST_OF_SOURCE = 8


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
    silent: FairQueue[PendingConnection] = field(init=False)
    plain: FairQueue[PendingConnection] = field(init=False)
    tls: FairQueue[PendingConnection] = field(init=False)

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
        self.silent.remove(connection)
        _enter(self.tls if secure else self.plain, connection, counted_as)

    def move(self, connection: PendingConnection, counted_as: str) -> None:
        self.leave(connection)
        _enter(self.silent, connection, counted_as)

    def leave(self, connection: PendingConnection) -> None:
        """It has ended, or counts no longer. May be called again."""
        for limit in (self.silent, self.plain, self.tls):
            limit.remove(connection)


def _limit(most: int) -> FairQueue[PendingConnection]:
    return FairQueue(most, max(most // SHARE, LEAST_OF_SOURCE))


def _enter(
    limit: FairQueue[PendingConnection], connection: PendingConnection, counted_as: str
) -> None:
    victim = limit.enter(connection, counted_as)
    if victim is not None:
        victim.crowded_out()
