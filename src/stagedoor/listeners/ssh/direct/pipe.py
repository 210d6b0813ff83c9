"""One direction of a channel: it passes the bytes of one side on, as fast as the other side reads.

The two directions are independent: each has its own end, and each is held back separately. The SSH
windows (RFC 4254 §5.2) bound the waiting bytes: they open again only as the other side reads.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol


class Source(Protocol):
    """The channel that bytes come from."""

    def pause_reading(self) -> None:
        """Deliver no more bytes until `resume_reading`."""

    def resume_reading(self) -> None:
        """Deliver bytes again."""


class Sink(Protocol):
    """The channel that bytes go to."""

    def write(self, data: bytes, datatype: int | None = None) -> None:
        """Send bytes."""

    def write_eof(self) -> None:
        """Send the EOF (RFC 4254 §5.3)."""


class Pipe:
    """A pipe from a source to a sink. Until `connect`, the bytes wait, and the source is paused.

    `size` is the number of received bytes. The reasons to hold the source back are kept by name, so
    that it resumes only when none is left.
    """

    def __init__(self, source: Source) -> None:
        self.size = 0
        self._source = source
        self._sink: Sink | None = None
        self._early: list[Callable[[Sink], None]] = []
        self._held: set[str] = set()

    def connect(self, sink: Sink) -> None:
        """Pass on the waiting bytes and all later ones to `sink`."""
        self._sink = sink
        early, self._early = self._early, []
        for send in early:
            self._pass_on(send)
        self.release("no sink")

    def data(self, data: bytes, datatype: int | None = None) -> None:
        """Pass on bytes of the source."""
        self.size += len(data)
        self._pass_on(lambda sink: sink.write(data, datatype))
        if self._sink is None:
            # After this piece, because asyncssh starts to read only after it has reported the start.
            self.hold("no sink")

    def end(self) -> None:
        """Pass on the source's EOF (RFC 4254 §5.3). The other direction stays open."""
        self._pass_on(lambda sink: sink.write_eof())

    def hold(self, reason: str) -> None:
        """Pause the source, for this reason too."""
        if not self._held:
            self._source.pause_reading()
        self._held.add(reason)

    def release(self, reason: str) -> None:
        """Drop a reason to pause the source, and resume it if none is left."""
        if reason in self._held:
            self._held.discard(reason)
            if not self._held:
                self._source.resume_reading()

    def _pass_on(self, send: Callable[[Sink], None]) -> None:
        if self._sink is None:
            self._early.append(send)
            return
        with suppress(OSError):  # that side is closing
            send(self._sink)
