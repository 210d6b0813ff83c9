"""The input of `stagedoor attach`: escapes for the client itself, as in ssh(1), and piped input. Pure.

A pipe has an end, but a terminal has only a key that signals it (termios(3), VEOF). Within a line, a program
that reads lines needs the key twice, since the first one only delivers the line. A line editor (readline)
ignores the key within a line, so Enter delivers the line and the next key ends the input. The key may also be
lost: a terminal drops pending input when a line editor takes over (Linux, n_tty.c, n_tty_set_termios). So the
client repeats it until the program ends.
"""

import math
from enum import Enum

REPEAT_S = 1.0
"""The interval at which the end is repeated."""
_END = b"\x04"
_END_IN_LINE = _END + _END + b"\n" + _END
TILDE = 0x7E


class Escape(Enum):
    """A command to this client: the key after the tilde."""

    DETACH = b"."
    SUSPEND = b"\x1a"
    HELP = b"?"


HELP_TEXT = (
    "\r\nEscapes, after Enter:\r\n"
    "  ~.   detach: the terminal stays, and `stagedoor attach` comes back to it\r\n"
    "  ~^Z  suspend this program; `fg` comes back\r\n"
    "  ~~   the tilde itself\r\n"
    "  ~?   show this help\r\n"
)


class Escapes:
    """A parser of typed bytes, which separates input for the program from commands to this client."""

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
                    # Another command may follow without Enter.
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
    """Input from a pipe. A terminal that `is_shared` does not end with the pipe."""

    def __init__(self, *, is_shared: bool) -> None:
        self._is_shared = is_shared
        self._is_in_line = False
        self._end_sent_at = -math.inf
        self.has_ended = False

    def feed(self, data: bytes, now: float) -> bytes:
        """Return the keys to type for `data`. Empty data is the end of the pipe."""
        if data:
            self._is_in_line = not data.endswith(b"\n")
            return data
        self.has_ended, self._end_sent_at = True, now
        if self._is_shared:
            return b""
        return _END_IN_LINE if self._is_in_line else _END

    @property
    def end_due_at(self) -> float:
        """The time to repeat the end, on the clock of `now`. -inf for a shared terminal."""
        return -math.inf if self._is_shared else self._end_sent_at + REPEAT_S

    def repeat_end(self, now: float) -> bytes | None:
        """Return the keys that repeat the end. Call this when the terminal has taken all input.

        The result is empty if it is too early, and None for a shared terminal, which needs no end.
        """
        if self._is_shared:
            return None
        if now < self.end_due_at:
            return b""
        self._end_sent_at = now
        return _END
