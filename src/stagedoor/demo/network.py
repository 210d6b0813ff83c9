"""A network of the demo's own between ssh and the gateway, which can be cut."""

import socket
import struct
import threading
from contextlib import suppress

_CHUNK = 64 * 1024
_HOST = "127.0.0.1"
_RST = struct.pack("ii", 1, 0)


class DemoNetwork:
    """A relay from `port` of 127.0.0.1 to the port `to`. While it is cut, it resets every connection.

    It has two threads for each connection, which is enough for a demo and for tests.
    """

    def __init__(self, to: int = 0, port: int = 0) -> None:
        """Listen on `port`, 0 for any; `to` may be set before the first connection. Raises OSError."""
        self.to = to
        self.is_cut = False
        """Whether it is cut now."""
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((_HOST, port), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="demo-network", daemon=True).start()

    def cut(self) -> None:
        """Reset all connections, and new ones until `restore`."""
        self.is_cut = True
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for sock in sockets:
            _reset(sock)

    def restore(self) -> None:
        """Relay again."""
        self.is_cut = False

    def close_network(self) -> None:
        """Stop listening, and reset all connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                near, _ = self._listener.accept()
                try:
                    far = None if self.is_cut else socket.create_connection((_HOST, self.to))
                except OSError:
                    far = None
                if far is None:
                    _reset(near)
                    continue
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:  # from here on they may be closed at any time
                    self._sockets |= {near, far}
                if self.is_cut:
                    self.cut()
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        """Carry one direction to its end, and then close both ends unless the other one still continues."""
        try:
            while data := source.recv(_CHUNK):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            _reset(source)
            _reset(sink)
        with self._lock:
            is_last = sink not in self._sockets
            self._sockets.discard(source)
        if is_last:
            source.close()
            sink.close()


def _reset(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it
    sock.close()
