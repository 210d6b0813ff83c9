"""`stagedoor attach`: a terminal of the app in this one, which a cut line does not end."""

from __future__ import annotations

import math
import os
import select
import signal
import time
from contextlib import suppress

from stagedoor.client import tunnel
from stagedoor.client.attach.attachment import (
    Attachment,
    Ended,
    Event,
    NoticeLine,
    Skipped,
    WriteOutput,
)
from stagedoor.client.attach.dialling import RETRY_S, LineWatch
from stagedoor.client.attach.escape import HELP_TEXT, Escape, Escapes
from stagedoor.client.attach.pipe_input import PipeInput
from stagedoor.client.attach.presence import PresenceReport
from stagedoor.client.attach.request import FAILED, AttachRequest
from stagedoor.client.attach.screen import Screen
from stagedoor.client.attach.secret_prompt import AttachError, SecretPrompt, UnreadError
from stagedoor.client.attach.signals import Signals
from stagedoor.client.attach.size_notice import SizeNotice
from stagedoor.client.attach.web import Connection
from stagedoor.client.attach.work_thread import WorkThread
from stagedoor.client.http import LostError
from stagedoor.wire.output_parser import OutputParser
from stagedoor.wire.terminal import (
    Detach,
    Mode,
    NoticeKind,
    Ping,
    Resize,
    Sized,
    TerminalError,
    Upstream,
)

__all__ = ["FAILED", "Attach", "AttachError", "AttachRequest", "UnreadError"]

_READ = 32 * 1024
_INTERRUPT = b"\x03"
_CAUGHT = (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGCONT)


class Attach:
    """One run, over as many connections as it takes."""

    def __init__(self, wanted: AttachRequest, attachment: Attachment, screen: Screen) -> None:
        self._wanted = wanted
        self._attachment = attachment
        self._screen = screen
        self._drawing = OutputParser(utf8=wanted.utf8) if attachment.mode is Mode.WATCH else None
        self._escapes = Escapes()
        self._asker = SecretPrompt(wanted.options)
        self._company = PresenceReport()
        self._size_notice = SizeNotice(screen, attachment)
        self._connection: Connection | None = None
        self._piped = PipeInput(stays=wanted.stays)
        self._interrupted = False
        self._line = LineWatch(self._reach, screen.note, wanted.log)
        self._news = Signals()
        self._result: int | None = None
        self._redraw = False

    def run(self) -> int:
        """Until the program has ended, or somebody detaches; the exit code. Raises AttachError."""
        self._news.start(*_CAUGHT)
        try:
            try:
                self._begin(*self._reach())
            except LostError as error:
                raise AttachError(str(error)) from None
            self._screen.enter()
            if not (self._screen.is_terminal or self._wanted.stays):
                self._news.catch(signal.SIGINT)
            while self._result is None:
                try:
                    self._turn()
                except LostError as error:
                    self._lost(str(error))
            return self._result
        finally:
            self._screen.leave()
            self._line.give_up()
            if self._connection is not None:
                self._connection.close()

    # Logging in.

    def _begin(self, connection: Connection, ticket: str) -> None:
        """Raises LostError where it is worth another try, AttachError where it is not."""
        self._connection = connection
        self._size_notice.ours()
        try:
            connection.send(self._attachment.hello(ticket))
            self._line.heard(now := time.monotonic())
            if self._attachment.window:
                # A client that was in before waits for no shell that starts.
                self._line.sent(now, hello=True)
            self._take(connection.early())
        except LostError:
            connection.close()
            self._connection = None
            raise

    def _connect_again(self) -> None:
        """The same, with an ear for the keys that are for us, however long an answer takes."""
        reaching = WorkThread(self._reach)
        self._pause(math.inf, reaching.done_fd)
        if self._result is None:
            self._begin(*reaching.result())

    def _reach(self) -> tuple[Connection, str]:
        """The way to the gateway, and the ticket to show there."""
        try:
            connection = Connection(self._wanted.options, self._wanted.path)
        except tunnel.TunnelError as error:
            raise LostError(error.line) from None
        try:
            ticket = self._ticket(connection)
            connection.open()
        except (LostError, AttachError):
            connection.close()
            raise
        return connection, ticket

    def _ticket(self, connection: Connection) -> str:
        wanted = self._wanted
        been_in = bool(self._attachment.window)
        if wanted.session:
            about = f"{wanted.session} may not be watched by {wanted.options.user}"
            asked: dict[str, object] = {"watch": wanted.session}
            said = self._asker.ask(connection, "guest-ticket", asked, about, been_in=been_in)
            self._attachment.terminal = str(said["terminal"])
            if not been_in and os.isatty(2):
                who, where = (tunnel.clean(str(said[name])) for name in ("host", "app"))
                self._screen.tell(f"stagedoor: watching {who} in {where}; Enter ~. ends it")
            return str(said["ticket"])
        about = f"{wanted.target} is not open to {wanted.options.user}"
        asked = {"target": wanted.target}
        return str(self._asker.ask(connection, "ticket", asked, about, been_in=been_in)["ticket"])

    def _lost(self, why: str) -> None:
        """The line is cut: come back, for as long as it takes."""
        self._wanted.log(f"lost: {why}")
        self._line.give_up()
        self._screen.note("line lost; trying again")
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._attachment.attached = False
        lost_at = time.monotonic()
        tries = 0
        while self._result is None and self._connection is None:
            self._pause(RETRY_S[min(tries, len(RETRY_S) - 1)])
            tries += 1
            if self._result is not None:
                return
            try:
                self._connect_again()
            except LostError as error:
                self._wanted.log(f"try {tries}: {error}")
        if self._connection is not None:
            self._wanted.log(f"back after {time.monotonic() - lost_at:.1f} s")

    def _pause(self, seconds: float, news: int = -1) -> None:
        """Wait for so long, or for the descriptor `news`, with an ear for the keys that are for us."""
        until = time.monotonic() + seconds
        while self._result is None and (left := until - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(self._news.fd, select.POLLIN)
            if news >= 0:
                poll.register(news, select.POLLIN)
            if not self._piped.ended and self._attachment.has_room:
                poll.register(0, select.POLLIN)
            for fd, _ in poll.poll(None if left == math.inf else left * 1000):
                if fd == news:
                    return
                self._signals() if fd == self._news.fd else self._typed()

    # One turn of the loop.

    def _turn(self) -> None:
        connection = self._connection
        assert connection is not None, "a turn is taken only while connected"
        poll = select.poll()
        poll.register(self._news.fd, select.POLLIN)
        poll.register(
            connection.read_fd, select.POLLIN | (select.POLLOUT if connection.has_unsent else 0)
        )
        if not self._piped.ended and self._attachment.has_room:
            poll.register(0, select.POLLIN)
        if self._line.done_fd is not None:
            poll.register(self._line.done_fd, select.POLLIN)
        now = time.monotonic()
        due = self._line.due(now)
        if self._input_is_over:
            due = min(due, self._piped.due)
        for fd, events in poll.poll(max(due - now, 0.0) * 1000):
            if fd == self._news.fd:
                self._signals()
            elif fd == self._line.done_fd:
                if (reached := self._line.reached(time.monotonic())) is not None:
                    connection.close()
                    self._attachment.attached = False
                    self._begin(*reached)
                return
            elif fd == 0:
                self._typed()
            else:
                if events & select.POLLOUT:
                    connection.flush()
                if events & ~select.POLLOUT:
                    frames = connection.receive()
                    self._line.heard(time.monotonic())
                    self._take(frames)
            if self._result is not None:
                return
        if self._input_is_over:
            self._end_input()
        self._send_typed()
        if self._redraw:
            # Only somebody new is shown the whole screen.
            self._redraw = False
            self._attachment.forget()
            raise LostError("to be redrawn")
        if self._line.tick(now := time.monotonic()):
            connection.send(Ping(int(now * 1000)))

    @property
    def _input_is_over(self) -> bool:
        """Whether what is piped in has ended, and the terminal has taken all that came of it."""
        attachment = self._attachment
        taken = attachment.attached and not attachment.waits
        return self._piped.ended and taken and attachment.mode is not Mode.WATCH

    def _send_typed(self) -> None:
        if self._connection is not None:
            for frame in self._attachment.sendable():
                self._size_notice.ours()
                self._connection.send(frame)
                self._line.sent(time.monotonic())

    def _take(self, frames: list[Upstream]) -> None:
        shown = False
        for frame in frames:
            try:
                events = self._attachment.received(frame)
            except TerminalError as error:
                raise LostError(str(error)) from None
            for event in events:
                shown = self._do(event) or shown
        if shown and self._connection is not None and self._result is None:
            self._connection.send(self._attachment.shown())

    def _do(self, event: Event) -> bool:
        """Whether it was output that is to be acknowledged."""
        match event:
            case WriteOutput(data, counts):
                if self._drawing is not None:
                    data = self._drawing.feed(data)
                try:
                    self._screen.show(data)
                except OSError as error:
                    self._finish(FAILED)
                    kind = UnreadError if isinstance(error, BrokenPipeError) else AttachError
                    raise kind(f"what it shows cannot be written: {error.strerror}") from None
                self._size_notice.look()
                if self._wanted.record is not None:
                    self._wanted.record(data)
                return counts
            case Skipped(count):
                if self._drawing is not None:
                    self._drawing.begin()
                self._screen.clear()
                self._wanted.log(
                    f"{count} bytes of output were not kept"
                    if count
                    else "the terminal is another one"
                )
            case Ended(code, _):
                self._finish(code)
            case NoticeLine(word, text):
                self._said(word, text)
            case Sized(size):
                self._size_notice.sized(size)
            case people:
                if (news := self._company.news(people)) is not None:
                    self._screen.mark(*news)
        return False

    def _said(self, word: NoticeKind, text: str) -> None:
        shown = tunnel.clean(text)
        self._wanted.log(f"{word.name.lower()}: {shown}")
        match word:
            case NoticeKind.PROGRESS:
                if not self._attachment.window and os.isatty(2):
                    self._screen.tell(f"stagedoor: {self._wanted.target}: {shown}")
            case NoticeKind.DENIED | NoticeKind.REVOKED | NoticeKind.FAULT:
                raise AttachError(shown)
            case NoticeKind.DETACHED if "taken over" in text:
                raise AttachError(f"detached: {shown}")
            case _:
                pass  # RECORDED is a mark of a page; a stopping gateway hangs up next

    def _finish(self, code: int) -> None:
        if self._connection is not None:
            with suppress(LostError):
                self._connection.send(self._attachment.shown())
                self._connection.send(Detach())
        self._result = code

    # What the person does.

    def _typed(self) -> None:
        try:
            data = os.read(0, _READ)
        except OSError:
            data = b""
        if not data and self._screen.is_terminal:
            self._finish(FAILED)  # its window was closed; SIGHUP may come later, or to others only
            return
        if not self._screen.is_terminal:
            self._attachment.type(self._piped.feed(data, time.monotonic()))
            return
        for each in self._escapes.feed(data):
            match each:
                case bytes() if self._screen.is_covered:
                    self._size_notice.pressed()  # it goes no further: nobody would see what it does
                    self._redraw = True
                case bytes():
                    self._attachment.type(each)
                case Escape.DETACH:
                    self._finish(0)
                    self._screen.leave()
                    self._screen.tell(
                        f"stagedoor: detached from {self._attachment.terminal} of {self._wanted.target}"
                    )
                    return
                case Escape.SUSPEND:
                    self._suspend()
                case Escape.HELP:
                    self._screen.tell(HELP_TEXT)

    def _end_input(self) -> None:
        """The program is to end as well."""
        end = self._piped.again(time.monotonic())
        if end is None:
            self._finish(0)
        else:
            self._attachment.type(end)

    def _signals(self) -> None:
        news = self._news.take()
        if {signal.SIGTERM, signal.SIGHUP} & news:
            self._finish(FAILED)
            return
        if signal.SIGINT in news:
            self._interrupt()
        if signal.SIGTSTP in news:
            self._suspend()
        if signal.SIGWINCH in news or signal.SIGCONT in news:
            self._resize()

    def _interrupt(self) -> None:
        """Ctrl-C where no key is handed on: it is for the program, which would run on, seen by nobody."""
        attachment = self._attachment
        if self._interrupted or not attachment.attached or attachment.mode is Mode.WATCH:
            raise KeyboardInterrupt
        self._interrupted = True
        attachment.type(_INTERRUPT)

    def _suspend(self) -> None:
        self._screen.leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._screen.enter()
        self._resize()
        self._redraw = self._screen.is_full

    def _resize(self) -> None:
        size = self._screen.size()
        if size != self._attachment.size:
            self._attachment.size = size
            if self._attachment.mode is not Mode.WATCH:
                self._size_notice.ours()
            self._redraw |= self._size_notice.look()
            if self._connection is not None:
                self._connection.send(Resize(size))
