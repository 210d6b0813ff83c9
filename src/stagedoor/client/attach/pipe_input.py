"""What is piped into a terminal, and how a program there is told that it has ended; pure.

A pipe has an end, a terminal only a key for it (termios(3), VEOF). A reader of lines of the terminal's
has that key twice within a line: the first hands the line over. A line editor (readline) ignores it there, is
given the line by Enter, and ends then. And a program that was not reading yet may have lost the key: a
terminal keeps none when it becomes a line editor's (Linux, n_tty.c, n_tty_set_termios). So it is said again,
until it is heard.
"""

import math

AGAIN_S = 1.0
_END = b"\x04"
_END_IN_LINE = _END + _END + b"\n" + _END


class PipeInput:
    """`stays` is of a terminal that is not for us alone: it does not end with what is piped in."""

    def __init__(self, *, stays: bool) -> None:
        self._stays = stays
        self._in_line = False
        self._said_at = -math.inf
        self.ended = False

    def feed(self, data: bytes, now: float) -> bytes:
        """What is typed for `data`, which is empty at the end."""
        if data:
            self._in_line = not data.endswith(b"\n")
            return data
        self.ended, self._said_at = True, now
        if self._stays:
            return b""
        return _END_IN_LINE if self._in_line else _END

    @property
    def due(self) -> float:
        """When the end is to be said again, on the clock of `now`; long ago for one that stays."""
        return -math.inf if self._stays else self._said_at + AGAIN_S

    def again(self, now: float) -> bytes | None:
        """What is typed once the terminal has taken all, empty if it is too early; None: nothing is left
        to do there."""
        if self._stays:
            return None
        if now < self.due:
            return b""
        self._said_at = now
        return _END
