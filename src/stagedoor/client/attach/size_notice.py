"""What stands in a window that is too small for the terminal.

A terminal has one size for everybody, that of the window in which somebody typed last, and a
full-screen program draws to its edges. In a smaller window its lines would wrap and its rows would
fall onto each other, and a terminal cannot draw smaller. So the screen is covered by a word on what
to do, until it fits.
"""

from __future__ import annotations

import textwrap

from stagedoor.client.attach.attachment import Attachment
from stagedoor.client.attach.screen import Screen
from stagedoor.wire.terminal import Mode, Size

_WIDTH = 60


class SizeNotice:
    """Covers one screen, where `attachment` is shown."""

    def __init__(self, screen: Screen, attachment: Attachment) -> None:
        self._screen = screen
        self._attachment = attachment
        self._terminal: Size | None = None
        self._anyway: Size | None = None

    def sized(self, terminal: Size) -> None:
        """The terminal has the size of another window, in which a full-screen program redraws."""
        self._terminal = terminal
        if not self._screen.is_covered:
            self._screen.clear_beyond()
        self.look()

    def ours(self) -> None:
        """The terminal has the size of our window, or will be said to have another."""
        self._terminal = None

    def look(self) -> bool:
        """Cover the screen, or uncover it. Whether it was uncovered."""
        terminal, attachment = self._terminal, self._attachment
        if terminal is None:
            return self._screen.uncover()
        small = is_too_small(attachment.size, terminal) and self._screen.is_full
        if small and terminal != self._anyway:
            watches = attachment.mode is Mode.WATCH
            self._screen.cover(notice(attachment.size, terminal, watches=watches))
            return False
        uncovered = self._screen.uncover()
        self._screen.cut(small)
        return uncovered

    def pressed(self) -> None:
        """A key, while it is covered: uncover it. It has to be redrawn."""
        if self._attachment.mode is Mode.WATCH:
            self._anyway = self._terminal
        else:
            self.ours()
        self.look()


def is_too_small(window: Size, terminal: Size) -> bool:
    """Whether some of the terminal has no place in the window."""
    return window.columns < terminal.columns or window.rows < terminal.rows


def notice(window: Size, terminal: Size, *, watches: bool) -> bytes:
    """What draws it, in the middle of an empty window."""
    theirs, yours = (f"{each.columns} by {each.rows}" for each in (terminal, window))
    lines = [
        f"This terminal is {theirs} now, the size of the window where somebody typed last.",
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
