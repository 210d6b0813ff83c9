"""Bytes between one channel and the shell's socket, with backpressure and half-close both ways.

On the event loop, not in the relay's thread: the bytes of all channels of a connection are one
encrypted stream, which asyncssh reads and writes there.
"""

import asyncio
from contextlib import suppress
from typing import Protocol

import asyncssh

from stagedoor.model.grant import Grant
from stagedoor.model.session import Counts, End, Ended
from stagedoor.model.units import KIB
from stagedoor.relay.ports import Preface, Stream
from stagedoor.session.ports import OnEnd
from stagedoor.wire.ssh_preface import PARTING_S

READ_BYTES = 256 * KIB
ENDS_TOLD = frozenset({End.REVOKED, End.EXPIRED, End.EVICTED, End.DRAINED, End.IDLE})
"""Ends that come from the gateway: the developer is told why."""


class RelayOwner(Protocol):
    """What a relay needs of the connection that its channel belongs to."""

    @property
    def congested(self) -> bool:
        """The client takes its bytes more slowly than they come."""
        ...

    @property
    def hung_up(self) -> bool:
        """The client closed its TCP connection; False if it only fell silent."""
        ...

    def send_data(self, channel: "asyncssh.SSHTCPChannel[bytes]", data: bytes) -> None:
        """To the client, as soon as its window has room. Raises OSError: the channel is closing."""
        ...

    def channel_ended(self, relay: "ChannelRelay", told: str) -> None:
        """The relay is over; `told` is why, if the person is to be told."""
        ...


class ChannelRelay(asyncssh.SSHTCPSession[bytes]):
    """Relays one channel; satisfies `session.ports.Link`. It owns `upstream`.

    `on_end` is called once, on the event loop.
    """

    takes_views = True
    """What comes may be a piece of a larger whole (`PacketConnection`)."""

    def __init__(
        self,
        owner: RelayOwner,
        upstream: Stream,
        on_end: OnEnd,
        idle_timeout_s: float | None = None,
        preface: Preface | None = None,
    ) -> None:
        self._owner = owner
        self._upstream = upstream
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._chan: asyncssh.SSHTCPChannel[bytes] | None = None
        self.began = False
        """The channel is open: from here on asyncssh tells of its end."""
        self._sent = 0
        self._received = 0
        self._waiting = bytearray()
        """From the client, not yet taken by the shell's socket."""
        self._reading = False
        self._held_by_channel = False
        self._client_ended = False
        self._shell_ended = False
        self._over = False
        self._preface = preface
        """Hears what the shell says first; None once it has heard enough."""
        self._refused: str | None = None
        """Why the shell let nobody in. From then on what the client sends is dropped."""
        self._parting: asyncio.TimerHandle | None = None
        self._idle_timeout_s = idle_timeout_s
        self._moved_at = self._loop.time()
        self._idle: asyncio.TimerHandle | None = None

    # What the flow and the registry see, from any thread.

    def counts(self) -> Counts:
        return Counts(self._sent, self._received)

    def change_grant(self, grant: Grant) -> None:
        """Nothing to do: SSH goes end to end, and nobody here can tell one use of it from another."""

    def close(self, end: End, detail: str = "") -> None:
        with suppress(RuntimeError):  # the loop is closed: so is everything in it
            self._loop.call_soon_threadsafe(self.finish, end, detail)

    # What asyncssh tells.

    def connection_made(self, chan: "asyncssh.SSHTCPChannel[bytes]") -> None:
        self._chan = chan
        self.began = True

    def session_started(self) -> None:
        self.update()
        if self._idle_timeout_s is not None and not self._over:
            self._look_idle(self._idle_timeout_s)

    def data_received(self, data: bytes | memoryview, datatype: int | None) -> None:
        if self._over or self._refused:
            return
        self._moved_at = self._loop.time()
        if not self._waiting:
            try:
                taken = self._upstream.send(data)
            except OSError as error:
                self._upstream_failed(error)
                return
            self._sent += taken
            if taken == len(data):
                return
            data = data[taken:]
            assert self._chan is not None
            # The window is not opened again meanwhile, so this client's channel waits, and no other.
            self._chan.pause_reading()
            self._loop.add_writer(self._upstream.fileno(), self._writable)
        self._waiting += data

    def eof_received(self) -> bool:
        self._client_ended = True
        if self._refused:
            self.finish(End.UNREACHED)
        elif not self._waiting:
            self._shut_upstream()
        return True  # the other way stays open

    def pause_writing(self) -> None:
        self._held_by_channel = True
        self.update()

    def resume_writing(self) -> None:
        self._held_by_channel = False
        self.update()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed, by the client, by us, or with its connection."""
        self._chan = None
        if exc is None and self._waiting:
            self._client_ended = self._shell_ended = True  # what it sent last is still delivered
            self.update()
        elif exc is None:
            self.finish(End.CLOSED)
        elif isinstance(exc, asyncssh.ConnectionLost) and not self._owner.hung_up:
            self.finish(End.DOWNSTREAM_LOST, "the developer's side answers no more")
        else:
            self.finish(End.DOWNSTREAM_RESET, "the developer's side hung up")

    # The shell's socket.

    def update(self) -> None:
        """Read from the shell if, and only if, there is room for what it says."""
        wanted = not (
            self._over or self._shell_ended or self._held_by_channel or self._owner.congested
        )
        if wanted and not self._reading:
            self._loop.add_reader(self._upstream.fileno(), self._readable)
        elif not wanted and self._reading:
            self._loop.remove_reader(self._upstream.fileno())
        self._reading = wanted

    def _readable(self) -> None:
        assert self._chan is not None
        try:
            data = self._upstream.recv(READ_BYTES)
        except OSError as error:
            self._upstream_failed(error)
            return
        if data is None:
            return
        if data:
            self._hand_on(data)
            return
        self._shell_ended = True
        self.update()
        if not self._explain_refusal():
            self._chan.write_eof()
            self._end_if_both()

    def _hand_on(self, data: bytes) -> None:
        assert self._chan is not None
        self._moved_at = self._loop.time()
        self._received += len(data)
        if self._preface is not None and not self._preface.hear(data):
            self._preface = None
        try:
            self._owner.send_data(self._chan, data)
        except OSError:  # the client is closing the channel; that is told in a moment
            self._shell_ended = True
            self.update()

    def _writable(self) -> None:
        try:
            with memoryview(self._waiting) as waiting:
                taken = self._upstream.send(waiting)
        except OSError as error:
            self._upstream_failed(error)
            return
        self._sent += taken
        self._moved_at = self._loop.time()
        del self._waiting[:taken]
        if self._waiting:
            return
        self._loop.remove_writer(self._upstream.fileno())
        if self._chan is None:
            self.finish(End.CLOSED)
            return
        if self._client_ended:
            self._shut_upstream()
        if not self._over:
            self._chan.resume_reading()

    def _shut_upstream(self) -> None:
        try:
            self._upstream.shutdown_write()
        except OSError as error:
            self._upstream_failed(error)
            return
        self._end_if_both()

    def _end_if_both(self) -> None:
        if not (self._client_ended and self._shell_ended) or self._waiting or not self._chan:
            return
        if self._chan.get_write_buffer_size():
            self._chan.close()  # after what is still to be sent; `connection_lost` follows
        else:
            # Here, because `ssh -W` has what it wanted, and leaves without a word.
            self.finish(End.CLOSED)

    def _explain_refusal(self) -> bool:
        """The shell hangs up: if what it said first was a refusal, the client gets to show why, and some time
        to read it. Whether it was one."""
        preface, self._preface = self._preface, None
        if preface is None or self._chan is None:
            return self._refused is not None
        self._refused = preface.refusal()
        if self._refused is None:
            return False
        with suppress(OSError):  # the client is closing the channel
            self._owner.send_data(self._chan, preface.farewell(self._refused))
        # No EOF: `ssh -W` of OpenSSH 10 leaves at once then, before the other ssh has read why.
        self._chan.resume_reading()
        self._waiting.clear()
        self._shell_ended = True
        self._stop_watching()
        if self._client_ended:
            self.finish(End.UNREACHED)
        else:
            self._parting = self._loop.call_later(PARTING_S, self.finish, End.UNREACHED)
        return True

    def _upstream_failed(self, error: OSError) -> None:
        if self._preface is not None and self._chan is not None:
            # A shell that refuses does not wait for what we write, which fails before its line is read.
            with suppress(OSError):
                if data := self._upstream.recv(READ_BYTES):
                    self._hand_on(data)
        if self._explain_refusal():
            return
        lost = isinstance(error, TimeoutError)
        self.finish(
            End.UPSTREAM_LOST if lost else End.UPSTREAM_RESET,
            f"the shell's side broke off: {error.strerror or error}",
        )

    # The end.

    def finish(self, end: End, detail: str = "") -> None:
        """It is over, whichever side says so first."""
        if self._over:
            return
        self._over = True
        if self._refused:
            end, detail = End.UNREACHED, self._refused
        for timer in (self._idle, self._parting):
            if timer is not None:
                timer.cancel()
        self._stop_watching()
        if end is End.CLOSED and not self._waiting:
            self._upstream.close()
        else:
            self._upstream.abort()
        told = detail if end in ENDS_TOLD else ""
        self._on_end(Ended(end, self.counts(), detail))
        self._owner.channel_ended(self, told)

    def _stop_watching(self) -> None:
        fd = self._upstream.fileno()
        self._loop.remove_reader(fd)
        self._loop.remove_writer(fd)
        self._reading = False

    def cut(self) -> None:
        """Close the channel at once; what was not sent yet is dropped."""
        if self._chan is not None:
            self._chan.abort()

    def _look_idle(self, timeout_s: float) -> None:
        left_s = self._moved_at + timeout_s - self._loop.time()
        if left_s <= 0:
            self.finish(End.IDLE, f"no byte was moved for {timeout_s:g} s (relay.idle_timeout_s)")
        else:
            self._idle = self._loop.call_later(left_s, self._look_idle, timeout_s)
