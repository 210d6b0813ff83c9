"""The process that holds a terminal: its program, its socket, and the attached clients.

It is a loop over one epoll, without asyncio, since there is a process for each terminal, and each import adds
to its memory. `state.TerminalState` makes the decisions.
"""

import os
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from stagedoor.holder.attachments import MAX_LINKS, describe_full
from stagedoor.holder.event_poller import READ, WRITE, EventPoller
from stagedoor.holder.folder import mark_locked
from stagedoor.holder.people import TerminalPeople
from stagedoor.holder.program import TerminalProgram
from stagedoor.holder.state import Action, HangUpLink, Redraw, Send, SetSize
from stagedoor.wire.terminal.codec import FrameBuffer, decode, encode_framed
from stagedoor.wire.terminal.frames import (
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
    TerminalError,
    describe_misplaced,
)

HELLO_S = 10.0
"""How many seconds a link may take for its HELLO. A holder without any HELLO by then ends."""
_LAST_READS = 16
_FULL_BYTES = 256 * 1024
"""The number of unsent bytes at which a client gets no more PEOPLE."""


@dataclass(eq=False, slots=True)
class _Link:
    """A connection.

    It `is_attached` after its HELLO, and `is_closing` once nothing more is read from it. `is_watching` is
    None until its HELLO is accepted.
    """

    number: int
    connection: socket.socket
    due_at: float
    frames: FrameBuffer = field(default_factory=FrameBuffer)
    unsent: bytearray = field(default_factory=bytearray)
    is_attached: bool = False
    is_closing: bool = False
    is_watching: bool | None = None


class Holder:
    """One terminal. `run` returns when its program has ended and its last output is sent."""

    def __init__(self, listener: socket.socket, path: Path) -> None:
        """Create a holder, which `run` runs. `path` is that of the socket `listener`."""
        self._listener = listener
        self._path = path
        self._is_marked_locked = False
        self._poller = EventPoller()
        self._links: dict[int, _Link] = {}
        self._people = TerminalPeople()
        self._last_number = 0
        self._program: TerminalProgram | None = None
        self._first_hello_by = time.monotonic() + HELLO_S
        listener.setblocking(False)
        self._poller.add(listener.fileno(), self._accept)

    def run(self) -> None:
        """Serve until the terminal is over. Blocks."""
        while True:
            now = time.monotonic()
            self._prepare(now)
            if self._is_over(now):
                return
            wake_at = self._wake_at(now)
            self._poller.wait(None if wake_at is None else max(wake_at - now, 0.0))

    # Between events.

    def _prepare(self, now: float) -> None:
        program = self._program
        self._notify_people(now)
        for link in list(self._links.values()):
            if not link.is_attached and now >= link.due_at:
                self._drop(link)
        for link in list(self._links.values()):
            if link.is_closing and not link.unsent:
                self._drop(link)
                continue
            events = 0 if link.is_closing else READ
            self._poller.change_events(
                link.connection.fileno(), events | (WRITE if link.unsent else 0)
            )
        if program is None or program.has_ended:
            return
        program.grow(now)
        events = 0 if program.has_hung_up or not program.state.is_output_due(now) else READ
        typing = program.state.typed and not program.has_hung_up
        self._poller.change_events(program.fd, events | (WRITE if typing else 0))

    def _wake_at(self, now: float) -> float | None:
        moments = [link.due_at for link in self._links.values() if not link.is_attached]
        if self._program is None:
            moments += [] if self._links else [self._first_hello_by]
        else:
            state = self._program.state
            for moment in (self._program.grow_at, state.wake_at(now), self._people.find_due_at()):
                moments += [] if moment is None else [moment]
        return min(moments, default=None)

    def _is_over(self, now: float) -> bool:
        program = self._program
        if self._links:
            return False
        if program is None:
            return now >= self._first_hello_by
        return program.has_ended and program.state.is_over(now)

    # Input.

    def _accept(self, _readable: bool, _writable: bool) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            connection, _address = self._listener.accept()
            if len(self._links) >= MAX_LINKS:
                connection.close()
                return
            connection.setblocking(False)
            self._last_number += 1
            link = _Link(self._last_number, connection, time.monotonic() + HELLO_S)
            self._links[link.number] = link
            self._poller.add(connection.fileno(), partial(self._serve, link))

    def _serve(self, link: _Link, readable: bool, writable: bool) -> None:
        if writable:
            self._flush(link)
        if not readable or link.is_closing or link.number not in self._links:
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
            for encoded in link.frames.feed(data):
                if not link.is_closing:
                    self._receive(link, decode(encoded))
        except TerminalError as error:
            self._refuse(link, str(error))

    def _receive(self, link: _Link, frame: Frame) -> None:
        now = time.monotonic()
        if link.is_attached and self._program is not None:
            self._handle(link, self._program, frame, now)
        elif not isinstance(frame, Hello):
            self._refuse(link, "the first frame is no HELLO")
        elif self._program is None and frame.mode is Mode.WATCH:
            self._refuse(link, "this terminal has not begun yet")  # only its host starts it
        elif why := self._people.refusal(frame, now):
            self._refuse(link, why, NoticeKind.DENIED)
        elif why := self._no_place(frame):
            self._refuse(link, why)
        else:
            try:
                program = self._program or TerminalProgram.start(frame)
            except OSError as error:
                self._refuse(link, f"the terminal cannot be started: {error.strerror}")
                return
            if self._program is None:
                self._program = program
                self._poller.add(program.pidfd, partial(self._exited, program))
                self._poller.add(program.fd, partial(self._serve_terminal, program))
            link.is_attached, link.is_watching = True, frame.mode is Mode.WATCH
            self._people.add_client(link.number, frame, now)
            self._perform(program.state.attach_link(link.number, frame, secrets.token_hex(16), now))

    def _handle(self, link: _Link, program: TerminalProgram, frame: Frame, now: float) -> None:
        """Handle a frame of an admitted client."""
        match frame:
            case Ping():
                program.state.busy = program.is_busy()
            case In():
                self._people.note_input(link.number)
            case Remove() | Lock() if not self._people.may_rule(link.number):
                self._refuse(link, describe_misplaced(frame))
                return
            case Remove() | Lock():
                removed = (
                    self._people.remove(link.number, frame.number)
                    if isinstance(frame, Remove)
                    else self._people.lock(link.number, frame.on)
                )
                for number, notice in removed.items():
                    self._perform(
                        [Send(number, notice), *program.state.handle_frame(number, Detach(), now)]
                    )
                return
            case _:
                pass
        self._perform(program.state.handle_frame(link.number, frame, now))

    def _notify_people(self, now: float) -> None:
        due = self._people.take_due(now)
        if self._people.is_locked != self._is_marked_locked:
            with suppress(OSError):  # only the list of terminals is wrong then
                mark_locked(self._path, self._people.is_locked)
            self._is_marked_locked = self._people.is_locked
        self._perform(
            [
                Send(number, people)
                for number, people in due.items()
                if number in self._links and len(self._links[number].unsent) < _FULL_BYTES
            ]
        )

    def _no_place(self, hello: Hello) -> str | None:
        """Return why there is no room for this client, or None. A link that hangs up keeps its place."""
        replaced = self._program.state.find_replaced(hello) if self._program is not None else None
        taken = [link.is_watching for number, link in self._links.items() if number != replaced]
        return describe_full(hello, taken.count(True), taken.count(False))

    def _serve_terminal(self, program: TerminalProgram, readable: bool, writable: bool) -> None:
        if writable and program.state.typed:
            with suppress(OSError):
                self._perform(program.state.drop_taken(program.write_input()))
        if readable:
            self._read_output(program)

    def _read_output(self, program: TerminalProgram) -> bool:
        """Pass output of the program on. Return False if there was none."""
        data = program.read_output()
        if data:
            self._perform(program.state.take_output(data, time.monotonic()))
        return bool(data)

    def _exited(self, program: TerminalProgram, _readable: bool, _writable: bool) -> None:
        """Reap the ended program, and read its last output from the terminal.

        It does not wait for processes left in the background, which may write without end.
        """
        self._poller.remove(program.pidfd)
        status, name = program.reap()
        for _ in range(_LAST_READS):
            if not self._read_output(program):
                break
        self._poller.remove(program.fd)
        os.close(program.fd)
        program.has_ended = True
        self._perform(program.state.note_exit(status, name))

    # Output.

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(number, frame):
                    link = self._links.get(number)
                    if link is not None and not link.is_closing:
                        link.unsent += encode_framed(frame)
                case HangUpLink(number):
                    link = self._links.get(number)
                    if link is not None:
                        self._close_soon(link)
                case SetSize(size) if self._program is not None:
                    self._program.resize(size)
                case Redraw(size) if size.rows > 1 and self._program is not None:
                    self._program.redraw(size, time.monotonic())
        for link in list(self._links.values()):
            self._flush(link)

    def _flush(self, link: _Link) -> None:
        with suppress(BlockingIOError):
            try:
                while link.unsent:
                    del link.unsent[: link.connection.send(link.unsent)]
            except ConnectionError:
                self._drop(link)

    def _refuse(self, link: _Link, why: str, kind: NoticeKind = NoticeKind.FAULT) -> None:
        link.unsent += encode_framed(Notice(kind, why))
        self._close_soon(link)
        self._flush(link)

    def _close_soon(self, link: _Link) -> None:
        """Close a link once its unsent bytes are written, or after `HELLO_S` if it does not read them."""
        link.is_closing, link.is_attached = True, False
        link.due_at = time.monotonic() + HELLO_S
        self._detach(link)

    def _drop(self, link: _Link) -> None:
        if self._links.pop(link.number, None) is not None:
            self._poller.remove(link.connection.fileno())
            link.connection.close()
            self._detach(link)

    def _detach(self, link: _Link) -> None:
        now = time.monotonic()
        self._people.remove_client(link.number, now)
        if self._program is not None:
            self._program.state.detach_link(link.number, now)
