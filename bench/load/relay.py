"""A TCP relay in front of a page's server, which counts bytes and can fall silent as a dead line does."""

import contextlib
import socket
import threading

_CHUNK = 64 * 1024


class Relay:
    """A relay from `port` of 127.0.0.1 to another one. `up` and `down` are the bytes so far."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.up = self.down = 0
        self._sockets = [self._listener]
        self._passes = threading.Event()
        self._passes.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def fall_silent(self) -> None:
        """Stop to relay bytes, while all connections, old and new, stay open."""
        self._passes.clear()

    def close(self) -> None:
        """Close the relay and all its connections."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._passes.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                for sock in (near, far):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._sockets.append(sock)
                for pair in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                self._passes.wait()
                if up:
                    self.up += len(data)
                else:
                    self.down += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
