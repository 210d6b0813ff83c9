"""A TCP path to a server of the tests, which a test may cut, hold, or make swallow the answers."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

from stagedoor.settings.store_location import StoreServer
from tests.store.server import PostgresqlHere, name_of


class Wire:
    """Listens on loopback, and hands on every byte to the server's socket and back."""

    def __init__(self, here: PostgresqlHere) -> None:
        self._to = str(here.folder / f".s.PGSQL.{here.port}")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self.swallow = threading.Event()
        """Set: what the server says goes nowhere, and `swallowed` is set."""
        self.swallowed = threading.Event()
        self.cut_on: bytes | None = None
        """Cut everything when the gateway says this, before the server hears of it."""
        threading.Thread(target=self._accept, daemon=True).start()

    def through(self, server: StoreServer, parameters: str = "sslmode=disable") -> StoreServer:
        """The same database by this path."""
        role = server.url.partition("://")[2].partition("@")[0]
        return replace(
            server,
            url=f"postgresql://{quote(role)}@127.0.0.1:{self.port}/{name_of(server)}?{parameters}",
        )

    def hold(self) -> None:
        """Hand on nothing more, as a network that drops packets does, until `release`."""
        self._flows.clear()

    def release(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        """Close every connection that there is."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.release()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(self._to)
            except OSError:
                near.close()
                far.close()
                continue
            with self._lock:
                self._open |= {near, far}
            for source, sink, up in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._pump, args=(source, sink, up), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                self._flows.wait()
                if up and self.cut_on is not None and self.cut_on in block:
                    self.cut_on = None
                    self.cut()
                elif not up and self.swallow.is_set():
                    self.swallowed.set()
                else:
                    sink.sendall(block)
        for stream in (source, sink):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
        with self._lock:
            # The second of the two closes both.
            if source not in self._open:
                source.close()
                sink.close()
            self._open -= {source, sink}


@contextlib.contextmanager
def wire(here: PostgresqlHere) -> Iterator[Wire]:
    with contextlib.closing(Wire(here)) as made:
        yield made
