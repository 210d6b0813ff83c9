"""A TCP relay in front of a page's server, which counts bytes, delays them, and can fall silent."""

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable
from functools import partial

_CHUNK = 64 * 1024


class Relay:
    """A relay from `port` of 127.0.0.1 to another one. `up` and `down` are the bytes so far."""

    def __init__(self, to: int, delay_s: float = 0.0) -> None:
        """Relay to the port `to`; bytes arrive `delay_s` later, in each direction."""
        self._to = to
        self._delay_s = delay_s
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
        send = self._later(sink) if self._delay_s else partial(_pass_on, sink)
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                self._passes.wait()
                if up:
                    self.up += len(data)
                else:
                    self.down += len(data)
                send(data)
            send(b"")

    def _later(self, sink: socket.socket) -> Callable[[bytes], None]:
        """Return a function that passes bytes on after the delay, without waiting for it."""
        due: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def send() -> None:
            with contextlib.suppress(OSError):
                while True:
                    at, data = due.get()
                    time.sleep(max(0.0, at - time.monotonic()))
                    _pass_on(sink, data)
                    if not data:
                        return

        threading.Thread(target=send, daemon=True).start()
        return lambda data: due.put((time.monotonic() + self._delay_s, data))


def _pass_on(sink: socket.socket, data: bytes) -> None:
    """Send `data`; no bytes are the end of what is sent."""
    if data:
        sink.sendall(data)
    else:
        sink.shutdown(socket.SHUT_WR)
