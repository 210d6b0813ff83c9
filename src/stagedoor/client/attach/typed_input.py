"""The input of `stagedoor attach`: keys for the client itself, as in ssh(1), and piped input. Pure.

A pipe has an end; a terminal only has a key for it (termios(3), VEOF). A program that reads lines from the
terminal needs that key twice within a line: the first one delivers the line. A line editor (readline) ignores
the key within a line, so Enter delivers the line, and the key after it ends the input. A program that did not
read yet may have lost the key: a terminal drops its input when a line editor takes over (Linux, n_tty.c,
n_tty_set_termios). So the key is repeated until the program ends.
"""

import math
from enum import Enum

AGAIN_S = 1.0
_END = b"\x04"
_END_IN_LINE = _END + _END + b"\n" + _END
TILDE = 0x7E


class Escape(Enum):
    """A command to this client, by the key after the tilde."""

    DETACH = b"."
    SUSPEND = b"\x1a"
    HELP = b"?"


HELP_TEXT = (
    "\r\nEscapes, after Enter:\r\n"
    "  ~.   detach: the terminal stays, and `stagedoor attach` comes back to it\r\n"
    "  ~^Z  suspend this program; `fg` comes back\r\n"
    "  ~~   the tilde itself\r\n"
    "  ~?   this\r\n"
)


class Escapes:
    """A splitter of typed bytes into input for the program and commands to this client."""

    def __init__(self) -> None:
        self._at_start = True
        self._after_tilde = False

    def feed(self, data: bytes) -> list[bytes | Escape]:
        """Return input and commands in order, with adjacent input joined."""
        parts: list[bytes | Escape] = []
        plain = bytearray()
        for byte in data:
            if self._after_tilde:
                self._after_tilde = False
                command = next((escape for escape in Escape if escape.value[0] == byte), None)
                if command is not None:
                    if plain:
                        parts.append(bytes(plain))
                        plain.clear()
                    parts.append(command)
                    # Another command may follow at once, without Enter between.
                    self._at_start = True
                    continue
                if byte != TILDE:
                    plain.append(TILDE)
            elif self._at_start and byte == TILDE:
                self._after_tilde = True
                continue
            plain.append(byte)
            self._at_start = byte in b"\r\n"
        if plain:
            parts.append(bytes(plain))
        return parts


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
