"""A LocalForward to the shell's own loopback (RFC 4254 §7.2)."""

import asyncio
from collections.abc import Callable

import asyncssh

from stagedoor.listeners.ssh.direct.pipe import Pipe
from stagedoor.listeners.ssh.direct.session import DirectSession
from stagedoor.recording.channel_audit import ChannelAudit

OPEN_S = 75.0
"""The longest that the shell may take to connect: a TCP connection may need all its retries."""


class ForwardEnd(asyncssh.SSHTCPSession[bytes]):
    """One end of the channel. `other` is its other end."""

    def __init__(self, moved: Callable[[int], None], on_lost: Callable[[], None]) -> None:
        self.other: ForwardEnd | None = None
        self.chan: asyncssh.SSHTCPChannel[bytes] | None = None
        self._pipe: Pipe | None = None
        self._moved = moved
        self._on_lost = on_lost

    @property
    def size(self) -> int:
        """Return the number of bytes that came from this end."""
        return self._pipe.size if self._pipe else 0

    def connection_made(self, chan: "asyncssh.SSHTCPChannel[bytes]") -> None:
        """Keep the channel, and connect both ends once both have one."""
        chan.set_write_buffer_limits(high=0)
        self.chan = chan
        self._pipe = Pipe(chan)
        other = self.other
        if other is not None and other.chan is not None and other._pipe is not None:
            self._pipe.connect(other.chan)
            other._pipe.connect(chan)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Pass bytes on to the other end."""
        if self._pipe is not None:
            self._moved(len(data))
            self._pipe.data(data)

    def eof_received(self) -> bool:
        """Pass the EOF on. The other direction stays open."""
        if self._pipe is not None:
            self._pipe.end()
        return True

    def pause_writing(self) -> None:
        """Hold the other end's bytes back."""
        if self.other is not None and self.other._pipe is not None:
            self.other._pipe.hold("full")

    def resume_writing(self) -> None:
        """Let the other end's bytes pass again."""
        if self.other is not None and self.other._pipe is not None:
            self.other._pipe.release("full")

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other end too."""
        self.chan = None
        if self.other is not None and self.other.chan is not None:
            self.other.chan.close()
        self._on_lost()


class Forward:
    """A forward, with its two ends."""

    forwards = True

    def __init__(self, session: DirectSession, channel_audit: ChannelAudit) -> None:
        self._session = session
        self._channel_audit = channel_audit
        self.near = ForwardEnd(lambda size: session.moved(sent=size), self._lost)
        self._far = ForwardEnd(lambda size: session.moved(received=size), self._lost)
        self.near.other, self._far.other = self._far, self.near
        session.channels.add(self)

    async def open(self, host: str, port: int) -> None:
        """Connect from the shell to `host` and `port`. Raises asyncssh.ChannelOpenError of the shell."""
        try:
            async with asyncio.timeout(OPEN_S):
                await self._session.shell.create_connection(lambda: self._far, host, port)
        except TimeoutError:
            self._lost()
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_CONNECT_FAILED, f"the shell did not answer within {OPEN_S:g} s"
            ) from None
        except BaseException:
            self._lost()
            raise

    def say(self, line: str) -> None:
        """Do nothing: a forwarded connection has no place for the gateway's messages."""

    def abort(self) -> None:
        """Close both ends at once."""
        for end in (self.near, self._far):
            if end.chan is not None:
                end.chan.abort()

    def _lost(self) -> None:
        self._session.channels.discard(self)
        self._channel_audit.ended(None, self.near.size, self._far.size)
