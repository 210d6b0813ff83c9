"""One direction of a channel: it passes the bytes of one side on, as fast as the other side reads.

The two directions of a channel are independent: each ends and is held back on its own. The SSH windows (RFC
4254 §5.2) bound the waiting bytes, since they reopen only as the other side reads.
"""

from collections.abc import Callable
from contextlib import suppress

from asyncssh.channel import SSHChannel

BytesChannel = SSHChannel[bytes]
NO_SINK = "no sink"
"""The reason to pause a source that has no sink yet."""


class ChannelPipe:
    """A pipe from a source to a sink, either of which may be made first.

    Until `connect`, the bytes wait, and the source is paused.

    `size` is the number of received bytes. The reasons to hold the source back are kept by name, so that it
    resumes only when none remains.
    """

    def __init__(self) -> None:
        self.size = 0
        self._source: BytesChannel | None = None
        self._sink: BytesChannel | None = None
        self._early: list[Callable[[BytesChannel], None]] = []
        self._held: set[str] = set()

    def open(self, source: BytesChannel) -> None:
        """Take the bytes of `source`, which is made now."""
        self._source = source
        if self._held:
            source.pause_reading()

    def connect(self, sink: BytesChannel) -> None:
        """Pass on the waiting bytes and all later ones to `sink`."""
        # Pause the writer as soon as one byte waits for the window, so that only a slow reader causes pauses.
        sink.set_write_buffer_limits(high=0)
        self._sink = sink
        early, self._early = self._early, []
        for send in early:
            self._pass_on(send)
        self.release(NO_SINK)

    def pass_bytes(self, data: bytes, datatype: int | None = None) -> None:
        """Pass on bytes of the source."""
        self.size += len(data)
        self._pass_on(lambda sink: sink.write(data, datatype))
        if self._sink is None:
            # After this piece, because asyncssh starts to read only after it has reported the start.
            self.hold(NO_SINK)

    def end(self) -> None:
        """Pass on the source's EOF (RFC 4254 §5.3). The other direction stays open."""
        self._pass_on(lambda sink: sink.write_eof())

    def is_held(self, reason: str) -> bool:
        """Return whether this reason pauses the source."""
        return reason in self._held

    def hold(self, reason: str) -> None:
        """Add a reason to pause the source."""
        if not self._held and self._source is not None:
            self._source.pause_reading()
        self._held.add(reason)

    def release(self, reason: str) -> None:
        """Drop a reason to pause the source, and resume it if none is left."""
        if reason in self._held:
            self._held.discard(reason)
            if not self._held and self._source is not None:
                self._source.resume_reading()

    def _pass_on(self, send: Callable[[BytesChannel], None]) -> None:
        if self._sink is None:
            self._early.append(send)
            return
        with suppress(OSError):  # that side is closing
            send(self._sink)
