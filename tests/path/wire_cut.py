"""A wire that is cut: a relaying TCP proxy whose connections end by RST, in silence, or amid a frame."""

import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.path.processes import has_clients
from tests.waiting import wait_until

_RST = struct.pack("ii", 1, 0)


@dataclass
class _NextCut:
    """The next cut of a connection, in this mode and after `left` bytes."""

    mode: str
    left: int


class CutWire:
    """A wire from `port` to the gateway's. Each connection is cut after a random number of bytes, at `most`
    so many and a request more.
    """

    def __init__(
        self, far_port: int, seed: int, most: int, modes: tuple[str, ...], cuts: int
    ) -> None:
        self.cuts = 0
        self.refuses = False
        """Whether new connections are reset at once."""
        self.is_silent = False
        """Whether new connections are accepted, and nothing that is sent on them arrives."""
        self.refused = self.accepted = self.silenced = 0
        self.last_source = 0
        """The port from which the gateway was reached last."""
        self.source = "127.0.0.1"
        """The address from which the gateway is reached."""
        self._most_cuts = cuts
        self._far_port = far_port
        self._chance = random.Random(seed)
        self._most = most
        self._modes = modes
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._next: _NextCut | None = None
        """The next cut of the last connection."""
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_all(self) -> None:
        """Reset all connections now."""
        with self._lock:
            ends, self._open = self._open, set()
        self.cuts += bool(ends)
        for end in ends:
            _reset(end)

    def cut_next(self, mode: str, after: int) -> None:
        """Cut the last connection in this way after so many bytes more."""
        assert self._next is not None
        self._next.mode, self._next.left = mode, after

    def end_cuts(self) -> None:
        self._most_cuts = 0

    def close_wire(self) -> None:
        self.end_cuts()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.refuses:
                    self.refused += 1
                    _reset(near)
                    continue
                if self.is_silent:
                    with self._lock:
                        self._open.add(near)
                        self.silenced += 1
                    continue
                try:
                    place = ("127.0.0.1", self._far_port)
                    far = socket.create_connection(place, source_address=(self.source, 0))
                except OSError:
                    _reset(near)
                    continue
                self.last_source = far.getsockname()[1]
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:  # from here on they may be closed at any time
                    self._open |= {near, far}
                    self.accepted += 1
                    # Enough for the request and its answer, so that each connection gets somewhere.
                    left = 3000 + self._chance.randrange(self._most)
                    self._next = _NextCut(self._chance.choice(self._modes), left)
                for ends in ((near, far), (far, near)):
                    arguments = (*ends, self._next)
                    threading.Thread(target=self._carry, args=arguments, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, cut: _NextCut) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if self.cuts < self._most_cuts and len(data) >= cut.left:
                    if cut.mode == "half":
                        sink.sendall(data[: cut.left])
                    self.cuts += cut.left > 0  # 0: it was cut on its other way
                    cut.left = 0
                    if cut.mode == "silence":
                        return
                    break
                cut.left -= len(data)
                sink.sendall(data)
            else:
                sink.shutdown(socket.SHUT_WR)
                return
        with self._lock:
            self._open -= {source, sink}
        for end in (source, sink):
            _reset(end)


def _reset(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it
    sock.close()


@contextmanager
def cutting(
    far_port: int,
    seed: int,
    most: int,
    modes: tuple[str, ...] = ("reset", "half"),
    cuts: int = 1000,
) -> Iterator[CutWire]:
    """Yield a wire to `127.0.0.1:far_port`, which is cut up to `cuts` times.

    At the end `stagedoor tunnel` may still be on its way back, to end its session.
    """
    wire = CutWire(far_port, seed, most, modes, cuts)
    try:
        yield wire
        wire.end_cuts()
        wait_until(lambda: not has_clients(wire.port), what="the clients end", costly=True)
    finally:
        wire.close_wire()
