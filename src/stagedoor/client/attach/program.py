"""`stagedoor attach`: show an app's terminal in this one, and reconnect when the connection is lost."""

from __future__ import annotations

import math
import os
import select
import signal
import time
from contextlib import suppress

from stagedoor.client.attach.attachment import (
    Attachment,
    Event,
    OutputGap,
    WriteOutput,
)
from stagedoor.client.attach.descriptors import Signals, WorkThread
from stagedoor.client.attach.dialling import RETRY_S, ConnectionWatch, TerminalDialer
from stagedoor.client.attach.request import FAILED, AttachRequest
from stagedoor.client.attach.screen import Screen
from stagedoor.client.attach.screen_writer import ScreenWriter
from stagedoor.client.attach.secret_prompt import AttachError, UnreadError
from stagedoor.client.attach.size_notice import SizeNotice
from stagedoor.client.attach.typed_input import HELP_TEXT, Escape, Escapes, PipeInput
from stagedoor.client.attach.web import LostError, TerminalConnection
from stagedoor.wire.terminal.frames import (
    Detach,
    Exit,
    HolderFrame,
    Mode,
    Notice,
    Ping,
    Resize,
    Sized,
    TerminalError,
)

_READ_BYTES = 32 * 1024
_INTERRUPT = b"\x03"
_CAUGHT = (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGCONT)


class Attach:
    """A run of `stagedoor attach`, over any number of connections."""

    def __init__(self, request: AttachRequest, attachment: Attachment, screen: Screen) -> None:
        self._request = request
        self._attachment = attachment
        self._screen = screen
        self._escapes = Escapes()
        self._writer = ScreenWriter(request, attachment, screen)
        self._size_notice = SizeNotice(screen, attachment)
        self._connection: TerminalConnection | None = None
        self._piped = PipeInput(is_shared=request.is_shared)
        self._has_interrupted = False
        self._dial = TerminalDialer(request, attachment, screen).dial
        self._watch = ConnectionWatch(self._dial, screen.note, request.log)
        self._signals = Signals()
        self._result: int | None = None
        self._is_redraw_due = False

    def run(self) -> int:
        """Run until the program ends or the person detaches; return the exit code. Raises AttachError."""
        try:
            try:
                result = self._dial()
                # Until the first dial is over, signals end or suspend this process as usual.
                self._signals.start(*_CAUGHT)
                self._attachment.size = self._screen.read_size()
                self._begin(*result)
            except LostError as error:
                raise AttachError(str(error)) from None
            self._screen.enter()
            if not (self._screen.is_terminal or self._request.is_shared):
                self._signals.catch(signal.SIGINT)
            while self._result is None:
                try:
                    self._run_once()
                except LostError as error:
                    self._recover(str(error))
            return self._result
        finally:
            self._screen.leave()
            self._watch.reset()
            if self._connection is not None:
                self._connection.close()

    # Connecting.

    def _begin(self, connection: TerminalConnection, ticket: str) -> None:
        """Attach over a new connection. Raises LostError if another connection may help, else AttachError."""
        self._connection = connection
        self._size_notice.forget_size()
        try:
            connection.send(self._attachment.make_hello(ticket))
            self._watch.note_answer(now := time.monotonic())
            if self._attachment.window:
                # The client was attached before, so no shell has to start: expect an answer soon.
                self._watch.note_sent(now, hello=True)
            self._handle(connection.receive())
        except LostError:
            connection.close()
            self._connection = None
            raise

    def _reconnect(self) -> None:
        """Connect and attach again, and keep handling the escape keys meanwhile."""
        thread = WorkThread(self._dial)
        self._pause(math.inf, thread.done_fd)
        if self._result is None:
            self._begin(*thread.join())

    def _recover(self, why: str) -> None:
        """Reconnect after the connection was lost, with no time limit. Raises AttachError."""
        self._request.log(f"lost: {why}")
        self._watch.reset()
        self._screen.note("connection lost; reconnecting")
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._attachment.is_attached = False
        lost_at = time.monotonic()
        tries = 0
        while self._result is None and self._connection is None:
            self._pause(RETRY_S[min(tries, len(RETRY_S) - 1)])
            tries += 1
            if self._result is not None:
                return
            try:
                self._reconnect()
            except LostError as error:
                self._request.log(f"try {tries}: {error}")
        if self._connection is not None:
            self._request.log(f"back after {time.monotonic() - lost_at:.1f} s")

    def _pause(self, seconds: float, done_fd: int = -1) -> None:
        """Wait for `seconds`, or until `done_fd` is readable, and handle keys and signals meanwhile."""
        until = time.monotonic() + seconds
        while self._result is None and (left := until - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(self._signals.fd, select.POLLIN)
            if done_fd >= 0:
                poll.register(done_fd, select.POLLIN)
            if not self._piped.has_ended and self._attachment.has_room:
                poll.register(0, select.POLLIN)
            for fd, _ in poll.poll(None if left == math.inf else left * 1000):
                if fd == done_fd:
                    return
                self._handle_signals() if fd == self._signals.fd else self._read_input()

    # The loop.

    def _run_once(self) -> None:
        """Wait for events and handle them, once. Raises LostError, AttachError."""
        connection = self._connection
        assert connection is not None, "the loop runs only while connected"
        poll = select.poll()
        poll.register(self._signals.fd, select.POLLIN)
        poll.register(
            connection.read_fd, select.POLLIN | (select.POLLOUT if connection.has_unsent else 0)
        )
        if not self._piped.has_ended and self._attachment.has_room:
            poll.register(0, select.POLLIN)
        if self._watch.done_fd is not None:
            poll.register(self._watch.done_fd, select.POLLIN)
        now = time.monotonic()
        wake_at = self._watch.find_next_tick(now)
        if self._input_is_over:
            wake_at = min(wake_at, self._piped.end_due_at)
        if connection.may_have_more:
            wake_at = now
        ready = dict(poll.poll(max(wake_at - now, 0.0) * 1000))
        if connection.may_have_more:
            ready[connection.read_fd] = ready.get(connection.read_fd, 0) | select.POLLIN
        for fd, events in ready.items():
            if fd == self._signals.fd:
                self._handle_signals()
            elif fd == self._watch.done_fd:
                if (result := self._watch.take_result(time.monotonic())) is not None:
                    connection.close()
                    self._attachment.is_attached = False
                    self._begin(*result)
                return
            elif fd == 0:
                self._read_input()
            else:
                if events & select.POLLOUT:
                    connection.flush()
                if events & ~select.POLLOUT:
                    frames = connection.receive()
                    self._watch.note_answer(time.monotonic())
                    self._handle(frames)
            if self._result is not None:
                return
        if self._input_is_over:
            self._end_input()
        self._send_typed()
        if self._is_redraw_due and not self._attachment.untaken_bytes:
            # The terminal sends the whole screen to new clients only, which cannot repeat earlier input.
            self._is_redraw_due = False
            self._attachment.reset()
            raise LostError("reconnecting for a new screen")
        if self._watch.tick(now := time.monotonic()):
            connection.send(Ping(int(now * 1000)))

    @property
    def _input_is_over(self) -> bool:
        """True if the pipe has ended, and the terminal has taken all its input."""
        attachment = self._attachment
        is_taken = attachment.is_attached and not attachment.untaken_bytes
        return self._piped.has_ended and is_taken and attachment.mode is not Mode.WATCH

    def _send_typed(self) -> None:
        if self._connection is not None:
            for frame in self._attachment.take_sendable():
                self._size_notice.forget_size()
                self._connection.send(frame)
                self._watch.note_sent(time.monotonic())

    def _handle(self, frames: list[HolderFrame]) -> None:
        is_shown = False
        for frame in frames:
            try:
                events = self._attachment.handle_frame(frame)
            except TerminalError as error:
                raise LostError(str(error)) from None
            for event in events:
                is_shown = self._apply(event) or is_shown
        if is_shown and self._connection is not None and self._result is None:
            self._connection.send(self._attachment.confirm_output())

    def _apply(self, event: Event) -> bool:
        """Apply an event; return True for output that must be confirmed. Raises AttachError."""
        match event:
            case WriteOutput(data, is_counted):
                try:
                    shown = self._writer.show(data)
                except OSError as error:
                    self._finish(FAILED)
                    kind = UnreadError if isinstance(error, BrokenPipeError) else AttachError
                    raise kind(f"the output cannot be written: {error.strerror}") from None
                self._size_notice.update()
                if self._request.record is not None:
                    self._request.record(shown)
                return is_counted
            case OutputGap(count):
                self._writer.skip(count)
            case Exit(code, _):
                self._finish(code)
            case Notice(kind, text):
                self._writer.note(kind, text)
            case Sized(size):
                self._size_notice.note_size(size)
            case people:
                self._writer.show_people(people)
        return False

    def _finish(self, code: int) -> None:
        if self._connection is not None:
            with suppress(LostError):
                self._connection.send(self._attachment.confirm_output())
                self._connection.send(Detach())
        self._result = code

    # Input and signals.

    def _read_input(self) -> None:
        try:
            data = os.read(0, _READ_BYTES)
        except OSError:
            data = b""
        if not data and self._screen.is_terminal:
            self._finish(FAILED)  # the window was closed; SIGHUP may come late or never
            return
        if not self._screen.is_terminal:
            self._attachment.queue_input(self._piped.feed(data, time.monotonic()))
            return
        for part in self._escapes.feed(data):
            match part:
                case bytes() if self._screen.is_covered:
                    self._size_notice.dismiss()  # drop the key, whose effect would be invisible
                    self._is_redraw_due = True
                case bytes():
                    self._attachment.queue_input(part)
                case Escape.DETACH:
                    self._finish(0)
                    self._screen.leave()
                    terminal = self._attachment.terminal
                    self._screen.print(
                        f"stagedoor: detached from {terminal} of {self._request.target}"
                    )
                    return
                case Escape.SUSPEND:
                    self._suspend()
                case Escape.HELP:
                    self._screen.print(HELP_TEXT)

    def _end_input(self) -> None:
        """Signal the end of the piped input to the program, or finish if the terminal is shared."""
        keys = self._piped.repeat_end(time.monotonic())
        if keys is None:
            self._finish(0)
        else:
            self._attachment.queue_input(keys)

    def _handle_signals(self) -> None:
        numbers = self._signals.take()
        if {signal.SIGTERM, signal.SIGHUP} & numbers:
            self._finish(FAILED)
            return
        if signal.SIGINT in numbers:
            self._interrupt()
        if signal.SIGTSTP in numbers:
            self._suspend()
        if signal.SIGWINCH in numbers or signal.SIGCONT in numbers:
            self._resize()

    def _interrupt(self) -> None:
        """Send the first Ctrl-C to the program, which would otherwise keep running unseen.

        This is for piped input: in a terminal the key reaches the program anyway. Raises KeyboardInterrupt
        for the second Ctrl-C, and if no input can be sent.
        """
        attachment = self._attachment
        if self._has_interrupted or not attachment.is_attached or attachment.mode is Mode.WATCH:
            raise KeyboardInterrupt
        self._has_interrupted = True
        attachment.queue_input(_INTERRUPT)

    def _suspend(self) -> None:
        self._screen.leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._screen.enter()
        self._resize()
        self._is_redraw_due = self._screen.is_full

    def _resize(self) -> None:
        size = self._screen.read_size()
        if size != self._attachment.size:
            self._attachment.size = size
            if self._attachment.mode is not Mode.WATCH:
                self._size_notice.forget_size()
            self._is_redraw_due |= self._size_notice.update()
            if self._connection is not None:
                self._connection.send(Resize(size))
