"""The state of one end of a resumable tunnel: a pure state machine that survives any number of connections.

The *local* side is ssh or sshd, and the *peer* is the other end. Each direction is counted in units: its
bytes, and one more for its end. Times are seconds of any clock that only goes forward. This module is part
of the one-file client: standard library only, Python 3.8 or later. The same machine in C is
deploy/kit/source/tunnel/stream.c, and both replay tests/wire/tunnels.json.
"""

from __future__ import annotations

from stagedoor.wire.tunnel.byte_queue import ByteQueue
from stagedoor.wire.tunnel.frames import (
    ACK,
    DATA,
    END,
    FIN,
    HEAD,
    HELLO,
    MAX_DATA_BYTES,
    PING,
    PONG,
    VERSION,
    StreamError,
    decode_head,
    encode,
)

WINDOW = 2 * 1024 * 1024
"""The most units of one direction without an ACK. Both ends rely on it: it is part of the protocol."""
ACK_BYTES = 256 * 1024
"""The number of delivered bytes after which an ACK is sent immediately."""
ACK_DELAY_S = 0.5
"""The longest time for which an ACK waits for DATA that it can be sent with."""
PING_IDLE_S = 15.0
"""The silence before a PING while nothing is expected from the peer."""
PING_WAITING_S = 5.0
"""The silence before a PING while something is expected from the peer."""
DEAD_S = 10.0
"""The silence after which a connection is dead, while something is expected from the peer."""


class TunnelStream:
    """One end of a resumable tunnel.

    Call `connect` for each new connection and `cut` when it is gone. Write what `peek_output` returns to the
    connection, and pass what is read from it to `receive`. With `watches` this end sends PINGs, and `is_dead`
    detects a dead connection; only the client does so.
    """

    def __init__(self, watches: bool) -> None:
        self._watches = watches
        self.is_connected = False
        self.is_greeted = False
        """Whether the peer's HELLO has arrived on this connection."""
        self.ended: tuple[int, str] | None = None
        """The code and the reason of the peer's END, or None. The reason is untrusted text."""
        # From the local side to the peer.
        self._kept = ByteQueue()
        """The bytes from the unit `_acked` on."""
        self._acked = 0
        self._taken = 0
        self._next = 0
        """The next unit to send on this connection."""
        self._top = 0
        """The first unit that was not sent on any connection."""
        self._end_at: int | None = None
        """The unit that is the local side's end, or None while it may send more."""
        # From the peer to the local side.
        self._pending = ByteQueue()
        self._received = 0
        self._delivered = 0
        self._fin_received = False
        # The connection.
        self._in = bytearray()
        """A frame that is not complete. The body of DATA goes to `_pending` at once."""
        self._data_left = 0
        """How much of the body of a DATA is to come."""
        self._out = bytearray()
        self._hello_due = False
        self._end: tuple[int, bytes] | None = None
        self._end_sent = False
        self._pong: int | None = None
        self._ack_sent = 0
        self._ack_at: float | None = None
        self._heard_at = 0.0
        self._asked_at: float | None = None
        """When something was first expected from the peer since it was last heard, or None."""
        self._pinged = False

    # The local side.

    @property
    def room(self) -> int:
        """Return how many bytes `take` accepts now. None are read from the local side while it is 0."""
        return 0 if self._end_at is not None else WINDOW - len(self._kept)

    def take(self, data: bytes | memoryview) -> None:
        """Take bytes from the local side, at most `room` of them."""
        self._kept.add(data)
        self._taken += len(data)

    def take_end(self) -> None:
        """Take the end of what the local side sends."""
        if self._end_at is None:
            self._end_at = self._taken
            self._taken += 1

    @property
    def deliverable(self) -> memoryview:
        """Return the next bytes that the local side must get, if there are any. Call `note_delivered`."""
        return self._pending.peek()

    def note_delivered(self, count: int, now: float) -> None:
        """Record that the local side has taken the first `count` deliverable bytes."""
        self._pending.drop(count)
        self._acknowledge(count, now)

    @property
    def end_is_deliverable(self) -> bool:
        """Return whether the local side must get the end of the peer's direction now."""
        return self._fin_received and not self._pending and self._delivered < self._received

    def note_delivered_end(self, now: float) -> None:
        """Record that the local side has received that end."""
        self._acknowledge(1, now)
        self._ack_at = now

    def _acknowledge(self, units: int, now: float) -> None:
        self._delivered += units
        if self._delivered - self._ack_sent >= ACK_BYTES:
            self._ack_at = now
        elif self._ack_at is None:
            self._ack_at = now + ACK_DELAY_S

    @property
    def unacknowledged(self) -> int:
        """Return how many units from the local side are not acknowledged."""
        return self._taken - self._acked

    @property
    def is_finished(self) -> bool:
        """Return whether both directions have ended, and all that was sent has been delivered."""
        sent = self._end_at is not None and self._acked == self._taken
        return sent and self._fin_received and self._delivered == self._received

    # The connection.

    def connect(self, now: float) -> None:
        """Begin a new connection, after the cut of an earlier one."""
        self.cut()
        self.is_connected = self._hello_due = True
        self._heard_at = now
        if self._delivered:
            self._ack_at = now  # the last ACK may have been lost

    def cut(self) -> None:
        """Forget the connection. What the peer has not acknowledged is sent again on the next one."""
        self.is_connected = self.is_greeted = self._hello_due = self._pinged = self._end_sent = (
            False
        )
        self._in, self._out, self._data_left = bytearray(), bytearray(), 0
        self._pong = self._ack_at = self._asked_at = None

    def end(self, code: int, why: bytes = b"") -> None:
        """Send END, and nothing after it."""
        self._end = self._end or (code, why)

    def peek_output(self, now: float) -> bytearray:
        """Return the bytes to write to the connection now. Call `note_sent` with how many were written."""
        if not self._out and self.is_connected:
            self._fill(now)
        return self._out

    def note_sent(self, count: int) -> None:
        """Record that the first `count` bytes of the output were written."""
        del self._out[:count]

    @property
    def has_sent_end(self) -> bool:
        """Return whether an END was written whole, after which the connection can be closed."""
        return self._end_sent and not self._out

    def _fill(self, now: float) -> None:
        """Fill the output with all that is due, and at most one frame of DATA."""
        out = self._out
        if self._hello_due:
            self._hello_due = False
            self._ask(now)
            out += encode(HELLO, self._received, bytes([VERSION]))
        if self._end is not None and not self._end_sent:
            out += encode(END, *self._end)
            self._end_sent = True
        if self._end_sent or not self.is_greeted:
            return
        if self._pong is not None:
            out += encode(PONG, self._pong)
            self._pong = None
        if self._watches and not self._pinged and now >= self._ping_at():
            self._pinged = True
            self._ask(now)
            out += encode(PING, 0)
        begins = self._next
        stop = min(begins + MAX_DATA_BYTES, self._acked + len(self._kept))
        if self._ack_at is not None and (begins < self._taken or now >= self._ack_at):
            out += encode(ACK, self._delivered)
            self._ack_sent, self._ack_at = self._delivered, None
        if begins < stop:
            self._ask(now)
            out += HEAD.pack(DATA, begins, stop - begins)
            for part in self._kept.read(begins - self._acked, stop - self._acked):
                out += part
            self._next = stop
        elif begins == self._end_at:
            self._ask(now)
            out += encode(FIN, begins)
            self._next += 1
        self._top = max(self._top, self._next)

    # What arrives.

    def receive(self, data: bytes | memoryview, now: float) -> None:
        """Take bytes from the connection.

        Raises StreamError if the peer breaks the protocol: then the caller drops the connection.
        """
        at, data = 0, memoryview(data)
        while at < len(data) and self.ended is None:
            if self._data_left:
                part = data[at : at + self._data_left]
                self._pending.add(part)
                self._received += len(part)
                self._data_left -= len(part)
                at += len(part)
                continue
            wanted = HEAD.size
            if len(self._in) >= wanted:
                wanted += decode_head(self._in)[2]
            part = data[at : at + wanted - len(self._in)]
            self._in += part
            at += len(part)
            if len(self._in) < HEAD.size:
                break
            kind, number, length = decode_head(self._in)
            if kind == DATA or len(self._in) == HEAD.size + length:
                body = bytes(self._in[HEAD.size :])
                self._in.clear()
                self._frame(kind, number, body, length)
        if data:
            self._heard_at, self._pinged = now, False
            self._asked_at = now if self._acked < self._next else None

    def _frame(self, kind: int, number: int, body: bytes, length: int) -> None:
        """Take a frame. Of DATA it is the head, before any of its `length` bytes."""
        if kind == HELLO and not self.is_greeted:
            self._greet(number)
        elif kind == END:
            self.ended = (number, body.decode("utf-8", "replace"))
        elif not self.is_greeted:
            raise StreamError(f"frame 0x{kind:02x} came before HELLO")
        elif kind == DATA:
            self._expect(number)
            if len(self._pending) + length > WINDOW:
                raise StreamError(f"more than {WINDOW} bytes without an ACK")
            self._data_left = length
        elif kind == FIN:
            self._expect(number)
            self._fin_received = True
            self._received += 1
        elif kind == ACK:
            self._drop_kept(number)
        elif kind == PING:
            self._pong = number
        elif kind != PONG:
            raise StreamError(f"frame 0x{kind:02x} does not belong here")

    def _greet(self, received: int) -> None:
        if not self._acked <= received <= self._top:
            raise StreamError(f"HELLO asks for unit {received}, of {self._acked} to {self._top}")
        self.is_greeted = True
        self._next = received

    def _expect(self, number: int) -> None:
        if self._fin_received or number != self._received:
            raise StreamError(f"unit {number} came in place of {self._received}")

    def _drop_kept(self, acknowledged: int) -> None:
        if not self._acked <= acknowledged <= self._next:
            raise StreamError(f"ACK of {acknowledged}, of {self._acked} to {self._next}")
        self._kept.drop(min(acknowledged - self._acked, len(self._kept)))  # FIN has no byte
        self._acked = acknowledged

    # Liveness.

    def _ask(self, now: float) -> None:
        if self._asked_at is None:
            self._asked_at = now

    def _ping_at(self) -> float:
        if self._asked_at is not None:
            return self._asked_at + PING_WAITING_S
        return self._heard_at + PING_IDLE_S

    def is_dead(self, now: float) -> bool:
        """Return whether the peer has been silent for too long."""
        if self._asked_at is None or not (self._watches and self.is_connected):
            return False
        return now >= self._asked_at + DEAD_S

    def wake_at(self) -> float | None:
        """Return when to call `peek_output` or `is_dead` again, or None if not before the next event."""
        if not self.is_connected:
            return None
        times = [] if self._ack_at is None or not self.is_greeted else [self._ack_at]
        if self._watches and self._asked_at is not None:
            times.append(self._asked_at + DEAD_S)
        if self._watches and self.is_greeted and not self._pinged:
            times.append(self._ping_at())
        return min(times, default=None)
