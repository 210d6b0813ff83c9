"""The developer's own terminal: raw while it shows a remote one, and restored afterwards.

Sources: termios(3), ioctl_tty(2).
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
import termios
import tty
from contextlib import suppress
from typing import Any

from stagedoor.laptop.tunnel.errors import translate
from stagedoor.wire.terminal import output_parser as drawing
from stagedoor.wire.terminal.frames import MAX_SIZE, Size
from stagedoor.wire.terminal.modes import Modes

_WRITE_BYTES = 4096
_WRAP, _NO_WRAP = b"\x1b[?7h", b"\x1b[?7l"
_PUSH_TITLE, _POP_TITLE = b"\x1b[22;2t", b"\x1b[23;2t"
"""XTWINOPS 22 and 23 of xterm's ctlseqs."""


class Screen:
    """The stdin and stdout of this program, which may be a terminal.

    `watches` is True if it shows another user's terminal.
    """

    def __init__(self, *, watches: bool = False) -> None:
        self._watches = watches
        self.is_terminal = os.isatty(0) and os.isatty(1)
        self._modes = Modes()
        self._saved_settings: list[Any] | None = None
        self._is_title_set = False
        self._people = self._note = self._warning = ""
        self._cover = b""
        self._is_cut = False

    def read_size(self) -> Size:
        """Return the window's size, or 80 by 24 if it is unknown."""
        for fd in (1, 0, 2):
            try:
                packed = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))
            except OSError:
                continue
            rows, columns, x_pixels, y_pixels = struct.unpack("HHHH", packed)
            if rows and columns:
                return Size(min(columns, MAX_SIZE), min(rows, MAX_SIZE), x_pixels, y_pixels)
        return Size(80, 24)

    @property
    def is_full(self) -> bool:
        """True if a full-screen program is shown."""
        return self._modes.alternate_screen

    def enter(self) -> None:
        """Make the terminal raw, and restore the modes and the title that it had before `leave`."""
        if self.is_terminal and self._saved_settings is None:
            self._saved_settings = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSADRAIN)
            self._write(self._modes.redo())
            self._update_title()

    def leave(self) -> None:
        """Restore the terminal's settings and modes. Further calls do nothing."""
        saved, self._saved_settings = self._saved_settings, None
        if saved is not None:
            undo = drawing.UNDO if self._watches else b""
            undo += _WRAP if self._is_cut else b""
            with suppress(OSError, termios.error):  # the window was closed
                self._write(undo + self._modes.undo() + (_POP_TITLE if self._is_title_set else b""))
                termios.tcsetattr(0, termios.TCSADRAIN, saved)
            self._is_title_set = self._is_cut = False
            self._cover = b""

    def show(self, data: bytes) -> None:
        """Write output, and return once it is written. Raises OSError if stdout was closed.

        While the screen is covered, the output is not written, and only its modes are tracked. The cover ends
        with the full-screen program.
        """
        self._modes.feed(data)
        if self._cover and not self.is_full:
            self._cover = b""
            data += self._modes.redo()
        if not self._cover:
            self._write(data)

    @property
    def is_covered(self) -> bool:
        """True while `cover` hides a full-screen program."""
        return bool(self._cover)

    def cover(self, notice: bytes) -> None:
        """Show `notice` in place of a full-screen program, with the program's modes off meanwhile."""
        if self.is_terminal and notice != self._cover:
            undo = b"" if self._cover else self._modes.undo() + b"\x1b[?1049h" + drawing.UNDO
            self._write(undo + b"\x1b[?7;25h\x1b[m\x1b[H\x1b[2J" + notice)
            self._cover = notice

    def uncover(self) -> bool:
        """Remove the cover. Return True if there was one; the screen must then be redrawn."""
        if not self._cover:
            return False
        self._cover = b""
        self._write(b"\x1b[?1049l" + self._modes.redo() + b"\x1b[H\x1b[2J")
        return True

    def set_wrapping(self, wraps: bool) -> None:
        """Wrap text at the right edge, or cut it off there."""
        if wraps is self._is_cut:
            self._write(_WRAP if wraps else _NO_WRAP)
            self._is_cut = not wraps

    def clear(self) -> None:
        """Turn all modes off and clear the screen, before it is redrawn."""
        undo = self._modes.undo()
        self._modes = Modes()
        if self.is_terminal:
            self._write(undo + b"\x1b[H\x1b[2J")

    def clear_full_screen(self) -> None:
        """Clear a full-screen program's screen when the terminal's size changes.

        The program redraws what is inside the new size; text outside it would remain.
        """
        if self.is_terminal and self.is_full:
            self._write(b"\x1b[2J")

    def print(self, line: str) -> None:
        """Print a message of this client to stderr."""
        end = "\r\n" if self._saved_settings is not None else "\n"
        sys.stderr.write(translate(line) + end)
        sys.stderr.flush()

    def show_people(self, text: str, is_announced: bool) -> None:
        """Show the other people at the terminal in the window's title. An empty `text` removes them.

        If `is_announced`, ring the bell as well, and print a line unless a full-screen program is shown,
        whose rows must not be overwritten.
        """
        self._people = text
        self._update_title(bell=bool(text) and is_announced)
        if is_announced and not self.is_full:
            self.print(f"stagedoor: {text or 'no other user is here any more'}")

    def warn(self, text: str) -> None:
        """Announce that access ends soon, in place of the people. An empty `text` removes the warning."""
        self._warning = translate(text)
        self._update_title(bell=bool(text))
        if text and not self.is_full:
            self.print(f"stagedoor: {text}")

    def note(self, text: str) -> None:
        """Show the state of the connection in the title, in place of all else. An empty `text` removes it."""
        if text != self._note:
            self._note = text
            self._update_title()

    def _update_title(self, *, bell: bool = False) -> None:
        """Set the window's title, or restore the original one."""
        if not self.is_terminal or self._saved_settings is None:
            return
        if text := self._note or self._warning or self._people:
            push = b"" if self._is_title_set else _PUSH_TITLE
            self._write(push + b"\x1b]2;" + text.encode() + b"\x07" + b"\x07" * bell)
        elif self._is_title_set:
            self._write(_POP_TITLE)
        self._is_title_set = bool(text)

    @staticmethod
    def _write(data: bytes) -> None:
        view = memoryview(data)
        poll = select.poll()
        poll.register(1, select.POLLOUT)
        while view:
            try:
                view = view[os.write(1, view[:_WRITE_BYTES]) :]
            except BlockingIOError:  # another process has made stdout non-blocking
                poll.poll()
