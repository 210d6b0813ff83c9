"""A transport of asyncio (PEP 3156) over an accepted stream, plain or TLS, that bounds what a peer holds.

asyncio's own keeps 256 KiB for each TLS connection, copies all that is unsent, waits without end for a
peer that does not read, and goes on reading from it meanwhile. This one keeps what is unsent by
reference, does not read from a peer that leaves too much unread, and demands a minimum rate.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from stagedoor.model.source import Source
from stagedoor.model.units import KIB
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream
from stagedoor.net.tls import TlsStream

READ_BYTES = 16 * KIB
STRANGER_BYTES = 4 * KIB
"""What is read or sent at once for a peer that has not proved who it is: so much TLS keeps of it."""
READS_PER_TURN = 16
"""So that one peer that sends without end leaves the event loop time for the others."""
HIGH_WATER_BYTES = 64 * KIB
"""With more unsent the protocol is told to pause; it may go on at a quarter (as asyncio's own)."""
LOW_WATER_BYTES = 16 * KIB
UNREAD_BY_STRANGER_BYTES = 4 * KIB
"""With more unsent, a peer that has not proved who it is is not read from."""
UNREAD_BYTES = 256 * KIB
"""The same for one that has. A protocol that pauses leaves less; answers to PINGs do not pause."""
RATE_EVERY_S = 10.0
LEAST_BYTES = 10 * KIB
"""So much must be acknowledged each `RATE_EVERY_S` while more waits: 1 KiB/s, a tenth of GPRS' best."""
ORPHAN_S = 30.0
"""How long the kernel keeps what was sent before a close and is not acknowledged (TCP_USER_TIMEOUT)."""


class StreamTransport(asyncio.Transport):
    """Carries one connection for `protocol`, which it calls as asyncio does. It owns `stream`.

    `source` is the peer, as `peername` says it; `secure` is what `sslcontext` says, None without TLS.
    Belongs to the running event loop. `start` comes first.
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
        """Called once, when nothing is held any more."""
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
        self._look()

    def trust(self) -> None:
        """The peer has proved who it is: no rate is demanded, and it may leave more unread."""
        self._trusted = True
        self._look()

    # What a protocol asks for (asyncio.Transport).

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        self._paused = True
        self._look()

    def resume_reading(self) -> None:
        if not self._paused:
            return
        self._paused = False
        self._look()

    def get_write_buffer_size(self) -> int:
        return self._unsent_bytes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes are kept by reference until they are sent."""
        if self._closing or not data:
            return
        # What is not `bytes` may change under our hands.
        self._unsent.append(memoryview(data if isinstance(data, bytes) else bytes(data)))
        self._unsent_bytes += len(data)
        if not self._writing:
            self._write()
        else:
            self._tell_protocol()
            self._look()

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        """Send what is unsent, at the least rate at least, and hang up."""
        if self._closing:
            return
        self._closing = True
        self._look()
        if not self._writing:
            self._loop.call_soon(self._hang_up, None)

    def abort(self) -> None:
        """Forget what is unsent, and reset the connection."""
        self._lose(None)

    # How.

    def _look(self) -> None:
        """Wait for what the peer sends, or do not, as things are now."""
        most = UNREAD_BYTES if self._trusted else UNREAD_BY_STRANGER_BYTES
        wanted = not (self._paused or self._closing or self._lost or self._unsent_bytes > most)
        if wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._loop.add_reader(self._fd, self._read)
            self._loop.call_soon(self._read)  # TLS may have more in memory; no socket tells of that
        elif not self._lost:
            self._loop.remove_reader(self._fd)

    def _read(self) -> None:
        for _ in range(READS_PER_TURN):
            if not self._reading or self._lost:
                return
            try:
                data = self._stream.recv(READ_BYTES if self._trusted else STRANGER_BYTES)
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
                aio.report_fault("a protocol failed at what it received", error)
                self._lose(error)
                return
        self._loop.call_soon(self._read)

    def _write(self) -> None:
        try:
            while self._unsent:
                piece = self._unsent[0]
                part = piece if self._trusted else piece[:STRANGER_BYTES]
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
        self._tell_protocol()
        if self._closing and not waits:
            self._hang_up(None)
        else:
            self._look()

    def _tell_protocol(self) -> None:
        assert self._protocol is not None
        if not self._protocol_paused and self._unsent_bytes > HIGH_WATER_BYTES:
            self._protocol_paused = True
            self._protocol.pause_writing()
        elif self._protocol_paused and self._unsent_bytes <= LOW_WATER_BYTES:
            self._protocol_paused = False
            self._protocol.resume_writing()

    def _count_acknowledged(self) -> int:
        with suppress(OSError):
            return self._sent_bytes - self._stream.unacknowledged()
        return self._sent_bytes

    def _check_rate(self) -> None:
        self._rate = None
        if self._lost or not self._writing:
            return
        acknowledged = self._count_acknowledged()
        too_slow = acknowledged - self._acknowledged < LEAST_BYTES
        if too_slow and (self._closing or not self._trusted):
            self._lose(None)
            return
        self._acknowledged = acknowledged
        self._rate = self._loop.call_later(self._rate_every_s, self._check_rate)

    def _hang_up(self, error: Exception | None) -> None:
        """All is sent: close so that the kernel keeps what is under way for a while, and no longer."""
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
        self._tell_lost(error)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._forget()
        self._stream.abort()
        self._loop.call_soon(self._tell_lost, error)

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

    def _tell_lost(self, error: Exception | None) -> None:
        try:
            if self._protocol is not None:
                self._protocol.connection_lost(error)
        finally:
            # So that nothing refers in a circle, and all is free at once.
            lost, self.on_lost, self._protocol = self.on_lost, _nothing, None
            lost()


def _nothing() -> None:
    """For a transport that is gone."""
