"""One direction of a channel that goes on: what one side sends, the other gets, as fast as it takes it.

The two directions know nothing of each other: each has its own end, and each is held back by
itself. What waits is bounded by the SSH windows (RFC 4254 §5.2), which open again only as the
other side takes what came.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol


class Source(Protocol):
    """The channel that bytes come from."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Sink(Protocol):
    """The channel that bytes go to."""

    def write(self, data: bytes, datatype: int | None = None) -> None: ...

    def write_eof(self) -> None: ...


class Pipe:
    """Until `connect`, what comes waits, and the source with it.

    `size` is the bytes that came. Reasons to hold the source back are counted by name, so that it
    goes on only when none is left.
    """

    def __init__(self, source: Source) -> None:
        self.size = 0
        self._source = source
        self._sink: Sink | None = None
        self._early: list[Callable[[Sink], None]] = []
        self._held: set[str] = set()

    def connect(self, sink: Sink) -> None:
        self._sink = sink
        early, self._early = self._early, []
        for one in early:
            self._pass_on(one)
        self.release("no sink")

    def data(self, data: bytes, datatype: int | None = None) -> None:
        self.size += len(data)
        self._pass_on(lambda sink: sink.write(data, datatype))
        if self._sink is None:
            # After this piece: asyncssh starts to read when it has said that a session started.
            self.hold("no sink")

    def end(self) -> None:
        """The source has sent its last byte (EOF, RFC 4254 §5.3); the other way stays open."""
        self._pass_on(lambda sink: sink.write_eof())

    def hold(self, reason: str) -> None:
        if not self._held:
            self._source.pause_reading()
        self._held.add(reason)

    def release(self, reason: str) -> None:
        if reason in self._held:
            self._held.discard(reason)
            if not self._held:
                self._source.resume_reading()

    def _pass_on(self, one: Callable[[Sink], None]) -> None:
        if self._sink is None:
            self._early.append(one)
            return
        with suppress(OSError):  # that side is closing: nobody is there to take it
            one(self._sink)
