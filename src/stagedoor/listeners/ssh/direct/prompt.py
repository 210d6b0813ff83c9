"""A line that a user types at a terminal before a shell has it. Pure.

The client's terminal is in raw mode (RFC 4254 §6.2), so the gateway echoes the line, and handles the keys of
a terminal's line discipline: erase, kill line, interrupt (termios(3)).
"""

import codecs
from unicodedata import east_asian_width

_INTERRUPT, _END, _KILL, _ESCAPE, _BELL = "\x03", "\x04", "\x15", "\x1b", "\a"
_ERASE, _LINE_ENDS = "\x7f\b", "\r\n"
INTERRUPT_BYTE = b"\x03"


class LinePrompt:
    """The state of one line of at most `limit` characters. `line` is None until it is complete.

    An interrupt, or the end of input on an empty line, makes it empty.
    """

    def __init__(self, limit: int) -> None:
        self.line: str | None = None
        self._limit = limit
        self._typed: list[str] = []
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._sequence = ""
        """The beginning of an escape sequence, such as an arrow key's."""

    def feed(self, data: bytes) -> bytes:
        """Process keystrokes, and return the bytes to echo."""
        return "".join(self._take(key) for key in self._decode(data)).encode()

    def _take(self, key: str) -> str:
        if self.line is not None:
            return ""
        if key < " ":
            self._sequence = ""  # a control key ends a sequence
        if self._sequence or key == _ESCAPE:
            return self._skip(key)
        if key in _LINE_ENDS:
            return self._complete("".join(self._typed))
        if key == _INTERRUPT or (key == _END and not self._typed):
            return self._complete("")
        if key in _ERASE:
            return _erase(self._typed.pop()) if self._typed else ""
        if key == _KILL:
            typed, self._typed = self._typed, []
            return "".join(map(_erase, typed))
        if not key.isprintable():
            return ""
        if len(self._typed) >= self._limit:
            return _BELL
        self._typed.append(key)
        return key

    def _complete(self, line: str) -> str:
        self.line = line
        return "\r\n"

    def _skip(self, key: str) -> str:
        """Skip an escape sequence (ECMA-48 §5.4): CSI to its final byte, others to their second."""
        self._sequence += key
        is_csi = self._sequence.startswith(f"{_ESCAPE}[")
        is_over = len(self._sequence) > 2 and "@" <= key <= "~" if is_csi else self._is_two(key)
        if is_over:
            self._sequence = ""
        return ""

    def _is_two(self, key: str) -> bool:
        # ESC O and a letter is an arrow key in application mode.
        return len(self._sequence) > 1 and not (len(self._sequence) == 2 and key == "O")


def _erase(character: str) -> str:
    columns = 2 if east_asian_width(character) in "WF" else 1
    return "\b" * columns + " " * columns + "\b" * columns
