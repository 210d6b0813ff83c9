"""The person's own terminal: raw while a remote one is shown in it, and restored afterwards.

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

_PIECE = 4096
_WRAP, _NO_WRAP = b"\x1b[?7h", b"\x1b[?7l"


class Screen:
    """The person's stdin and stdout, terminals or not.

    With `watches`, it shows another user's terminal.
    """

    def __init__(self, *, watches: bool = False) -> None:
        self._watches = watches
        self.is_terminal = os.isatty(0) and os.isatty(1)
        self._modes = Modes()
        self._before: list[Any] | None = None
        self._marked = False
        self._mark = self._note = self._warning = ""
        self._cover = b""
        self._cut = False

    def read_size(self) -> Size:
        """Return the window's size; 80 by 24 without a window, or for a window without a size."""
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
        """True if a full-screen program is shown, which must redraw the screen after a break."""
        return self._modes.alternate_screen

    def enter(self) -> None:
        """Make the terminal raw, and set the modes again that the program had set before `leave`."""
        if self.is_terminal and self._before is None:
            self._before = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSADRAIN)
            self._write(self._modes.redo())

    def leave(self) -> None:
        """Restore the terminal's settings and modes. It may be called again."""
        before, self._before = self._before, None
        if before is not None:
            own = drawing.UNDO if self._watches else b""
            own += _WRAP if self._cut else b""
            with suppress(OSError, termios.error):  # the window was closed
                self._write(own + self._modes.undo() + (b"\x1b[23;2t" if self._marked else b""))
                termios.tcsetattr(0, termios.TCSADRAIN, before)
            self._marked = self._cut = False
            self._cover = b""

    def show(self, data: bytes) -> None:
        """Write output, and return once it is written. Raises OSError if stdout was closed.

        While the screen is covered, only the output's modes are tracked, until the full-screen program ends.
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

    def cover(self, drawn: bytes) -> None:
        """Show `drawn` in place of a full-screen program, with the program's modes off meanwhile."""
        if self.is_terminal and drawn != self._cover:
            undone = b"" if self._cover else self._modes.undo() + b"\x1b[?1049h" + drawing.UNDO
            self._write(undone + b"\x1b[?7;25h\x1b[m\x1b[H\x1b[2J" + drawn)
            self._cover = drawn

    def uncover(self) -> bool:
        """Remove the cover; return True if there was one. The screen must then be redrawn."""
        if not self._cover:
            return False
        self._cover = b""
        self._write(b"\x1b[?1049l" + self._modes.redo() + b"\x1b[H\x1b[2J")
        return True

    def cut(self, on: bool) -> None:
        """Turn on or off that text beyond the right edge is cut off instead of wrapped."""
        if on is not self._cut:
            self._write(_NO_WRAP if on else _WRAP)
            self._cut = on

    def clear(self) -> None:
        """Turn all modes off and clear the screen, which is then redrawn."""
        undone = self._modes.undo()
        self._modes = Modes()
        if self.is_terminal:
            self._write(undone + b"\x1b[H\x1b[2J")

    def clear_beyond(self) -> None:
        """Clear a full-screen program's screen once the terminal has the size of another window.

        Text outside that size would otherwise remain. The program redraws the rest.
        """
        if self.is_terminal and self.is_full:
            self._write(b"\x1b[2J")

    def print(self, line: str) -> None:
        """Print a line of this client between the output, on stderr."""
        end = "\r\n" if self._before is not None else "\n"
        sys.stderr.write(translate(line) + end)
        sys.stderr.flush()

    def mark(self, text: str, line: bool) -> None:
        """Show the other people at the terminal in the window's title; an empty `text` ends that.

        With `line` it is announced too: by a bell, and by a printed line unless a full-screen program is
        shown, whose rows must not be overwritten.
        """
        self._mark = text
        self._title(bell=bool(text) and line)
        if line and not self.is_full:
            self.print(f"stagedoor: {text or 'no other user is here any more'}")

    def warn(self, text: str) -> None:
        """Warn that access ends soon, as `mark` shows people but before them; an empty `text` ends that."""
        self._warning = translate(text)
        self._title(bell=bool(text))
        if text and not self.is_full:
            self.print(f"stagedoor: {text}")

    def note(self, text: str) -> None:
        """Show the state of the line in the window's title, before all else; empty if all is well."""
        if text != self._note:
            self._note = text
            self._title()

    def _title(self, *, bell: bool = False) -> None:
        """Set the window's title, or restore the one before (XTWINOPS 22 and 23 of xterm's ctlseqs)."""
        if not self.is_terminal or self._before is None:
            return
        if text := self._note or self._warning or self._mark:
            before = b"" if self._marked else b"\x1b[22;2t"
            self._write(before + b"\x1b]2;" + text.encode() + b"\x07" + b"\x07" * bell)
        elif self._marked:
            self._write(b"\x1b[23;2t")
        self._marked = bool(text)

    @staticmethod
    def _write(data: bytes) -> None:
        view = memoryview(data)
        poll = select.poll()
        poll.register(1, select.POLLOUT)
        while view:
            try:
                view = view[os.write(1, view[:_PIECE]) :]
            except BlockingIOError:  # another process has made stdout non-blocking
                poll.poll()
