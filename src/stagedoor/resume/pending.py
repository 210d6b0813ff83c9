"""The connections of clients that have not shown their ticket yet."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stagedoor.holder.event_poller import EventPoller
from stagedoor.holder.folder import make_address
from stagedoor.wire.tunnel.frames import HEAD, OPEN, TICKET_BYTES, StreamError, decode_head

TICKET_S = 10.0
"""How long a ticket is valid, and how long a connection may take to show it."""
MAX_PENDING = 256
"""The most connections without a ticket. One more closes the oldest."""
_BACKLOG = 512
_SIZE = HEAD.size + TICKET_BYTES


@dataclass(eq=False, slots=True)
class _Pending:
    sock: socket.socket
    until: float
    received: bytes = b""


class PendingConnections:
    """The connections at `path` that have not shown a ticket yet.

    `on_ticket` is called with each ticket and its connection, and returns whether it has taken the
    connection.
    """

    def __init__(
        self, path: Path, poller: EventPoller, on_ticket: Callable[[bytes, socket.socket], bool]
    ) -> None:
        """Listen, replacing an endpoint that has ended. Raises OSError."""
        self._poller = poller
        self._on_ticket = on_ticket
        self._pending: dict[int, _Pending] = {}
        self._listener = listen(socket.socket(socket.AF_UNIX), path)
        poller.add(self._listener.fileno(), self._accept)

    def __len__(self) -> int:
        return len(self._pending)

    def sweep(self, now: float) -> None:
        """Close the connections that have taken too long."""
        for pending in tuple(self._pending.values()):
            if now >= pending.until:
                self._drop(pending)

    def _accept(self, _readable: bool, _writable: bool) -> None:
        with suppress(OSError):  # it may have left, or there may be no descriptor left
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            if len(self._pending) >= MAX_PENDING:
                self._drop(next(iter(self._pending.values())))
            pending = _Pending(sock, time.monotonic() + TICKET_S)
            self._pending[sock.fileno()] = pending
            self._poller.add(sock.fileno(), partial(self._serve, pending))

    def _serve(self, pending: _Pending, _readable: bool, _writable: bool) -> None:
        try:
            data = pending.sock.recv(_SIZE - len(pending.received))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        pending.received += data
        if data and len(pending.received) < _SIZE:
            return
        self._release(pending)
        ticket = _parse_ticket(pending.received) if data else None
        if ticket is None or not self._on_ticket(ticket, pending.sock):
            pending.sock.close()

    def _release(self, pending: _Pending) -> None:
        self._pending.pop(pending.sock.fileno(), None)
        self._poller.remove(pending.sock.fileno())

    def _drop(self, pending: _Pending) -> None:
        self._release(pending)
        pending.sock.close()


def _parse_ticket(received: bytes) -> bytes | None:
    with suppress(StreamError):
        if decode_head(bytearray(received))[0] == OPEN:
            return received[HEAD.size :]
    return None


def listen(sock: socket.socket, path: Path) -> socket.socket:
    """Bind `sock` to `path`, replacing an earlier socket there, and listen. Raises OSError."""
    path.unlink(missing_ok=True)
    with make_address(path) as address:
        sock.bind(address)
    sock.listen(_BACKLOG)
    sock.setblocking(False)
    return sock
