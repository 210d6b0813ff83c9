"""One tunnel and its two directions, as the relay keeps them. They are small because there are thousands."""

from collections.abc import Callable

from stagedoor.model.grant import Grant
from stagedoor.model.session import Counts, EndReason, SessionResult
from stagedoor.relay.pipes import Pipe
from stagedoor.relay.ports import Preface, Stream
from stagedoor.relay.state import Side, Stage

OnEnd = Callable[[SessionResult], None]
AskEnd = Callable[["Tunnel", EndReason, str], None]
"""Asks the relay's thread to end a tunnel, with an end and a detail."""


class SourceError(Exception):
    """Raised when a direction's source cannot be read. The OSError is the cause."""


class SinkError(Exception):
    """Raised when a direction's sink cannot be written. The OSError is the cause."""


class Direction:
    """One direction: from `source` to `sink`. Only the relay's thread changes it.

    `rest` and `pipe` hold the bytes that were read and are not written yet, those in `rest` first. Nothing is
    read while either has bytes: this is the backpressure, which also bounds both.
    """

    __slots__ = (
        "is_armed",
        "is_blocked",
        "is_bulk",
        "moved",
        "pipe",
        "reads_until_empty",
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
        """The bytes that the sink's socket has accepted."""
        self.is_blocked = False
        """Whether the sink accepts nothing until its next writable event."""
        self.is_armed = False
        """Whether the poller watches the sink for being writable."""
        self.is_bulk = False
        """Whether this is a large transfer, to be spliced rather than copied."""
        self.reads_until_empty = False
        """Whether the source's end or urgent data is near, so that only an empty read proves it empty."""

    @property
    def sink(self) -> Stream:
        """Return the stream that receives the bytes."""
        return self.twin.source

    @property
    def side(self) -> Side:
        """The side of the source."""
        return Side.DOWNSTREAM if self is self.tunnel.to_upstream else Side.UPSTREAM


class Tunnel:
    """One tunnel with both directions. It is a `RelayHandle`, whose methods any thread may call."""

    __slots__ = (
        "ask_end",
        "idle_since",
        "is_over",
        "is_spliced",
        "marked",
        "on_end",
        "preface",
        "refusal",
        "to_downstream",
        "to_upstream",
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
        self.to_upstream = Direction(self, downstream, early)
        self.to_downstream = Direction(self, upstream, b"")
        self.preface = preface
        """The parser of upstream's first bytes; None once it needs no more."""
        self.refusal = ""
        """Why upstream refused all logins, if its first bytes said so."""
        self.to_upstream.twin = self.to_downstream
        self.to_downstream.twin = self.to_upstream
        self.is_spliced = downstream.spliceable and upstream.spliceable
        self.is_over = False
        self.marked = 0
        """The bytes moved in both directions by the last idle check."""
        self.idle_since = 0.0
        """When an idle check first saw `marked`, by the relay's clock."""

    @property
    def directions(self) -> tuple[Direction, Direction]:
        """Return both directions."""
        return (self.to_upstream, self.to_downstream)

    def feed_preface(self, direction: Direction, data: bytes) -> None:
        """Pass bytes from the source of `direction` to the preface if they are upstream's first."""
        if (
            self.preface is not None
            and direction is self.to_downstream
            and not self.preface.feed(data)
        ):
            self.preface = None

    def read_counts(self) -> Counts:
        """Return the bytes moved so far."""
        return Counts(self.to_upstream.moved, self.to_downstream.moved)

    def change_grant(self, grant: Grant) -> None:
        """Do nothing: SSH is encrypted end to end, so the relay cannot distinguish its uses."""

    def request_end(self, end: EndReason, detail: str = "") -> None:
        """Ask the relay to reset both streams, and to pass `end` and `detail` to `on_end`.

        The end of a tunnel that is already over does not change.
        """
        self.ask_end(self, end, detail)
