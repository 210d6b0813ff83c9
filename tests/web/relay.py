"""A TCP relay that cuts the line again and again, wherever it happens to be, in either direction."""

import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

DIAL_S = 10.0
"""How long the other end may take to accept a connection."""


class CuttingRelay:
    """Each connection is reset once it has carried about so many bytes from the server, or to it.

    Nothing is cut before `armed`, nor after `most` cuts. `to_port` may be changed: a gateway that is
    started again has another one.
    """

    def __init__(
        self,
        to_port: int,
        every_bytes: int = 1 << 40,
        *,
        every_bytes_up: int = 1 << 40,
        most: int = 1 << 40,
        armed: bool = True,
        host: str = "127.0.0.1",
    ) -> None:
        self.to_port = to_port
        self._host = host
        self.armed = armed
        self._every = (every_bytes_up, every_bytes)
        self._most = most
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._chance = random.Random(11)
        self.port = int(self._listener.getsockname()[1])
        self.cuts_up = self.cuts_down = 0
        self._away = False
        self._held: set[socket.socket] = set()
        self._released = threading.Condition()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def cuts(self) -> int:
        return self.cuts_up + self.cuts_down

    def __enter__(self) -> "CuttingRelay":
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._away = True
        self.release()
        # A thread that waits in accept is woken by this, and not by a close.
        for stream in (self._listener, *self._sockets):
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for stream in (self._listener, *self._sockets):
            stream.close()

    def cut(self) -> None:
        """Every line is cut, and every newcomer sent away, until `mend`."""
        self._away = True
        for stream in list(self._sockets):
            with suppress(OSError):  # it was cut before
                stream.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._away = False

    def hold(self) -> None:
        """The lines that are there carry nothing from now on, and no end hears of it; new ones carry."""
        self._held.update(self._sockets)

    def release(self) -> None:
        """They carry again, and first what was held."""
        with self._released:
            self._held.clear()
            self._released.notify_all()

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._start(self._dial, near)

    def _dial(self, near: socket.socket) -> None:
        """Carry a connection. A peer that does not answer holds up no other connection, and this one ends."""
        far = None
        if not self._away:
            with suppress(OSError):  # no peer is there now
                far = socket.create_connection((self._host, self.to_port), DIAL_S)
        if far is None:
            near.close()
            return
        far.settimeout(None)
        self._sockets += [near, far]
        if self._away:  # since the dial began
            near.close()
            far.close()
            return
        up, down = (self._chance.randrange(every // 2, every * 3 // 2) for every in self._every)
        self._start(self._carry, near, far, up, True)
        self._start(self._carry, far, near, down, False)

    def _carry(self, source: socket.socket, sink: socket.socket, most: int, upward: bool) -> None:
        left = most
        with suppress(OSError):
            while data := source.recv(4096):
                with self._released:
                    self._released.wait_for(lambda: source not in self._held)
                if not self.armed or self.cuts >= self._most:
                    sink.sendall(data)
                    continue
                # Cut in the middle of what came, whatever that is.
                sink.sendall(data[:left])
                left -= len(data)
                if left <= 0:
                    self.cuts_up += upward
                    self.cuts_down += not upward
                    break
        for stream in (source, sink):
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
            # A peer that still sends gets a RST, and does not wait for room.
            stream.close()
