"""A plain TCP end."""

import contextlib
import fcntl
import socket
import struct
import sys
import termios

_RST = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 s: close(2) sends RST and forgets what was not sent (socket(7))."""


class TcpStream:
    """A non-blocking TCP socket as the relay wants it (`relay.ports.Stream`). It owns `sock`."""

    __slots__ = ("_sock",)

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    @property
    def spliceable(self) -> bool:
        return True

    def detach(self) -> socket.socket:
        """Give the socket away, to code that reads it by other means; this end is then closed."""
        return socket.socket(fileno=self._sock.detach())

    def fileno(self) -> int:
        return self._sock.fileno()

    def recv(self, limit: int) -> bytes | None:
        try:
            return self._sock.recv(limit)
        except BlockingIOError:
            return None

    def send(self, data: bytes | memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0

    def flush(self) -> bool:
        return True

    def shutdown_write(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def unacknowledged(self) -> int:
        """Bytes that were sent and that the peer has not acknowledged (tcp(7), SIOCOUTQ).

        0 where this system does not say. Raises OSError.
        """
        if not sys.platform.startswith("linux"):
            return 0
        return int.from_bytes(
            fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder
        )

    def set_option(self, level: int, option: int, value: int) -> None:
        """As setsockopt(2). Raises OSError."""
        self._sock.setsockopt(level, option, value)

    def error(self) -> int:
        return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def abort(self) -> None:
        with contextlib.suppress(OSError):  # it is closed already
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        self._sock.close()

    def close(self) -> None:
        self._sock.close()
