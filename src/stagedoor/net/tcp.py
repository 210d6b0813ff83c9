"""Plain TCP streams."""

import contextlib
import fcntl
import socket
import struct
import sys
import termios

_RST = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 s: close(2) sends RST and discards unsent bytes (socket(7))."""


class TcpStream:
    """A non-blocking TCP socket as a `relay.ports.Stream`. It owns `sock`."""

    __slots__ = ("_sock",)

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    @property
    def spliceable(self) -> bool:
        """Return True: the kernel may move the bytes."""
        return True

    def detach(self) -> socket.socket:
        """Return the socket, for code that uses it by other means. This stream is closed afterwards."""
        return socket.socket(fileno=self._sock.detach())

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 once it is closed."""
        return self._sock.fileno()

    def recv(self, limit: int) -> bytes | None:
        """Return up to `limit` bytes; b"" at the end; None if nothing is there yet. Raises OSError."""
        try:
            return self._sock.recv(limit)
        except BlockingIOError:
            return None

    def send(self, data: bytes | memoryview) -> int:
        """Send, and return the number of bytes that the kernel took. Raises OSError."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0

    def flush(self) -> bool:
        """Return True: nothing is buffered outside the kernel."""
        return True

    def shutdown_write(self) -> None:
        """Send FIN; the other direction stays open. Raises OSError."""
        self._sock.shutdown(socket.SHUT_WR)

    def count_unacknowledged(self) -> int:
        """Return the number of sent bytes that the peer has not acknowledged (tcp(7), SIOCOUTQ).

        The result is 0 on systems that do not report it. Raises OSError.
        """
        if not sys.platform.startswith("linux"):
            return 0
        return int.from_bytes(
            fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder
        )

    def set_option(self, level: int, option: int, value: int) -> None:
        """Set a socket option, as setsockopt(2) does. Raises OSError."""
        self._sock.setsockopt(level, option, value)

    def error(self) -> int:
        """Return and clear the socket's pending errno (SO_ERROR), 0 if there is none."""
        return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def abort(self) -> None:
        """Close with RST."""
        with contextlib.suppress(OSError):  # it is closed already
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        self._sock.close()

    def close(self) -> None:
        """Close the socket normally (FIN)."""
        self._sock.close()
