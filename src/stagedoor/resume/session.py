"""One session of the endpoint: a stream between the connection to an sshd and the client's connections."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress

from stagedoor.holder.event_poller import READ, WRITE, EventPoller
from stagedoor.model.farewell import FAREWELL_S
from stagedoor.resume.messages import CLOSED, LOST
from stagedoor.wire.ssh.preface import SshPreface
from stagedoor.wire.tunnel.frames import MAX_END_BYTES, StreamError
from stagedoor.wire.tunnel.stream import TunnelStream

_READ_BYTES = 256 * 1024
_BUFFER = memoryview(bytearray(_READ_BYTES))
"""The buffer of all sessions for reading. Each copies its bytes before the next read."""
_TURNS = 8
"""How many frames a session sends before the others get their turn."""
LAST_BYTES_S = 10.0
"""How long the last bytes of an sshd that has hung up wait for a client that is away."""


class Session:
    """A session: a stream, the sshd's socket, and the client's connection (`link`), if there is one.

    `on_over` is called with the code and the reason of the end once nothing is left to do. `preface` gets
    the sshd's first bytes, and explains a refusal among them to the client, as the relay does.
    """

    def __init__(
        self,
        sshd: socket.socket,
        poller: EventPoller,
        now: float,
        on_over: Callable[[int, str], None],
        preface: SshPreface | None = None,
    ) -> None:
        self.is_over = False
        self.moved_at = now
        """When the last byte came from or went to the sshd."""
        self.sent = self.received = 0
        """The bytes that went to the sshd and came from it."""
        self.alone_since: float | None = now
        """When the last client left; None while one is connected."""
        self._stream = TunnelStream(watches=False)
        self._poller = poller
        self._on_over = on_over
        self._preface = preface
        self._sshd = sshd
        self._link: socket.socket | None = None
        self._has_hung_up = False
        """Whether the sshd has ended its direction with a FIN."""
        self._discards_input = False
        """Whether the sshd accepts no more bytes. Then the client's input is discarded."""
        self._failure: tuple[int, str] | None = None
        """The end, for a client that has all output of an sshd whose connection failed, or None."""
        self._ending: tuple[int, str] | None = None
        self._end_by = 0.0
        sshd.setblocking(False)
        poller.add(sshd.fileno(), self._serve_sshd)

    def connect(self, link: socket.socket, now: float) -> None:
        """Use a new connection of the client, replacing the earlier one."""
        self._drop_link(now)
        self._link, self.alone_since = link, None
        self._stream.connect(now)
        self._poller.add(link.fileno(), self._serve_link)
        self.pump(now)

    def end(self, code: int, why: str, now: float) -> None:
        """Hang up on the sshd, and send END to a client that is connected."""
        if self._ending is None and not self.is_over:
            reason = why.encode()[:MAX_END_BYTES]
            self._ending = code, reason.decode(errors="ignore")
            self._end_by = now + FAREWELL_S
            self._stream.end(code, reason)
            self._discards_input = self._has_hung_up = True
            self.pump(now)

    def wake_at(self) -> float | None:
        """Return when `pump` must be called at the latest, or None."""
        times = [self._stream.wake_at(), self._end_by if self._ending else self._last_bytes_by]
        return min((at for at in times if at is not None), default=None)

    @property
    def _last_bytes_by(self) -> float | None:
        """The time until which an sshd's last bytes wait for a client that is away, or None."""
        is_waiting = self._has_hung_up and self.alone_since is not None
        return (self.alone_since or 0.0) + LAST_BYTES_S if is_waiting else None

    def pump(self, now: float) -> None:
        """Move the bytes that can be moved, and watch for the rest."""
        self._deliver(now)
        is_gone = self._discards_input and self._has_hung_up and not self._stream.unacknowledged
        last_by = self._last_bytes_by
        is_late = last_by is not None and now >= last_by
        if (self._stream.is_finished or is_gone or is_late) and self._ending is None:
            self.end(*(self._failure or (CLOSED, "")), now)
            return
        blocked = self._send(now)
        if self._link is not None:
            self._poller.change_events(self._link.fileno(), READ | (WRITE if blocked else 0))
        if self._ending and not self.is_over:
            done = self._stream.has_sent_end or self._stream.ended or self._link is None
            if done or now >= self._end_by:
                self.is_over = True
                self._drop_sshd()
                self._drop_link(now)
                self._on_over(*self._ending)

    def _deliver(self, now: float) -> None:
        stream, blocked = self._stream, False
        try:
            while stream.deliverable and not blocked:
                data = stream.deliverable
                try:
                    sent = len(data) if self._discards_input else self._sshd.send(data)
                    stream.note_delivered(sent, now)
                    self.sent += sent
                    self.moved_at = now
                except BlockingIOError:
                    blocked = True
            if stream.end_is_deliverable:
                if not self._discards_input:
                    self._sshd.shutdown(socket.SHUT_WR)
                stream.note_delivered_end(now)
        except OSError:
            # Its earlier output can still be read, which reports the error.
            self._discards_input = True
            self._deliver(now)
            return
        if self._discards_input and self._has_hung_up:
            self._drop_sshd()
        if self._sshd.fileno() >= 0:
            events = (READ if stream.room else 0) | (WRITE if blocked else 0)
            self._poller.change_events(self._sshd.fileno(), events)

    def _send(self, now: float) -> bool:
        """Send to the client. Return whether more can be sent later."""
        if self._link is None:
            return False
        try:
            for _ in range(_TURNS):
                output = self._stream.peek_output(now)
                if not output:
                    return False
                self._stream.note_sent(self._link.send(output))
        except BlockingIOError:
            pass
        except OSError:
            self._drop_link(now)
            return False
        return True

    def _serve_sshd(self, readable: bool, _writable: bool) -> None:
        now = time.monotonic()
        if readable and self._stream.room:
            try:
                data = _BUFFER[: self._sshd.recv_into(_BUFFER, min(_READ_BYTES, self._stream.room))]
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(error, now)
                return
            self.moved_at = now
            if data:
                self._stream.take(data)
                self.received += len(data)
                if self._preface is not None and not self._preface.feed(bytes(data)):
                    self._preface = None
            else:
                self._explain_refusal()
                self._has_hung_up = True
                self._stream.take_end()
        self.pump(now)

    def _explain_refusal(self) -> None:
        if self._preface is not None and (denial := self._preface.find_refusal()) is not None:
            self._stream.take(self._preface.make_farewell(denial.line))
            self._failure = LOST, denial.line

    def _serve_link(self, readable: bool, _writable: bool) -> None:
        now = time.monotonic()
        if readable and self._link is not None:
            try:
                count = self._link.recv_into(_BUFFER)
            except BlockingIOError:
                return
            except OSError:
                count = 0
            if count:
                self._take(_BUFFER[:count], now)
            else:
                self._drop_link(now)
        self.pump(now)

    def _take(self, data: memoryview, now: float) -> None:
        try:
            self._stream.receive(data, now)
        except StreamError:
            self._drop_link(now)
            return
        if self._stream.ended is not None:
            self.end(CLOSED, "", now)

    def _lose(self, error: OSError, now: float) -> None:
        """Record that the sshd's connection has failed. The client gets the output so far, then END."""
        self._failure = LOST, f"the shell hung up: {error.strerror or error}"
        self._explain_refusal()
        self._discards_input = self._has_hung_up = True
        self._stream.take_end()
        self.pump(now)

    def _drop_sshd(self) -> None:
        if self._sshd.fileno() >= 0:
            self._poller.remove(self._sshd.fileno())
            self._sshd.close()

    def _drop_link(self, now: float) -> None:
        if self._link is not None:
            with suppress(OSError):
                self._poller.remove(self._link.fileno())
            self._link.close()
            self._link, self.alone_since = None, now
            self._stream.cut()
