"""A filter that passes only the drawing sequences of another person's terminal. Pure.

A terminal does more than draw: it writes the clipboard, answers queries as if its user had typed the
answer, prints, moves its window, and forwards sequences that a multiplexer passes through. A person who
watches another person's terminal, or plays its recording, wants none of that in their own. So sequences
that are known to draw are written out again, and the rest is dropped.

Sources: ECMA-48; "XTerm Control Sequences" (ctlseqs), cited as CS; the states are those of the parser
for DEC's terminals by Paul Williams (vt100.net/emu/dec_ansi_parser).
"""

import codecs
import re
from enum import Enum, auto

_UNDO = "\x0f\x1b(B\x1b[4l\x1b[?69l\x1b7\x1b[r\x1b8"
UNDO = _UNDO.encode()
"""The bytes that restore a terminal after such output: the default character sets, no insert mode, no
margins. `wire.terminal.modes` undoes the modes that it follows."""

_RESET = _UNDO + "\x1b[?1049l\x1b[?6l\x1b[?7;25h\x1b[m\x1b[H\x1b[2J"
"""The replacement for CS RIS, which would also clear the scrollback and do more than draw."""

_MAX_SEQUENCE = 128
"""No sequence that draws is longer; a longer one is dropped."""

_C1 = re.compile("[\x80-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BEYOND_ASCII = re.compile("[^\x00-\x7f]")
_PLAIN = re.compile("[\x20-\x7e\xa0-\U0010ffff\a\b\t\n\v\f\r\x0e\x0f]+")
_CONTROLS = frozenset("\a\b\t\n\v\f\r\x0e\x0f")
"""The control characters that draw. ENQ is not among them, because a terminal answers it."""
_BODY = re.compile("[\x20-\x3f]+")
_ENDS_STRING = re.compile("[\a\x18\x1a\x1b]")
_STRINGS = frozenset("P]^_Xk")
"""The characters that begin DCS, OSC, PM, APC and SOS, and the title of screen(1), which draw no text."""
_ESCAPES = frozenset(
    ["7", "8", "D", "E", "H", "M", "#3", "#4", "#5", "#6", "#8"]
    + [place + charset for place in "()*+" for charset in "0B"]
)
_PARTS = re.compile(r"(\??)([0-9;:]*)([ !]?)")
_NUMBER_TOO_LONG = re.compile("[0-9]{6}")
_MOVING = frozenset("@ABCDEFGHIJKLMPSTXZ`abdefgmrsu")
_MODES = frozenset({"5", "6", "7", "12", "25", "45", "47", "69", "1047", "1048", "1049", "2026"})
"""The modes of CS DECSET that draw. Those of the keyboard, mouse and focus are left out, because they
make a terminal send."""


class _ParserState(Enum):
    GROUND = auto()
    ESCAPE = auto()
    CONTROL = auto()
    STRING = auto()


class OutputParser:
    """Filters the output of one terminal. `feed` may be called with any pieces of it."""

    def __init__(self, *, utf8: bool) -> None:
        """Start at the beginning of the output.

        Without `utf8` the terminal may take a byte of a character for a control (CS, C1), so every
        character outside of ASCII is shown as `?`.
        """
        self._utf8 = utf8
        self.begin()

    def begin(self) -> None:
        """Reset the parser: the next piece does not continue the last one."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state = _ParserState.GROUND
        self._body = ""

    def feed(self, data: bytes) -> bytes:
        """Return the part of `data` that draws, in whole sequences so that later output is unaffected."""
        return self.draw(self._decoder.decode(data)).encode()

    def draw(self, text: str) -> str:
        """Filter text as `feed` does bytes. Characters that cannot be encoded are shown as U+FFFD."""
        text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
        # A terminal that knows C1 controls acts on every character that decodes to one.
        text = _C1.sub(lambda control: "\x1b" + chr(ord(control[0]) - 0x40), text)
        parts: list[str] = []
        at = 0
        while at < len(text):
            match self._state:
                case _ParserState.GROUND:
                    at = self._take_ground(text, at, parts)
                case _ParserState.STRING:
                    at = self._skip_string(text, at)
                case _:
                    at = self._take_sequence(text, at, parts)
        drawn = "".join(parts)
        return drawn if self._utf8 else _BEYOND_ASCII.sub("?", drawn)

    def _take_ground(self, text: str, at: int, parts: list[str]) -> int:
        plain = _PLAIN.match(text, at)
        if plain is not None:
            parts.append(plain[0])
            return plain.end()
        if text[at] == "\x1b":
            self._escape()
        return at + 1

    def _skip_string(self, text: str, at: int) -> int:
        """Skip a string. Any ESC ends it, as in xterm, and begins a sequence of its own."""
        end = _ENDS_STRING.search(text, at)
        if end is None:
            return len(text)
        self._state = _ParserState.GROUND
        if end[0] == "\x1b":
            self._escape()
        return end.end()

    def _take_sequence(self, text: str, at: int, parts: list[str]) -> int:
        body = _BODY.match(text, at) if self._state is _ParserState.CONTROL else None
        if body is not None:
            self._add(body[0])
            return body.end()
        char = text[at]
        if char == "\x1b":
            self._escape()
        elif char < " ":
            # Acted on immediately, as a terminal does; CAN and SUB abort the sequence.
            if char in "\x18\x1a":
                self._state = _ParserState.GROUND
            elif char in _CONTROLS:
                parts.append(char)
        elif self._state is _ParserState.CONTROL:
            self._state = _ParserState.GROUND
            if "@" <= char <= "~":
                parts.append(_control(self._body, char))
        elif char <= "/":
            self._add(char)
        elif not self._body and char == "[":
            self._state = _ParserState.CONTROL
        elif not self._body and char in _STRINGS:
            self._state = _ParserState.STRING
        else:
            self._state = _ParserState.GROUND
            parts.append(_escape(self._body + char))
        return at + 1

    def _escape(self) -> None:
        self._state = _ParserState.ESCAPE
        self._body = ""

    def _add(self, more: str) -> None:
        self._body = (self._body + more)[: _MAX_SEQUENCE + 1]


def _escape(body: str) -> str:
    if body == "c":
        return _RESET
    return "\x1b" + body if body in _ESCAPES else ""


def _control(body: str, final: str) -> str:
    """Return a control sequence (ECMA-48 §5.4) as it may be written, or "" if it may not."""
    parts = _PARTS.fullmatch(body)
    if parts is None or len(body) > _MAX_SEQUENCE or _NUMBER_TOO_LONG.search(body):
        return ""
    marker, parameters, intermediate = parts.groups()
    match marker, intermediate, final:
        case "" | "?", "", "J":
            # CS ED: 3 would clear the scrollback, which is the watcher's.
            draws = parameters in ("", "0", "1", "2")
        case "?", "", "h" | "l":
            modes = [mode for mode in parameters.split(";") if mode in _MODES]
            return f"\x1b[?{';'.join(modes)}{final}" if modes else ""
        case "", "", "h" | "l":
            draws = parameters == "4"  # CS IRM
        case "", "", "T":
            draws = ";" not in parameters  # with more parameters it tracks the mouse
        case "", "", "u":
            draws = not parameters
        case ("?", "", "K") | ("", " ", "q") | ("", "!", "p"):
            draws = True
        case "", "", _:
            draws = final in _MOVING
        case _:
            draws = False
    return f"\x1b[{body}{final}" if draws else ""
