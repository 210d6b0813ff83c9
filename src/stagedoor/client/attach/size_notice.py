"""The notice in a window that is too small for the terminal.

A terminal has one size for all its clients: the size of the window that was typed in last. A full-screen
program draws to the edges of that size. In a smaller window its lines would wrap and overwrite each other,
and a terminal cannot scale its text. So a notice covers the screen until the window is large enough.
"""

from __future__ import annotations

import textwrap

from stagedoor.client.attach.attachment import Attachment
from stagedoor.client.attach.screen import Screen
from stagedoor.wire.terminal.frames import Mode, Size

_WIDTH = 60


class SizeNotice:
    """The notice on the screen that shows `attachment`."""

    def __init__(self, screen: Screen, attachment: Attachment) -> None:
        self._screen = screen
        self._attachment = attachment
        self._terminal_size: Size | None = None
        self._dismissed_size: Size | None = None

    def note_size(self, terminal: Size) -> None:
        """Record the terminal's size, which another window has set. A full-screen program then redraws."""
        self._terminal_size = terminal
        if not self._screen.is_covered:
            self._screen.clear_full_screen()
        self.update()

    def forget_size(self) -> None:
        """Assume that the terminal has the size of this window, until the gateway reports another."""
        self._terminal_size = None

    def update(self) -> bool:
        """Cover or uncover the screen. Return True if it was uncovered."""
        terminal, attachment = self._terminal_size, self._attachment
        if terminal is None:
            return self._screen.uncover()
        is_small = is_too_small(attachment.size, terminal) and self._screen.is_full
        if is_small and terminal != self._dismissed_size:
            watches = attachment.mode is Mode.WATCH
            self._screen.cover(draw_notice(attachment.size, terminal, watches=watches))
            return False
        was_covered = self._screen.uncover()
        self._screen.set_wrapping(not is_small)
        return was_covered

    def dismiss(self) -> None:
        """Uncover the screen when a key is pressed. The screen must then be redrawn."""
        if self._attachment.mode is Mode.WATCH:
            self._dismissed_size = self._terminal_size
        else:
            self.forget_size()
        self.update()


def is_too_small(window: Size, terminal: Size) -> bool:
    """Return True if the terminal does not fit into the window."""
    return window.columns < terminal.columns or window.rows < terminal.rows


def draw_notice(window: Size, terminal: Size, *, watches: bool) -> bytes:
    """Return the bytes that draw the notice in the middle of a cleared window."""
    terminal_text, window_text = (f"{size.columns} by {size.rows}" for size in (terminal, window))
    lines = [
        f"This terminal is {terminal_text} now, the size of the window that was typed in last.",
        f"Your window is {window_text}, too small to show it.",
        "Enlarge it, or press any key to see the screen cut off."
        if watches
        else "Press any key, and the terminal takes the size of your window.",
    ]
    width = max(min(window.columns - 2, _WIDTH), 1)
    rows = [row for line in lines for row in (*textwrap.wrap(line, width), "")][:-1]
    rows = rows[: window.rows]
    top = (window.rows - len(rows)) // 2 + 1
    left = (window.columns - max(map(len, rows))) // 2 + 1
    return b"".join(b"\x1b[%d;%dH" % (top + at, left) + row.encode() for at, row in enumerate(rows))
