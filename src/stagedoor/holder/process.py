"""The process that holds one terminal: its program, its socket, and the attached clients.

A loop over one epoll, without asyncio: there is a process for each terminal, and what it imports is
what it weighs. Decisions are `state.TerminalState`'s.
"""

import os
import secrets
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from stagedoor.holder.attachments import AttachmentTable
from stagedoor.holder.event_poller import READ, WRITE, EventPoller
from stagedoor.holder.folder import mark_locked
from stagedoor.holder.limits import MAX_LINKS, refusal
from stagedoor.holder.spawn import Child, set_size, spawn
from stagedoor.holder.state import Action, HangUp, Redraw, Send, SetSize, TerminalState
from stagedoor.wire.frames import FrameBuffer, decode, framed
from stagedoor.wire.terminal import (
    MAX_DATA_BYTES,
    Detach,
    Frame,
    Hello,
    In,
    Lock,
    Mode,
    Notice,
    NoticeKind,
    Ping,
    Remove,
    Size,
    TerminalError,
    foreign,
)

REDRAW_S = 0.06
"""How long a window stays one row smaller: a program that looks at once must see the difference."""
HELLO_S = 10.0
"""A link that has not said hello by then is closed; a holder to whom nobody has said it ends."""
_READ_BYTES = 16 * 1024
_LAST_READS = 16
_FULL_BYTES = 256 * 1024
"""One who has not read so much is not told who is here."""


@dataclass(eq=False, slots=True)
class _Link:
    """A connection. `attached` once it has said hello; `closing` once nothing more is read. `watches` is
    None until it has a place."""

    number: int
    connection: socket.socket
    due_at: float
    frames: FrameBuffer = field(default_factory=FrameBuffer)
    unsent: bytearray = field(default_factory=bytearray)
    attached: bool = False
    closing: bool = False
    watches: bool | None = None


@dataclass(eq=False, slots=True)
class _Program:
    """What was started. `hung_up` once nobody writes to its terminal, `ended` once it is gone."""

    child: Child
    state: TerminalState
    pidfd: int
    hung_up: bool = False
    ended: bool = False
    grow_at: float | None = None

    def is_busy(self) -> bool:
        """Whether a job that it has started has the terminal's foreground (tcgetpgrp(3)).

        0 until the program has made the terminal its own. A session's first process leads its group.
        """
        if self.ended:
            return False
        with suppress(OSError):
            return os.tcgetpgrp(self.child.fd) not in (0, self.child.pid)
        return False


class Holder:
    """One terminal. `run` returns when its program has ended and its last words were said."""

    def __init__(self, listener: socket.socket, path: Path) -> None:
        """`path` is that of the socket `listener`."""
        self._listener = listener
        self._path = path
        self._marked_locked = False
        self._watches = EventPoller()
        self._links: dict[int, _Link] = {}
        self._roster = AttachmentTable()
        self._count = 0
        self._program: _Program | None = None
        self._lonely_until = time.monotonic() + HELLO_S
        listener.setblocking(False)
        self._watches.add(listener.fileno(), self._accept)

    def run(self) -> None:
        """Serve until it is over. Blocks."""
        while True:
            now = time.monotonic()
            self._look_after(now)
            if self._is_over(now):
                return
            wake_at = self._wake_at(now)
            self._watches.wait(None if wake_at is None else max(wake_at - now, 0.0))

    # Between events.

    def _look_after(self, now: float) -> None:
        program = self._program
        self._tell_people(now)
        for link in list(self._links.values()):
            if not link.attached and now >= link.due_at:
                self._drop(link)
        for link in list(self._links.values()):
            if link.closing and not link.unsent:
                self._drop(link)
                continue
            events = 0 if link.closing else READ
            self._watches.want(link.connection.fileno(), events | (WRITE if link.unsent else 0))
        if program is None or program.ended:
            return
        if program.grow_at is not None and now >= program.grow_at:
            program.grow_at = None
            set_size(program.child.fd, program.state.size)
        events = 0 if program.hung_up or not program.state.wants_output(now) else READ
        typing = program.state.typed and not program.hung_up
        self._watches.want(program.child.fd, events | (WRITE if typing else 0))

    def _wake_at(self, now: float) -> float | None:
        moments = [link.due_at for link in self._links.values() if not link.attached]
        if self._program is None:
            moments += [] if self._links else [self._lonely_until]
        else:
            state = self._program.state
            for moment in (self._program.grow_at, state.wake_at(now), self._roster.due_at()):
                moments += [] if moment is None else [moment]
        return min(moments, default=None)

    def _is_over(self, now: float) -> bool:
        program = self._program
        if self._links:
            return False
        if program is None:
            return now >= self._lonely_until
        return program.ended and program.state.is_over(now)

    # What comes in.

    def _accept(self, _readable: bool, _writable: bool) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            connection, _address = self._listener.accept()
            if len(self._links) >= MAX_LINKS:
                connection.close()
                return
            connection.setblocking(False)
            self._count += 1
            link = _Link(self._count, connection, time.monotonic() + HELLO_S)
            self._links[link.number] = link
            self._watches.add(connection.fileno(), partial(self._serve, link))

    def _serve(self, link: _Link, readable: bool, writable: bool) -> None:
        if writable:
            self._flush(link)
        if not readable or link.closing or link.number not in self._links:
            return
        try:
            data = link.connection.recv(MAX_DATA_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(link)
            return
        try:
            for each in link.frames.feed(data):
                if not link.closing:
                    self._take(link, decode(each))
        except TerminalError as error:
            self._refuse(link, str(error))

    def _take(self, link: _Link, frame: Frame) -> None:
        now = time.monotonic()
        if link.attached and self._program is not None:
            self._heed(link, self._program, frame, now)
        elif not isinstance(frame, Hello):
            self._refuse(link, "the first frame is no HELLO")
        elif self._program is None and frame.mode is Mode.WATCH:
            self._refuse(link, "this terminal has not begun yet")  # and begins for its host
        elif why := self._roster.refusal(frame, now):
            self._refuse(link, why, NoticeKind.DENIED)
        elif why := self._no_place(frame):
            self._refuse(link, why)
        else:
            try:
                program = self._program or self._start(frame)
            except OSError as error:
                self._refuse(link, f"the terminal cannot be started: {error.strerror}")
                return
            link.attached, link.watches = True, frame.mode is Mode.WATCH
            self._roster.came(link.number, frame, now)
            self._do(program.state.hello(link.number, frame, secrets.token_hex(16), now))

    def _heed(self, link: _Link, program: _Program, frame: Frame, now: float) -> None:
        """A frame of one who has been let in."""
        match frame:
            case Ping():
                program.state.busy = program.is_busy()
            case In():
                self._roster.typed(link.number)
            case Remove() | Lock() if not self._roster.may_rule(link.number):
                self._refuse(link, foreign(frame))
                return
            case Remove(number):
                self._send_away(program, self._roster.remove(link.number, number), now)
                return
            case Lock(on):
                self._send_away(program, self._roster.lock(link.number, on), now)
                return
            case _:
                pass
        self._do(program.state.received(link.number, frame, now))

    def _send_away(self, program: _Program, away: dict[int, Notice], now: float) -> None:
        for number, notice in away.items():
            self._do([Send(number, notice), *program.state.received(number, Detach(), now)])

    def _tell_people(self, now: float) -> None:
        due = self._roster.due(now)
        if self._roster.locked != self._marked_locked:
            with suppress(OSError):  # then only the list of terminals is wrong
                mark_locked(self._path, self._roster.locked)
            self._marked_locked = self._roster.locked
        self._do(
            [
                Send(number, people)
                for number, people in due.items()
                if number in self._links and len(self._links[number].unsent) < _FULL_BYTES
            ]
        )

    def _no_place(self, hello: Hello) -> str | None:
        """Why they cannot come. Those that are hanging up keep their places until they are gone."""
        replaced = self._program.state.replaced_by(hello) if self._program is not None else None
        taken = [each.watches for number, each in self._links.items() if number != replaced]
        return refusal(hello, taken.count(True), taken.count(False))

    def _start(self, hello: Hello) -> _Program:
        child = spawn(hello)
        program = _Program(child, TerminalState(hello.size), os.pidfd_open(child.pid))
        self._program = program
        self._watches.add(program.pidfd, partial(self._exited, program))
        self._watches.add(child.fd, partial(self._terminal, program))
        return program

    def _terminal(self, program: _Program, readable: bool, writable: bool) -> None:
        if writable and program.state.typed:
            with suppress(OSError):
                written = os.write(program.child.fd, program.state.typed[:_READ_BYTES])
                self._do(program.state.took(written))
        if readable:
            self._show(program)

    def _show(self, program: _Program) -> bool:
        """Read what the program has written; False if that was nothing."""
        data = bytearray()
        # The kernel gives 4 KiB at a time; fewer, larger frames cost everybody less.
        while len(data) <= MAX_DATA_BYTES - _READ_BYTES:
            try:
                piece = os.read(program.child.fd, _READ_BYTES)
            except BlockingIOError:
                break
            except OSError:  # EIO: nobody has the other end open any more (pty(7))
                piece = b""
            if not piece:
                program.hung_up = True
                break
            data += piece
        if data:
            self._do(program.state.shown(bytes(data), time.monotonic()))
        return bool(data)

    def _exited(self, program: _Program, _readable: bool, _writable: bool) -> None:
        """The program is gone. Its last words are still in the terminal; what it has left running in
        the background may go on writing without end, and is not waited for."""
        _pid, status = os.waitpid(program.child.pid, 0)
        self._watches.remove(program.pidfd)
        os.close(program.pidfd)
        for _ in range(_LAST_READS):
            if not self._show(program):
                break
        self._watches.remove(program.child.fd)
        os.close(program.child.fd)
        program.ended = True
        code = os.waitstatus_to_exitcode(status)
        name = ""
        with suppress(ValueError):  # most of the realtime signals have no name
            name = signal.Signals(-code).name.removeprefix("SIG") if code < 0 else ""
        ended = code if code >= 0 else 128 - code
        self._do(program.state.exited(ended, name, time.monotonic()))

    # What goes out.

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(number, frame):
                    link = self._links.get(number)
                    if link is not None and not link.closing:
                        link.unsent += framed(frame)
                case HangUp(number):
                    link = self._links.get(number)
                    if link is not None:
                        self._close_soon(link)
                case SetSize(size):
                    self._resize(size)
                case Redraw(size) if size.rows > 1 and self._program is not None:
                    self._resize(replace(size, rows=size.rows - 1))
                    self._program.grow_at = time.monotonic() + REDRAW_S
        for link in list(self._links.values()):
            self._flush(link)

    def _resize(self, size: Size) -> None:
        if self._program is not None and not self._program.ended:
            set_size(self._program.child.fd, size)

    def _flush(self, link: _Link) -> None:
        with suppress(BlockingIOError):
            try:
                while link.unsent:
                    del link.unsent[: link.connection.send(link.unsent)]
            except ConnectionError:
                self._drop(link)

    def _refuse(self, link: _Link, why: str, word: NoticeKind = NoticeKind.FAULT) -> None:
        link.unsent += framed(Notice(word, why))
        self._close_soon(link)
        self._part(link)
        self._flush(link)

    def _close_soon(self, link: _Link) -> None:
        """Once what it was sent is written; one that does not read has no longer for that than another
        for its first frame."""
        link.closing, link.attached = True, False
        self._roster.left(link.number, time.monotonic())
        link.due_at = time.monotonic() + HELLO_S

    def _drop(self, link: _Link) -> None:
        if self._links.pop(link.number, None) is not None:
            self._watches.remove(link.connection.fileno())
            link.connection.close()
            self._roster.left(link.number, time.monotonic())
            self._part(link)

    def _part(self, link: _Link) -> None:
        if self._program is not None:
            self._program.state.lost(link.number, time.monotonic())
