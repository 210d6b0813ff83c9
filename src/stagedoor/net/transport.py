"""An asyncio transport (PEP 3156) over an accepted stream, plain or TLS, that bounds a peer's resources.

asyncio's own transport keeps 256 KiB for each TLS connection, copies all unsent data, waits for ever
for a peer that does not read, and keeps reading from it meanwhile. This one keeps unsent data by
reference, stops reading from a peer that leaves too much unread, and requires a minimum rate.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from stagedoor.model.source import Source
from stagedoor.model.units import KIB
from stagedoor.net.tcp import TcpStream
from stagedoor.net.tls import TlsStream
from stagedoor.tasks import report_fault

READ_BYTES = 16 * KIB
UNAUTHENTICATED_READ_BYTES = 4 * KIB
"""The bytes to read or send at once for an unauthenticated peer, which is also what TLS keeps for it."""
READS_PER_TURN = 16
"""The limit leaves the event loop time for others while one peer sends without pause."""
HIGH_WATER_BYTES = 64 * KIB
"""With more unsent, the protocol is paused, until a quarter of it is left (as in asyncio)."""
LOW_WATER_BYTES = 16 * KIB
UNAUTHENTICATED_UNREAD_BYTES = 4 * KIB
"""With more unsent, an unauthenticated peer is not read from."""
UNREAD_BYTES = 256 * KIB
"""The same for an authenticated peer. A protocol that pauses leaves less; answers to PINGs do not pause."""
RATE_EVERY_S = 10.0
MIN_BYTES = 10 * KIB
"""The bytes that the peer must acknowledge every `RATE_EVERY_S` while more wait: 1 KiB/s, a tenth of
the best rate of GPRS."""
ORPHAN_S = 30.0
"""The time for which the kernel keeps unacknowledged bytes after a close (TCP_USER_TIMEOUT)."""


class StreamTransport(asyncio.Transport):
    """Carries one connection for `protocol`, which it calls as asyncio does. It owns `stream`.

    `source` is the peer, returned as `peername`; `secure` is returned as `sslcontext`, None without
    TLS. An instance belongs to the running event loop. Call `start` first.
    """

    def __init__(
        self,
        stream: TcpStream | TlsStream,
        source: Source,
        secure: object | None = None,
        rate_every_s: float = RATE_EVERY_S,
    ) -> None:
        super().__init__(
            {"peername": (str(source.address), source.port), "sslcontext": secure, "socket": None}
        )
        self.on_lost: Callable[[], None] = _nothing
        """Called once, after everything is released."""
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._fd = stream.fileno()
        self._protocol: asyncio.Protocol | None = None
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0
        self._sent_bytes = 0
        self._trusted = False
        self._paused = self._protocol_paused = False
        self._reading = self._writing = False
        self._closing = self._lost = False
        self._rate_every_s = rate_every_s
        self._rate: asyncio.TimerHandle | None = None
        self._acknowledged = 0

    def start(self, protocol: asyncio.Protocol, received: bytes = b"") -> None:
        """Begin to serve `protocol`; `received` was read from the stream already."""
        self._protocol = protocol
        protocol.connection_made(self)
        if received and not self._closing:
            protocol.data_received(received)
        self._update_reading()

    def trust(self) -> None:
        """Treat the peer as authenticated: no rate is required, and it may leave more unread."""
        self._trusted = True
        self._update_reading()

    # The methods of asyncio.Transport.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Replace the protocol."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        assert self._protocol is not None
        return self._protocol

    def is_closing(self) -> bool:
        """Return True once the transport is closing or closed."""
        return self._closing

    def is_reading(self) -> bool:
        """Return True unless the protocol has paused reading, or the transport is closing."""
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        """Stop reading from the peer."""
        self._paused = True
        self._update_reading()

    def resume_reading(self) -> None:
        """Resume reading from the peer."""
        if not self._paused:
            return
        self._paused = False
        self._update_reading()

    def get_write_buffer_size(self) -> int:
        """Return the number of unsent bytes."""
        return self._unsent_bytes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, or keep a reference to it until it can be sent."""
        if self._closing or not data:
            return
        # The caller may modify anything but `bytes`.
        self._unsent.append(memoryview(data if isinstance(data, bytes) else bytes(data)))
        self._unsent_bytes += len(data)
        if not self._writing:
            self._write()
        else:
            self._notify_protocol()
            self._update_reading()

    def can_write_eof(self) -> bool:
        """Return False: a half-close is not supported."""
        return False

    def close(self) -> None:
        """Send unsent data, at the minimum rate or faster, and close the connection."""
        if self._closing:
            return
        self._closing = True
        self._update_reading()
        if not self._writing:
            self._loop.call_soon(self._hang_up)

    def abort(self) -> None:
        """Discard unsent data, and reset the connection."""
        self._lose(None)

    # Implementation.

    def _update_reading(self) -> None:
        """Start or stop waiting for the peer's bytes, according to the current state."""
        most = UNREAD_BYTES if self._trusted else UNAUTHENTICATED_UNREAD_BYTES
        should_read = not (self._paused or self._closing or self._lost or self._unsent_bytes > most)
        if should_read == self._reading:
            return
        self._reading = should_read
        if should_read:
            self._loop.add_reader(self._fd, self._read)
            # TLS may have more in memory, which epoll(7) does not report.
            self._loop.call_soon(self._read)
        elif not self._lost:
            self._loop.remove_reader(self._fd)

    def _read(self) -> None:
        for _ in range(READS_PER_TURN):
            if not self._reading or self._lost:
                return
            try:
                data = self._stream.recv(
                    READ_BYTES if self._trusted else UNAUTHENTICATED_READ_BYTES
                )
            except OSError as error:
                self._lose(error)
                return
            if data is None:
                return
            assert self._protocol is not None
            try:
                if not data:
                    self._protocol.eof_received()
                    self.close()
                    return
                self._protocol.data_received(data)
            except Exception as error:
                report_fault("a protocol failed at what it received", error)
                self._lose(error)
                return
        self._loop.call_soon(self._read)

    def _write(self) -> None:
        try:
            while self._unsent:
                piece = self._unsent[0]
                part = piece if self._trusted else piece[:UNAUTHENTICATED_READ_BYTES]
                taken = self._stream.send(part)
                self._sent_bytes += taken
                self._unsent_bytes -= taken
                if taken < len(piece):
                    self._unsent[0] = piece[taken:]
                else:
                    self._unsent.popleft()
                if taken < len(part):
                    break
            waits = bool(self._unsent) or not self._stream.flush()
        except OSError as error:
            self._lose(error)
            return
        if waits != self._writing:
            self._writing = waits
            if waits:
                self._loop.add_writer(self._fd, self._write)
            else:
                self._loop.remove_writer(self._fd)
        if waits and self._rate is None:
            self._acknowledged = self._count_acknowledged()
            self._rate = self._loop.call_later(self._rate_every_s, self._check_rate)
        self._notify_protocol()
        if self._closing and not waits:
            self._hang_up()
        else:
            self._update_reading()

    def _notify_protocol(self) -> None:
        assert self._protocol is not None
        if not self._protocol_paused and self._unsent_bytes > HIGH_WATER_BYTES:
            self._protocol_paused = True
            self._protocol.pause_writing()
        elif self._protocol_paused and self._unsent_bytes <= LOW_WATER_BYTES:
            self._protocol_paused = False
            self._protocol.resume_writing()

    def _count_acknowledged(self) -> int:
        with suppress(OSError):
            return self._sent_bytes - self._stream.count_unacknowledged()
        return self._sent_bytes

    def _check_rate(self) -> None:
        self._rate = None
        if self._lost or not self._writing:
            return
        acknowledged = self._count_acknowledged()
        too_slow = acknowledged - self._acknowledged < MIN_BYTES
        if too_slow and (self._closing or not self._trusted):
            self._lose(None)
            return
        self._acknowledged = acknowledged
        self._rate = self._loop.call_later(self._rate_every_s, self._check_rate)

    def _hang_up(self) -> None:
        """Close after everything is sent. The kernel keeps bytes in flight for `ORPHAN_S`, and no longer."""
        if self._lost:
            return
        with suppress(OSError, AttributeError):  # no such option on this system
            self._stream.set_option(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(ORPHAN_S * 1000)
            )
        with suppress(OSError):
            self._stream.shutdown_write()
        self._forget()
        self._stream.close()
        self._notify_lost(None)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._forget()
        self._stream.abort()
        self._loop.call_soon(self._notify_lost, error)

    def _forget(self) -> None:
        self._closing = self._lost = True
        self._reading = self._writing = False
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        if self._rate is not None:
            self._rate.cancel()
            self._rate = None
        self._unsent.clear()
        self._unsent_bytes = 0

    def _notify_lost(self, error: Exception | None) -> None:
        try:
            if self._protocol is not None:
                self._protocol.connection_lost(error)
        finally:
            # Break the reference cycle, so that memory is freed at once.
            on_lost, self.on_lost, self._protocol = self.on_lost, _nothing, None
            on_lost()


def _nothing() -> None:
    """Do nothing, in place of `on_lost` once that has been called."""
