"""The endpoint's process: its sockets, the workers that judge its sessions, and tickets for connections."""

import math
import os
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stagedoor.holder.event_poller import READ, WRITE, EventPoller
from stagedoor.model.target import Target
from stagedoor.resume.message_queue import MessageQueue
from stagedoor.resume.messages import (
    AWAY,
    CONTROL,
    DATA,
    GREETING,
    IDLE,
    LOST,
    REMOVED,
    open_control_socket,
    receive,
    remove_retired,
)
from stagedoor.resume.pending import TICKET_S, PendingConnections, listen
from stagedoor.resume.session import Session
from stagedoor.wire.ssh.preface import SshPreface
from stagedoor.wire.target import parse_target
from stagedoor.wire.tunnel.frames import TICKET_BYTES

ORPHAN_S = 120.0
"""How long a session may be without a worker, and so without a gateway that ends it if its grant is
revoked."""
OFFER_AFTER_S = 2.0
"""How long a client may be away before its session is offered to another worker. Most clients come back at
once, and the worker that accepts them gets the session."""
OFFER_AGAIN_S = 5.0
"""The time after which a session that was not adopted is offered to the next worker."""
MAX_AWAY_OF_OWNER = 64
"""The most sessions of one owner without a client. One more ends the oldest."""
TIDY_S = 0.5
"""The period of work that is due by time. An ACK may be later than `wire.tunnel.stream.ACK_DELAY_S` by this
much."""
_FIRST_S = 10.0
"""How long the process waits for its first worker."""


@dataclass(eq=False, slots=True)
class _Worker:
    messages: MessageQueue
    greeted: bool = False
    adopts: bool = False


@dataclass(eq=False, slots=True)
class _KeptSession:
    """A session, with its owner and the note that an adopting worker needs."""

    key: str
    id: str
    note: str
    owner: str
    limit_s: float
    """How long it waits for its client."""
    idle_s: float
    session: Session
    worker: _Worker | None
    """The worker that judges it, or None if that worker is gone."""
    number: str
    """That worker's number for the client's connection."""
    orphan_since: float = 0.0
    offer_at: float = 0.0
    attempt: int = -1

    def away_s(self, now: float) -> float:
        """Return how long its client has been away."""
        alone = self.session.alone_since
        return 0.0 if alone is None else now - alone

    def format_progress(self, now: float) -> str:
        """Return the words SENT, RECEIVED and AWAY of a message."""
        return f"{self.session.sent} {self.session.received} {self.away_s(now):.3f}"


@dataclass(eq=False, slots=True)
class _PendingTicket:
    kept: _KeptSession
    worker: _Worker
    number: str
    attempt: int
    until: float

    @property
    def is_held(self) -> bool:
        """Return whether its worker has the session by the same number."""
        return (self.kept.worker, self.kept.number) == (self.worker, self.number)


class Endpoint:
    """All sessions of a gateway's machine.

    `run` returns when no session and no worker is left, unless it `stays`. After it has retired, it returns
    when no session is left.
    """

    def __init__(self, folder: Path, *, stays: bool = False) -> None:
        """Listen in `folder`, replacing an endpoint that has ended. Raises OSError."""
        self._poller = EventPoller()
        self._kept: dict[str, _KeptSession] = {}
        self._tickets: dict[bytes, _PendingTicket] = {}
        self._workers: list[_Worker] = []
        self._offers = 0
        self._first_by = math.inf if stays else time.monotonic() + _FIRST_S
        self._tidy_at = 0.0
        self._is_stopped = False
        self._is_retired = False
        self._folder = folder
        self._control = listen(open_control_socket(), folder / CONTROL)
        self._poller.add(self._control.fileno(), self._accept_worker)
        self._pending = PendingConnections(folder / DATA, self._poller, self._use_ticket)

    def run(self) -> None:
        """Serve until nothing is left. Blocks."""
        while not self._is_stopped:
            now = time.monotonic()
            if now >= self._tidy_at:
                self._tidy(now)
                self._tidy_at = now + TIDY_S
            is_behind = any(worker.messages for worker in self._workers)
            is_wanted = is_behind or (self._workers and not self._is_retired)
            if not (self._kept or is_wanted) and now >= self._first_by:
                break
            is_waited_for = self._workers or self._first_by == math.inf
            is_idle = not (self._kept or len(self._pending) or is_behind) and is_waited_for
            self._poller.wait(None if is_idle else max(0.0, self._tidy_at - now))
        self._control.close()  # before the workers' connections, whose end means that it listens no more
        if self._is_retired:
            remove_retired(self._folder, f".{os.getpid()}")

    def _retire(self) -> None:
        """Make room for an endpoint that starts. Workers without a session here move to that one."""
        for name in (CONTROL, DATA):
            (self._folder / name).rename(self._folder / f"{name}.{os.getpid()}")
        self._is_retired, self._first_by = True, 0.0
        busy = {kept.worker for kept in self._kept.values()}
        for worker in tuple(self._workers):
            if worker not in busy and not worker.messages:
                self._drop_worker(worker)

    def _tidy(self, now: float) -> None:
        """End sessions, offer orphans, and drop workers, tickets and connections whose time is over."""
        for worker in tuple(self._workers):
            if worker.messages.is_stale(now):
                self._drop_worker(worker)
        for kept in tuple(self._kept.values()):
            session = kept.session
            wake_at = session.wake_at()
            if wake_at is not None and now >= wake_at:
                session.pump(now)
            alone = session.alone_since
            if alone is not None and now - alone >= kept.limit_s:
                session.end(AWAY, f"no client came back within {kept.limit_s:.0f} s", now)
            if kept.idle_s and now - session.moved_at >= kept.idle_s:
                session.end(IDLE, f"no byte moved for {kept.idle_s:g} s", now)
            if kept.worker is None and now - kept.orphan_since >= ORPHAN_S:
                session.end(LOST, "its gateway has ended", now)
            elif kept.worker is None and now >= kept.offer_at:
                self._offer(kept, now)
        for ticket_bytes, ticket in tuple(self._tickets.items()):
            if now >= ticket.until:
                del self._tickets[ticket_bytes]
                if not ticket.is_held:
                    self._send(ticket.worker, f"moved {ticket.number}")
        self._pending.sweep(now)

    def _report_over(self, key: str, code: int, why: str) -> None:
        kept = self._kept.pop(key)
        if kept.worker is not None:
            counts = f"{kept.session.sent} {kept.session.received}"
            self._send(kept.worker, f"over {kept.number} {code} {counts} {why}")

    def _offer(self, kept: _KeptSession, now: float) -> None:
        """Offer a session without a worker to the adopting workers in turn."""
        adopters = [worker for worker in self._workers if worker.adopts]
        if adopters:
            kept.offer_at = now + OFFER_AGAIN_S
            self._offers += 1
            line = f"orphan {kept.id} {kept.format_progress(now)} {kept.note} {kept.owner}"
            self._send(adopters[self._offers % len(adopters)], line)

    # Workers.

    def _accept_worker(self, _readable: bool, _writable: bool) -> None:
        with suppress(OSError):  # it may have left, or there may be no descriptor left
            sock, _ = self._control.accept()
            sock.setblocking(False)
            watch = partial(self._watch_writable, sock.fileno())
            worker = _Worker(MessageQueue(sock, watch))
            self._workers.append(worker)
            self._poller.add(sock.fileno(), partial(self._serve_worker, worker))
            self._send(worker, GREETING)

    def _watch_writable(self, fd: int, is_watched: bool) -> None:
        self._poller.change_events(fd, READ | (WRITE if is_watched else 0))

    def _serve_worker(self, worker: _Worker, readable: bool, writable: bool) -> None:
        if writable:
            with suppress(OSError):  # reading reports it too
                worker.messages.flush()
        if readable:
            self._receive(worker)

    def _receive(self, worker: _Worker) -> None:
        try:
            line, fds = receive(worker.messages.sock)
        except BlockingIOError:
            return
        except OSError:
            line, fds = "", []
        socks = [socket.socket(fileno=fd) for fd in fds]
        try:
            if not worker.greeted:
                worker.greeted = line == GREETING
            elif line:
                self._handle_message(worker, line, socks)
            if not line or not worker.greeted:
                self._drop_worker(worker)
        except ValueError:
            self._drop_worker(worker)
        finally:
            for sock in socks:
                sock.close()

    def _handle_message(self, worker: _Worker, line: str, socks: list[socket.socket]) -> None:
        """Handle a message. `open` takes the socket out of `socks`. Raises ValueError if it is no message."""
        now = time.monotonic()
        word, _, rest = line.partition(" ")
        if word == "open":
            number, key, id_, away_s, idle_s, note, owner = rest.split(" ", 6)
            if key in self._kept or not socks:
                self._send(worker, f"gone {number} this session exists already")
                return
            self._make_room(owner, now)
            target = parse_target(owner.rpartition(" ")[2])
            preface = SshPreface(target) if isinstance(target, Target) else None
            session = Session(
                socks.pop(), self._poller, now, partial(self._report_over, key), preface
            )
            limits = float(away_s), float(idle_s)
            kept = _KeptSession(key, id_, note, owner, *limits, session, worker, number)
            self._kept[key] = kept
            self._give_ticket(worker, number, kept, 0, now)
        elif word == "back":
            number, key, attempt, owner = rest.split(" ", 3)
            known = self._kept.get(key)
            # The same answer for an unknown session and for another owner's.
            if known is None or known.owner != owner:
                self._send(worker, f"gone {number} the session has ended")
            elif int(attempt) <= known.attempt:
                self._send(worker, f"gone {number} a newer connection of this session exists")
            else:
                self._give_ticket(worker, number, known, int(attempt), now)
        elif word in ("end", "limit", "leave"):
            self._change(worker, word, *rest.split(" ", 1))
        elif word == "adopts":
            worker.adopts = rest == "yes"
        elif word == "adopt":
            self._adopt(worker, *rest.split(" ", 1))
        elif word == "retire":
            self._retire()
        elif word == "stop":
            self._is_stopped = True
        else:
            raise ValueError(word)

    def _change(self, worker: _Worker, word: str, number: str, rest: str = "") -> None:
        """Change a session that `worker` has."""
        now = time.monotonic()
        for kept in tuple(self._kept.values()):
            if kept.worker is not worker or kept.number != number:
                continue
            if word == "end":
                kept.session.end(REMOVED, rest, now)
            elif word == "limit":
                kept.limit_s = float(rest)
            else:
                kept.worker, kept.offer_at = None, now + OFFER_AGAIN_S

    def _adopt(self, worker: _Worker, number: str, id_: str) -> None:
        """Give a session without a worker to `worker`, unless its client has brought it to another."""
        for kept in self._kept.values():
            if kept.id == id_ and kept.worker is None:
                kept.worker, kept.number = worker, number
                self._send(worker, f"adopted {number}")
                return
        self._send(worker, f"gone {number} the session has ended, or another worker has it")

    def _give_ticket(
        self, worker: _Worker, number: str, kept: _KeptSession, attempt: int, now: float
    ) -> None:
        ticket = secrets.token_bytes(TICKET_BYTES)
        self._tickets[ticket] = _PendingTicket(kept, worker, number, attempt, now + TICKET_S)
        self._send(worker, f"ticket {number} {ticket.hex()} {kept.id} {kept.format_progress(now)}")

    def _make_room(self, owner: str, now: float) -> None:
        alone = [
            kept
            for kept in self._kept.values()
            if kept.owner == owner and kept.session.alone_since is not None
        ]
        if len(alone) >= MAX_AWAY_OF_OWNER:
            oldest = min(alone, key=lambda kept: kept.session.alone_since or 0.0)
            oldest.session.end(AWAY, f"more than {MAX_AWAY_OF_OWNER} sessions wait", now)

    def _send(self, worker: _Worker, line: str) -> None:
        if worker in self._workers:
            try:
                worker.messages.send(line)
            except OSError:  # it reads nothing, or is gone
                self._drop_worker(worker)

    def _drop_worker(self, worker: _Worker) -> None:
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        self._poller.remove(worker.messages.sock.fileno())
        worker.messages.sock.close()
        now = time.monotonic()
        for kept in self._kept.values():
            if kept.worker is worker:
                kept.worker, kept.orphan_since, kept.offer_at = None, now, now + OFFER_AFTER_S

    # Connections of clients, which arrive through a worker.

    def _use_ticket(self, ticket_bytes: bytes, sock: socket.socket) -> bool:
        ticket = self._tickets.pop(ticket_bytes, None)
        return ticket is not None and self._connect(ticket, sock)

    def _connect(self, ticket: _PendingTicket, sock: socket.socket) -> bool:
        """Give a session its new connection. Return False if the session has ended, or has a newer one."""
        kept, now = ticket.kept, time.monotonic()
        if self._kept.get(kept.key) is not kept:
            counts = f"{kept.session.sent} {kept.session.received}"
            self._send(ticket.worker, f"over {ticket.number} {LOST} {counts} the session has ended")
            return False
        if ticket.attempt <= kept.attempt:
            self._send(ticket.worker, f"moved {ticket.number}")
            return False
        if kept.worker is not None and not ticket.is_held:
            self._send(kept.worker, f"moved {kept.number}")
        is_alive = ticket.worker in self._workers
        kept.worker, kept.number = ticket.worker if is_alive else None, ticket.number
        kept.orphan_since, kept.offer_at = now, now + OFFER_AFTER_S
        kept.attempt = ticket.attempt
        kept.session.connect(sock, now)
        return True
