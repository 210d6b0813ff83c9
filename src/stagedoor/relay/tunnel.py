"""One tunnel and its two directions, as the relay keeps them. They are small, since there are thousands."""

from collections.abc import Callable

from stagedoor.model.grant import Grant
from stagedoor.model.session import Counts, End, Ended
from stagedoor.relay.pipes import Pipe
from stagedoor.relay.ports import Preface, Stream
from stagedoor.relay.state import Side, Stage

OnEnd = Callable[[Ended], None]
AskEnd = Callable[["Tunnel", End, str], None]
"""Asks the relay's thread to end a tunnel, with its end and the detail."""


class SourceError(Exception):
    """Reading a direction's source failed; the cause is the OSError."""


class SinkError(Exception):
    """Writing a direction's sink failed; the cause is the OSError."""


class Direction:
    """One direction: from `source` to `sink`. Only the relay's thread touches it.

    `rest` and `pipe` hold what was read and not yet written, `rest` first. Nothing is read while
    either holds anything: that is the backpressure, and it keeps both bounded.
    """

    __slots__ = (
        "armed",
        "blocked",
        "bulk",
        "eager",
        "moved",
        "pipe",
        "rest",
        "source",
        "source_fd",
        "stage",
        "tunnel",
        "twin",
    )

    twin: "Direction"
    """The other direction, whose source is the sink of this one."""

    def __init__(self, tunnel: "Tunnel", source: Stream, rest: bytes) -> None:
        self.tunnel = tunnel
        self.source = source
        self.source_fd = source.fileno()
        self.stage = Stage.OPEN
        self.rest: bytes | memoryview = rest
        self.pipe: Pipe | None = None
        self.moved = 0
        """Bytes that the sink's kernel has taken."""
        self.blocked = False
        """The sink takes no more until its next writable event."""
        self.armed = False
        """The poller watches the sink for being writable."""
        self.bulk = False
        """Much is coming: splice rather than copy."""
        self.eager = False
        """The source's end, or urgent data, is near: only an empty read says that it is dry."""

    @property
    def sink(self) -> Stream:
        """Return the stream that takes the bytes."""
        return self.twin.source

    @property
    def side(self) -> Side:
        """The side of the source."""
        return Side.DOWNSTREAM if self is self.tunnel.sent else Side.UPSTREAM


class Tunnel:
    """Both directions, and the `Link` that its holder keeps (`read_counts`, `close_session`; any thread)."""

    __slots__ = (
        "ask_end",
        "idle_since",
        "marked",
        "on_end",
        "over",
        "preface",
        "received",
        "refused",
        "sent",
        "spliced",
    )

    def __init__(
        self,
        ask_end: AskEnd,
        downstream: Stream,
        upstream: Stream,
        early: bytes,
        on_end: OnEnd,
        preface: Preface | None = None,
    ) -> None:
        self.ask_end = ask_end
        self.on_end: OnEnd = on_end
        self.sent = Direction(self, downstream, early)
        self.received = Direction(self, upstream, b"")
        self.preface = preface
        """The parser of upstream's first bytes; None once it needs no more."""
        self.refused = ""
        """Why the upstream refused all logins, if its preface said so."""
        self.sent.twin = self.received
        self.received.twin = self.sent
        self.spliced = downstream.spliceable and upstream.spliceable
        self.over = False
        self.marked = 0
        """Bytes moved both ways when the idle sweep last looked."""
        self.idle_since = 0.0
        """The time at which the sweep first saw `marked`, by the relay's clock."""

    def feed_preface(self, direction: Direction, data: bytes) -> None:
        """Feed bytes of the source of `direction` to the preface, if they are upstream's first."""
        if self.preface is not None and direction is self.received and not self.preface.feed(data):
            self.preface = None

    def read_counts(self) -> Counts:
        """Return the bytes moved so far."""
        return Counts(self.sent.moved, self.received.moved)

    def change_grant(self, grant: Grant) -> None:
        """Do nothing: SSH goes end to end, so the relay cannot see what it is used for."""

    def close_session(self, end: End, detail: str = "") -> None:
        """End the tunnel soon, both ends with RST, and pass `end` and `detail` to `on_end`.

        A tunnel that is over already stays as it ended.
        """
        self.ask_end(self, end, detail)
