"""This person's own terminal: raw while somebody else's is shown in it, and as it was afterwards.

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

from stagedoor.wire import output_parser as drawing
from stagedoor.wire.modes import Modes
from stagedoor.wire.terminal import MAX_SIZE, Size

_PIECE = 4096
_WRAP, _NO_WRAP = b"\x1b[?7h", b"\x1b[?7l"


class Screen:
    """stdin and stdout, terminals or not. `leave` may be called again.

    With `watches` it shows what somebody else's terminal does.
    """

    def __init__(self, *, watches: bool = False) -> None:
        self._watches = watches
        self.is_terminal = os.isatty(0) and os.isatty(1)
        self._modes = Modes()
        self._before: list[Any] | None = None
        self._marked = False
        self._mark = self._note = ""
        self._cover = b""
        self._cut = False

    def size(self) -> Size:
        """The window's size; 80 by 24 where there is no window, or one without a size."""
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
        """Whether what is shown is a full-screen program's, which must redraw it after a break."""
        return self._modes.alternate_screen

    def enter(self) -> None:
        """Hand every key on as it is. What was set here before by the program is set again."""
        if self.is_terminal and self._before is None:
            self._before = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSADRAIN)
            self._write(self._modes.redo())

    def leave(self) -> None:
        """As it was: the terminal's settings, and every mode that the program has set."""
        before, self._before = self._before, None
        if before is not None:
            own = drawing.UNDO if self._watches else b""
            own += _WRAP if self._cut else b""
            with suppress(OSError, termios.error):  # its window was closed
                self._write(own + self._modes.undo() + (b"\x1b[23;2t" if self._marked else b""))
                termios.tcsetattr(0, termios.TCSADRAIN, before)
            self._marked = self._cut = False
            self._cover = b""

    def show(self, data: bytes) -> None:
        """Write, and return once it is written. Raises OSError if nobody reads any more.

        Of what is covered only the modes are followed, until the full-screen program ends.
        """
        self._modes.feed(data)
        if self._cover and not self.is_full:
            self._cover = b""
            data += self._modes.redo()
        if not self._cover:
            self._write(data)

    @property
    def is_covered(self) -> bool:
        return bool(self._cover)

    def cover(self, drawn: bytes) -> None:
        """Show this in the place of a full-screen program, whose modes do not hold meanwhile."""
        if self.is_terminal and drawn != self._cover:
            undone = b"" if self._cover else self._modes.undo() + b"\x1b[?1049h" + drawing.UNDO
            self._write(undone + b"\x1b[?7;25h\x1b[m\x1b[H\x1b[2J" + drawn)
            self._cover = drawn

    def uncover(self) -> bool:
        """Whether it was covered. Somebody has to draw it again."""
        if not self._cover:
            return False
        self._cover = b""
        self._write(b"\x1b[?1049l" + self._modes.redo() + b"\x1b[H\x1b[2J")
        return True

    def cut(self, on: bool) -> None:
        """Leave out what is beyond the right edge, rather than write it below."""
        if on is not self._cut:
            self._write(_NO_WRAP if on else _WRAP)
            self._cut = on

    def clear(self) -> None:
        """For a screen that is redrawn: all modes off, and nothing on it."""
        undone = self._modes.undo()
        self._modes = Modes()
        if self.is_terminal:
            self._write(undone + b"\x1b[H\x1b[2J")

    def clear_beyond(self) -> None:
        """The terminal has the size of another window: what stood outside it would stay there. A
        full-screen program draws the rest again."""
        if self.is_terminal and self.is_full:
            self._write(b"\x1b[2J")

    def tell(self, line: str) -> None:
        """A line of ours, between what is shown."""
        end = "\r\n" if self._before is not None else "\n"
        sys.stderr.write(line + end)
        sys.stderr.flush()

    def mark(self, text: str, line: bool) -> None:
        """Who else is here, for as long as that lasts; empty: nobody any more. `line`: say it aloud too.

        A full-screen program's rows are its own, so it stands in the window's title there, with a bell.
        """
        self._mark = text
        self._title(bell=bool(text) and line)
        if line and not self.is_full:
            self.tell(f"stagedoor: {text or 'nobody else is here any more'}")

    def note(self, text: str) -> None:
        """How the line is, in the window's title alone, before any mark; empty: well."""
        if text != self._note:
            self._note = text
            self._title()

    def _title(self, *, bell: bool = False) -> None:
        """Ours, and in the end the one that was before (XTWINOPS 22 and 23 of xterm's ctlseqs)."""
        if not self.is_terminal or self._before is None:
            return
        if text := self._note or self._mark:
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
            except BlockingIOError:  # somebody else has made it so
                poll.poll()
