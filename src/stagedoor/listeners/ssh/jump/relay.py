"""The relay between one channel and the shell's socket, with backpressure and half-close in both directions.

It runs on the event loop, not in the relay thread, because asyncssh reads and writes the encrypted stream of
all channels there.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import asyncssh

from stagedoor.listeners.ssh.bounds import BoundedConnection
from stagedoor.model.farewell import FAREWELL_S
from stagedoor.model.grant import Grant
from stagedoor.model.session import HUNG_UP, Counts, EndReason, SessionResult
from stagedoor.model.units import KIB
from stagedoor.relay.ports import Preface, Stream
from stagedoor.relay.tunnel import OnEnd
from stagedoor.upstream.session import IdleTimer

READ_BYTES = 256 * KIB
REPORTED_ENDS = frozenset(
    {EndReason.REVOKED, EndReason.EXPIRED, EndReason.EVICTED, EndReason.DRAINED, EndReason.IDLE}
)
"""The ends that the gateway causes, and whose reason the developer is shown."""


OnOver = Callable[
    ["ChannelRelay", "asyncssh.SSHTCPChannel[bytes] | None", str],
    None,
]
"""Closes the channel of a relay that has ended, if it is open, with a reason for the developer if any."""


class ChannelRelay(asyncssh.SSHTCPSession[bytes]):
    """The relay of one channel of `connection`, as `session.ports.RelayHandle`. It owns `upstream`.

    `on_end` and then `on_over` are called once, on the event loop.
    """

    takes_views = True
    """Received data may be a view of a larger buffer (`PacketConnection`)."""

    def __init__(
        self,
        connection: BoundedConnection,
        upstream: Stream,
        on_end: OnEnd,
        on_over: OnOver,
        idle_timeout_s: float | None = None,
        preface: Preface | None = None,
    ) -> None:
        self._connection = connection
        self._upstream = upstream
        self._on_end = on_end
        self._on_over = on_over
        self._loop = asyncio.get_running_loop()
        self._chan: asyncssh.SSHTCPChannel[bytes] | None = None
        self.began = False
        """Whether the channel is open, so that asyncssh will report its end."""
        self._sent = 0
        self._received = 0
        self._waiting = bytearray()
        """The client's bytes that the shell's socket has not accepted yet."""
        self._reading = False
        self._held_by_channel = False
        self._client_ended = False
        self._shell_ended = False
        self._over = False
        self._preface = preface
        """Inspects the shell's first bytes; None once it has seen enough."""
        self._refused: str | None = None
        """Why the shell refused the connection. From then on the client's bytes are dropped."""
        self._farewell_timer: asyncio.TimerHandle | None = None
        self._idle = IdleTimer(idle_timeout_s)

    # For the flow and the registry (`session.ports.RelayHandle`), on any thread.

    def read_counts(self) -> Counts:
        """Return the bytes relayed so far."""
        return Counts(self._sent, self._received)

    def change_grant(self, grant: Grant) -> None:
        """Do nothing: SSH is encrypted end to end, so the gateway cannot distinguish its uses."""

    def request_end(self, end: EndReason, detail: str = "") -> None:
        """Ask the relay to end, with this end."""
        with suppress(RuntimeError):  # the loop is closed: so is everything in it
            self._loop.call_soon_threadsafe(self.finish, end, detail)

    # For asyncssh.

    def connection_made(self, chan: "asyncssh.SSHTCPChannel[bytes]") -> None:
        """Keep the channel, which is now open."""
        self._chan = chan
        self.began = True

    def session_started(self) -> None:
        """Begin to read from the shell."""
        self.update()
        if not self._over:
            self._idle.start(self._finish_idle)

    def _finish_idle(self, timeout_s: float) -> None:
        self.finish(EndReason.IDLE, f"no byte moved for {timeout_s:g} s")

    def data_received(self, data: bytes | memoryview, datatype: int | None) -> None:
        """Send the client's bytes to the shell. Pause the client unless the socket accepts them all."""
        if self._over or self._refused:
            return
        self._idle.restart()
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
            # The window stays closed meanwhile, so only this channel waits.
            self._chan.pause_reading()
            self._loop.add_writer(self._upstream.fileno(), self._writable)
        self._waiting += data

    def eof_received(self) -> bool:
        """Pass the client's EOF on to the shell, after the bytes before it."""
        self._client_ended = True
        if self._refused:
            self.finish(EndReason.UNREACHED)
        elif not self._waiting:
            self._shut_upstream()
        return True  # the other direction stays open

    def pause_writing(self) -> None:
        """Stop reading from the shell."""
        self._held_by_channel = True
        self.update()

    def resume_writing(self) -> None:
        """Read from the shell again."""
        self._held_by_channel = False
        self.update()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the relay, because the channel is closed: by the client, by us, or with its connection."""
        self._chan = None
        if exc is None and self._waiting:
            self._client_ended = self._shell_ended = True  # its last bytes are still delivered
            self.update()
        elif exc is None:
            self.finish(EndReason.CLOSED)
        elif isinstance(exc, asyncssh.ConnectionLost) and not self._connection.has_hung_up:
            self.finish(EndReason.DOWNSTREAM_LOST, "the developer's side answers no more")
        else:
            self.finish(EndReason.DOWNSTREAM_RESET, HUNG_UP)

    # The shell's socket.

    def update(self) -> None:
        """Read from the shell exactly while there is room for its bytes."""
        must_read = not (
            self._over
            or self._shell_ended
            or self._held_by_channel
            or self._connection.is_congested
        )
        if must_read and not self._reading:
            self._loop.add_reader(self._upstream.fileno(), self._readable)
        elif not must_read and self._reading:
            self._loop.remove_reader(self._upstream.fileno())
        self._reading = must_read

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
            self._send_downstream(data)
            return
        self._shell_ended = True
        self.update()
        if not self._explain_refusal():
            self._chan.write_eof()
            self._end_if_both()

    def _send_downstream(self, data: bytes) -> None:
        assert self._chan is not None
        self._idle.restart()
        self._received += len(data)
        if self._preface is not None and not self._preface.feed(data):
            self._preface = None
        try:
            self._connection.send_data(self._chan, data)
        except OSError:  # the client is closing the channel, which asyncssh reports in a moment
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
        self._idle.restart()
        del self._waiting[:taken]
        if self._waiting:
            return
        self._loop.remove_writer(self._upstream.fileno())
        if self._chan is None:
            self.finish(EndReason.CLOSED)
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
            self._chan.close()  # after the unsent bytes; `connection_lost` follows
        else:
            # Here, because `ssh -W` is finished, and exits without closing the channel.
            self.finish(EndReason.CLOSED)

    def _explain_refusal(self) -> bool:
        """Return whether the shell hung up with a refusal as its first bytes.

        If so, send the reason to the client, and give the client time to read it.
        """
        preface, self._preface = self._preface, None
        if preface is None or self._chan is None:
            return self._refused is not None
        denial = preface.find_refusal()
        if denial is None:
            return False
        self._refused = denial.message
        with suppress(OSError):  # the client is closing the channel
            self._connection.send_data(self._chan, preface.make_farewell(denial.line))
        # No EOF: `ssh -W` of OpenSSH 10 would exit at once, before the other ssh has read the reason.
        self._chan.resume_reading()
        self._waiting.clear()
        self._shell_ended = True
        self.update()
        self._loop.remove_writer(self._upstream.fileno())
        if self._client_ended:
            self.finish(EndReason.UNREACHED)
        else:
            self._farewell_timer = self._loop.call_later(
                FAREWELL_S, self.finish, EndReason.UNREACHED
            )
        return True

    def _upstream_failed(self, error: OSError) -> None:
        if self._preface is not None and self._chan is not None:
            # A shell that refuses does not wait for our bytes, so a write may fail before its line is read.
            with suppress(OSError):
                if data := self._upstream.recv(READ_BYTES):
                    self._send_downstream(data)
        if self._explain_refusal():
            return
        lost = isinstance(error, TimeoutError)
        self.finish(
            EndReason.UPSTREAM_LOST if lost else EndReason.UPSTREAM_RESET,
            f"the shell's side broke off: {error.strerror or error}",
        )

    # The end.

    def finish(self, end: EndReason, detail: str = "") -> None:
        """End the relay. Only the first call counts."""
        if self._over:
            return
        self._over = True
        if self._refused:
            end, detail = EndReason.UNREACHED, self._refused
        self._idle.cancel()
        if self._farewell_timer is not None:
            self._farewell_timer.cancel()
        self.update()
        self._loop.remove_writer(self._upstream.fileno())
        if end is EndReason.CLOSED and not self._waiting:
            self._upstream.close()
        else:
            self._upstream.abort()
        reason = detail if end in REPORTED_ENDS else ""
        self._on_end(SessionResult(end, self.read_counts(), detail))
        self._on_over(self, self._chan, reason)
