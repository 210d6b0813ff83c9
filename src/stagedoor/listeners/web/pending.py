"""The limits on connections whose client has not authenticated, per event loop.

There are three queues, because connections differ in memory: 5 KiB for one that has sent nothing, 70 KiB with
a header and a form, and more with TLS.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from stagedoor.model.fair_queue import FairQueue
from stagedoor.model.source import Source
from stagedoor.net.transport import StreamTransport

MAX_PLAIN = 768
"""Connections of a worker over plain TCP that have sent something."""
MAX_TLS = 384
"""Connections of a worker over TLS, including handshakes: OpenSSL takes 50 KiB for each, besides a form."""
SHARE = 4
"""One source may have at most a quarter of the places, but always at least `MIN_PER_SOURCE`."""
MIN_PER_SOURCE = 8


def _do_nothing() -> None:
    """Do nothing, for a connection that has ended."""


@dataclass(eq=False, slots=True)
class PendingConnection:
    """One connection, from the accept to its end. `drop_for_room` closes it to make room for another."""

    source: Source
    owner: "UnauthenticatedConnections"
    drop_for_room: Callable[[], None] = _do_nothing
    has_spoken: bool = False
    peer: StreamTransport | None = None

    def set_source(self, source: Source, counted_as: str) -> None:
        """Set the client's address, which a load balancer has reported."""
        self.source = source
        self.owner.move(self, counted_as)

    def mark_authenticated(self) -> None:
        """Stop counting the connection. Its client has authenticated, and may now read slowly."""
        self.owner.leave(self)
        if self.peer is not None:
            self.peer.trust()

    def release(self) -> None:
        """Stop counting a connection that has ended, and drop its references. May be called again."""
        self.owner.leave(self)
        # Break the reference cycle, so that the memory of TLS does not wait for the garbage collector.
        self.drop_for_room, self.peer = _do_nothing, None


@dataclass(eq=False, slots=True)
class UnauthenticatedConnections:
    """The unauthenticated connections of one event loop.

    At most `most` of them have sent nothing yet.
    """

    most: int
    silent: FairQueue[PendingConnection] = field(init=False)
    plain: FairQueue[PendingConnection] = field(init=False)
    tls: FairQueue[PendingConnection] = field(init=False)

    def __post_init__(self) -> None:
        self.silent = _make_queue(self.most)
        self.plain = _make_queue(min(self.most, MAX_PLAIN))
        self.tls = _make_queue(min(self.most, MAX_TLS))

    def add(self, source: Source, counted_as: str) -> PendingConnection:
        """Count a connection that was just accepted and has sent nothing."""
        connection = PendingConnection(source, self)
        _enter(self.silent, connection, counted_as)
        return connection

    def mark_spoken(self, connection: PendingConnection, counted_as: str, *, is_tls: bool) -> None:
        """Count a connection whose first bytes have come; with `is_tls` they are TLS."""
        connection.has_spoken = True
        self.silent.remove(connection)
        _enter(self.tls if is_tls else self.plain, connection, counted_as)

    def move(self, connection: PendingConnection, counted_as: str) -> None:
        """Count a silent connection for another source."""
        self.leave(connection)
        _enter(self.silent, connection, counted_as)

    def leave(self, connection: PendingConnection) -> None:
        """Stop counting a connection. May be called again."""
        for limit in (self.silent, self.plain, self.tls):
            limit.remove(connection)


def _make_queue(most: int) -> FairQueue[PendingConnection]:
    return FairQueue(most, max(most // SHARE, MIN_PER_SOURCE))


def _enter(
    limit: FairQueue[PendingConnection], connection: PendingConnection, counted_as: str
) -> None:
    victim = limit.enter(connection, counted_as)
    if victim is not None:
        victim.drop_for_room()
