"""Piped input for a terminal, and the keys that signal its end to the program there; pure.

A pipe has an end; a terminal only has a key for it (termios(3), VEOF). A program that reads lines from the
terminal needs that key twice within a line: the first one delivers the line. A line editor (readline) ignores
the key within a line, so Enter delivers the line, and the key after it ends the input. A program that did not
read yet may have lost the key: a terminal drops its input when a line editor takes over (Linux, n_tty.c,
n_tty_set_termios). So the key is repeated until the program ends.
"""

import math

AGAIN_S = 1.0
_END = b"\x04"
_END_IN_LINE = _END + _END + b"\n" + _END


class PipeInput:
    """Input from a pipe. With `stays`, the terminal is shared, and does not end with the pipe."""

    def __init__(self, *, stays: bool) -> None:
        self._stays = stays
        self._in_line = False
        self._said_at = -math.inf
        self.ended = False

    def feed(self, data: bytes, now: float) -> bytes:
        """Return the keys to type for `data`, which is empty at the end of the pipe."""
        if data:
            self._in_line = not data.endswith(b"\n")
            return data
        self.ended, self._said_at = True, now
        if self._stays:
            return b""
        return _END_IN_LINE if self._in_line else _END

    @property
    def due(self) -> float:
        """The time to type the end again, on the clock of `now`; in the past for a terminal that stays."""
        return -math.inf if self._stays else self._said_at + AGAIN_S

    def retry_end(self, now: float) -> bytes | None:
        """Return the keys that signal the end again, once the terminal has taken all input.

        The result is empty if it is too early, and None for a terminal that stays, where no end is needed.
        """
        if self._stays:
            return None
        if now < self.due:
            return b""
        self._said_at = now
        return _END
