"""The notice in a window that is too small for the terminal.

A terminal has one size for all its clients, that of the window in which a person typed last, and a
full-screen program draws to its edges. In a smaller window its lines would wrap and its rows would
overwrite each other, and a terminal cannot scale its text. So a notice that says what to do covers the
screen until the window is large enough.
"""

from __future__ import annotations

import textwrap

from stagedoor.client.attach.attachment import Attachment
from stagedoor.client.attach.screen import Screen
from stagedoor.wire.terminal.frames import Mode, Size

_WIDTH = 60


class SizeNotice:
    """The cover of one screen, in which `attachment` is shown."""

    def __init__(self, screen: Screen, attachment: Attachment) -> None:
        self._screen = screen
        self._attachment = attachment
        self._terminal: Size | None = None
        self._anyway: Size | None = None

    def note_size(self, terminal: Size) -> None:
        """Record that the terminal has the size of another window; a full-screen program then redraws."""
        self._terminal = terminal
        if not self._screen.is_covered:
            self._screen.clear_beyond()
        self.update()

    def forget_size(self) -> None:
        """Assume that the terminal has the size of this window, until the gateway reports another."""
        self._terminal = None

    def update(self) -> bool:
        """Cover or uncover the screen. Return True if it was uncovered."""
        terminal, attachment = self._terminal, self._attachment
        if terminal is None:
            return self._screen.uncover()
        is_small = is_too_small(attachment.size, terminal) and self._screen.is_full
        if is_small and terminal != self._anyway:
            watches = attachment.mode is Mode.WATCH
            self._screen.cover(draw_notice(attachment.size, terminal, watches=watches))
            return False
        was_covered = self._screen.uncover()
        self._screen.cut(is_small)
        return was_covered

    def dismiss(self) -> None:
        """Uncover the screen after a key. The screen must then be redrawn."""
        if self._attachment.mode is Mode.WATCH:
            self._anyway = self._terminal
        else:
            self.forget_size()
        self.update()


def is_too_small(window: Size, terminal: Size) -> bool:
    """Return True if a part of the terminal does not fit in the window."""
    return window.columns < terminal.columns or window.rows < terminal.rows


def draw_notice(window: Size, terminal: Size, *, watches: bool) -> bytes:
    """Return the bytes that draw the notice in the middle of an empty window."""
    theirs, yours = (f"{size.columns} by {size.rows}" for size in (terminal, window))
    lines = [
        f"This terminal is {theirs} now, the size of the window that was typed in last.",
        f"Your window is {yours}, too small to show it.",
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
