"""The endpoint's process: its sockets, the workers that judge its sessions, and tickets for connections."""

import secrets
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stagedoor.holder.event_poller import EventPoller
from stagedoor.model.target import Target
from stagedoor.resume.messages import (
    AWAY,
    CONTROL,
    DATA,
    GREETING,
    IDLE,
    LOST,
    REMOVED,
    address,
    open_control_socket,
    receive,
    send,
)
from stagedoor.resume.session import Session
from stagedoor.wire.ssh.preface import SshPreface
from stagedoor.wire.target import parse_target
from stagedoor.wire.tunnel.frames import HEAD, OPEN, TICKET_BYTES, StreamError, decode_head

TICKET_S = 10.0
"""How long a ticket is valid, and how long a connection may take to show it."""
ORPHAN_S = 120.0
"""How long a session may be without a worker: no gateway would end it when it is revoked."""
MAX_PENDING = 256
"""Connections without a ticket yet. One more closes the oldest."""
MAX_AWAY_OF_OWNER = 64
"""Sessions of one owner without a client. One more ends the oldest."""
TIDY_S = 0.5
"""The period of what is due by time; an ACK may be so much later than `wire.tunnel.stream.ACK_DELAY_S`."""
_BACKLOG = 512
_FIRST_S = 10.0
"""How long the process waits for its first worker."""


@dataclass(eq=False, slots=True)
class _Worker:
    sock: socket.socket
    greeted: bool = False


@dataclass(eq=False, slots=True)
class _Kept:
    """A session with what decides who may return to it."""

    key: str
    owner: str
    away_s: float
    idle_s: float
    session: Session
    worker: _Worker | None
    """The worker that judges it, None if that worker is gone."""
    number: str
    """That worker's number for the client's connection."""
    orphan_since: float = 0.0
    attempt: int = -1


@dataclass(eq=False, slots=True)
class _Ticket:
    kept: _Kept
    worker: _Worker
    number: str
    attempt: int
    until: float


@dataclass(eq=False, slots=True)
class _Pending:
    sock: socket.socket
    until: float
    received: bytes = b""


class Endpoint:
    """All sessions of a gateway's machine. `run` returns when neither a session nor a worker is left."""

    def __init__(self, folder: Path) -> None:
        """Listen in `folder`, in place of an endpoint that has ended. Raises OSError."""
        self._poller = EventPoller()
        self._kept: dict[str, _Kept] = {}
        self._tickets: dict[bytes, _Ticket] = {}
        self._pending: dict[int, _Pending] = {}
        self._workers: set[_Worker] = set()
        self._first_by = time.monotonic() + _FIRST_S
        self._tidy_at = 0.0
        self._is_stopped = False
        self._control = _listen(open_control_socket(), address(folder, CONTROL))
        self._data = _listen(socket.socket(socket.AF_UNIX), address(folder, DATA))
        self._poller.add(self._control.fileno(), self._accept_worker)
        self._poller.add(self._data.fileno(), self._accept_data)

    def run(self) -> None:
        """Serve until nothing is left. Blocks."""
        while not self._is_stopped:
            now = time.monotonic()
            if now >= self._tidy_at:
                self._tidy(now)
                self._tidy_at = now + TIDY_S
            if not self._kept and not self._workers and now >= self._first_by:
                return
            is_idle = not (self._kept or self._pending) and self._workers
            self._poller.wait(None if is_idle else max(0.0, self._tidy_at - now))

    def _tidy(self, now: float) -> None:
        """Do what is due by time."""
        for kept in tuple(self._kept.values()):
            session = kept.session
            wake_at = session.wake_at()
            if wake_at is not None and now >= wake_at:
                session.pump(now)
            alone = session.alone_since
            if alone is not None and now - alone >= kept.away_s:
                session.end(AWAY, f"no client came back within {kept.away_s:.0f} s", now)
            if kept.idle_s and now - session.moved_at >= kept.idle_s:
                session.end(IDLE, f"no byte moved for {kept.idle_s:g} s", now)
            if kept.worker is None and now - kept.orphan_since >= ORPHAN_S:
                session.end(LOST, "its gateway has ended", now)
        for ticket_bytes, ticket in tuple(self._tickets.items()):
            if now >= ticket.until:
                del self._tickets[ticket_bytes]
        for pending in tuple(self._pending.values()):
            if now >= pending.until:
                self._drop_pending(pending)

    def _over(self, key: str, code: int, why: str) -> None:
        kept = self._kept.pop(key)
        if kept.worker is not None:
            self._tell(kept.worker, f"over {kept.number} {code} {why}")

    # Workers.

    def _accept_worker(self, _readable: bool, _writable: bool) -> None:
        with suppress(OSError):  # it may have left, or there may be no descriptor left
            sock, _ = self._control.accept()
            sock.setblocking(False)
            worker = _Worker(sock)
            self._workers.add(worker)
            self._poller.add(sock.fileno(), partial(self._serve_worker, worker))
            self._tell(worker, GREETING)

    def _serve_worker(self, worker: _Worker, _readable: bool, _writable: bool) -> None:
        try:
            line, fds = receive(worker.sock)
        except BlockingIOError:
            return
        except OSError:
            line, fds = "", []
        socks = [socket.socket(fileno=fd) for fd in fds]
        try:
            if not worker.greeted:
                worker.greeted = line == GREETING
            elif line:
                self._obey(worker, line, socks)
            if not line or not worker.greeted:
                self._lose(worker)
        except ValueError:
            self._lose(worker)
        finally:
            for sock in socks:
                sock.close()

    def _obey(self, worker: _Worker, line: str, socks: list[socket.socket]) -> None:
        """Obey a message. `open` takes the socket out of `socks`. Raises ValueError for no message."""
        now = time.monotonic()
        word, _, rest = line.partition(" ")
        if word == "open":
            number, key, away_s, idle_s, owner = rest.split(" ", 4)
            self._make_room(owner, now)
            if key in self._kept or not socks:
                self._tell(worker, f"gone {number} this session exists already")
                return
            target = parse_target(owner.rpartition(" ")[2])
            preface = SshPreface(target) if isinstance(target, Target) else None
            session = Session(socks.pop(), self._poller, now, partial(self._over, key), preface)
            kept = _Kept(key, owner, float(away_s), float(idle_s), session, worker, number)
            self._kept[key] = kept
            self._give_ticket(worker, number, kept, 0, now)
        elif word == "back":
            number, key, attempt, owner = rest.split(" ", 3)
            known = self._kept.get(key)
            # The same answer for an unknown session and for one of another owner.
            if known is None or known.owner != owner:
                self._tell(worker, f"gone {number} the session has ended")
            elif int(attempt) <= known.attempt:
                self._tell(worker, f"gone {number} a newer connection of this session exists")
            else:
                self._give_ticket(worker, number, known, int(attempt), now)
        elif word == "end":
            number, _, why = rest.partition(" ")
            for kept in tuple(self._kept.values()):
                if kept.worker is worker and kept.number == number:
                    kept.session.end(REMOVED, why, now)
        elif word == "stop":
            self._is_stopped = True
        else:
            raise ValueError(word)

    def _give_ticket(
        self, worker: _Worker, number: str, kept: _Kept, attempt: int, now: float
    ) -> None:
        ticket = secrets.token_bytes(TICKET_BYTES)
        self._tickets[ticket] = _Ticket(kept, worker, number, attempt, now + TICKET_S)
        self._tell(worker, f"ticket {number} {ticket.hex()}")

    def _make_room(self, owner: str, now: float) -> None:
        alone = [
            kept
            for kept in self._kept.values()
            if kept.owner == owner and kept.session.alone_since is not None
        ]
        if len(alone) >= MAX_AWAY_OF_OWNER:
            oldest = min(alone, key=lambda kept: kept.session.alone_since or 0.0)
            oldest.session.end(AWAY, f"more than {MAX_AWAY_OF_OWNER} sessions wait", now)

    def _tell(self, worker: _Worker, line: str) -> None:
        if worker in self._workers:
            try:
                send(worker.sock, line)
            except OSError:  # it reads nothing, or is gone
                self._lose(worker)

    def _lose(self, worker: _Worker) -> None:
        if worker not in self._workers:
            return
        self._workers.discard(worker)
        self._poller.remove(worker.sock.fileno())
        worker.sock.close()
        for kept in self._kept.values():
            if kept.worker is worker:
                kept.worker, kept.orphan_since = None, time.monotonic()

    # Connections of clients, by way of a worker.

    def _accept_data(self, _readable: bool, _writable: bool) -> None:
        with suppress(OSError):  # it may have left, or there may be no descriptor left
            sock, _ = self._data.accept()
            sock.setblocking(False)
            if len(self._pending) >= MAX_PENDING:
                self._drop_pending(next(iter(self._pending.values())))
            pending = _Pending(sock, time.monotonic() + TICKET_S)
            self._pending[sock.fileno()] = pending
            self._poller.add(sock.fileno(), partial(self._serve_pending, pending))

    def _serve_pending(self, pending: _Pending, _readable: bool, _writable: bool) -> None:
        size = HEAD.size + TICKET_BYTES
        try:
            data = pending.sock.recv(size - len(pending.received))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        pending.received += data
        if data and len(pending.received) < size:
            return
        self._take_out(pending)
        ticket = self._ticket_in(pending.received) if data else None
        if ticket is None or not self._connect(ticket, pending.sock):
            pending.sock.close()

    def _ticket_in(self, received: bytes) -> _Ticket | None:
        with suppress(StreamError, struct.error):
            if decode_head(bytearray(received))[0] == OPEN:
                return self._tickets.pop(received[HEAD.size :], None)
        return None

    def _connect(self, ticket: _Ticket, sock: socket.socket) -> bool:
        """Give a session its new connection. Return False if the session has ended or has a newer one."""
        kept, now = ticket.kept, time.monotonic()
        if self._kept.get(kept.key) is not kept:
            self._tell(ticket.worker, f"over {ticket.number} {LOST} the session has ended")
            return False
        if ticket.attempt <= kept.attempt:
            self._tell(ticket.worker, f"moved {ticket.number}")
            return False
        if kept.worker is not None and kept.attempt >= 0:
            self._tell(kept.worker, f"moved {kept.number}")
        is_alive = ticket.worker in self._workers
        kept.worker, kept.number = ticket.worker if is_alive else None, ticket.number
        kept.orphan_since, kept.attempt = now, ticket.attempt
        kept.session.connect(sock, now)
        return True

    def _take_out(self, pending: _Pending) -> None:
        self._pending.pop(pending.sock.fileno(), None)
        self._poller.remove(pending.sock.fileno())

    def _drop_pending(self, pending: _Pending) -> None:
        self._take_out(pending)
        pending.sock.close()


def _listen(sock: socket.socket, path: str) -> socket.socket:
    with suppress(FileNotFoundError):
        Path(path).unlink()
    sock.bind(path)
    sock.listen(_BACKLOG)
    sock.setblocking(False)
    return sock
