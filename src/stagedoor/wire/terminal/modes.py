"""The terminal modes that a program has set, parsed from its output, and the bytes to undo or redo them.

A client that leaves a terminal in the middle of a full-screen program must restore its own screen. A
client that enters must get the modes that the program believes are set. Only modes are followed, never
the contents of the screen.

Sources: ECMA-48, and "XTerm Control Sequences" (ctlseqs), cited as CS with the name given there.
"""

import re

MAX_SEQUENCE_BYTES = 128
"""A longer sequence sets no known mode, so its beginning is not kept for later."""

MAX_PUSHED = 16
"""The number of keyboard settings that a program may stack; no terminal keeps more."""

_SEQUENCE = re.compile(
    rb"\x1b(?:"
    rb"\[(?P<marker>[?><=]?)(?P<parameters>[0-9;:]*)(?P<intermediate>[ -/]*)(?P<final>[@-~])"
    rb"|(?P<escape>[=>c78])"
    rb")"
)
_UNFINISHED = re.compile(rb"\x1b(?:\[[?><=]?[0-9;:]*[ -/]*)?\Z")

MOUSE = (9, 1000, 1001, 1002, 1003)
_DEFAULT_ON = frozenset({7, 25})
"""Autowrap and the cursor are on by default (CS DECAWM, DECTCEM)."""
_ALTERNATE = (1049, 1047, 47)
FOLLOWED = frozenset(
    {
        1,
        5,
        6,
        7,
        12,
        25,
        45,
        47,
        66,
        1004,
        1005,
        1006,
        1007,
        1015,
        1016,
        1047,
        1049,
        2004,
        2026,
        *MOUSE,
    }
)
"""Private modes (CS DECSET) that change the input from keyboard or mouse, or the display. 12 (a
blinking cursor) is included because cursor shapes are undone together, and 2026 (synchronized output)
because it freezes a screen on which it is left on."""


class Modes:
    """Follows the output of one terminal. `feed` may be called with any pieces of it."""

    def __init__(self) -> None:
        self._set: dict[int, bool] = {}
        self._keypad = False
        self._cursor_shape = b""
        self._modify_keys = b""
        self._keyboard = [0]
        self._fed = 0
        self._tail = b""
        self.primary_end = 0
        """The offset in the output where the primary screen was left, if the alternate is shown now."""

    def feed(self, data: bytes) -> None:
        """Follow the next bytes of output, whatever they contain."""
        start = self._fed - len(self._tail)
        self._fed += len(data)
        if self._tail:
            data = self._tail + data
            self._tail = b""
        if b"\x1b" not in data:
            return
        for match in _SEQUENCE.finditer(data):
            if match["escape"] is not None:
                self._escape(match["escape"])
            else:
                self._control(
                    start + match.start(),
                    *match.group("marker", "parameters", "intermediate", "final"),
                )
        unfinished = _UNFINISHED.search(data[-MAX_SEQUENCE_BYTES:])
        self._tail = unfinished[0] if unfinished else b""

    @property
    def alternate_screen(self) -> bool:
        """Return True if the program draws on the screen without scrollback."""
        return any(self._set.get(mode) for mode in _ALTERNATE)

    def redo(self) -> bytes:
        """Return the bytes that set a fresh terminal to these modes."""
        parts = [
            b"\x1b[?%d%c" % (mode, b"h" if on else b"l")
            for mode, on in sorted(self._set.items(), key=lambda item: item[0] not in _ALTERNATE)
            if on is not (mode in _DEFAULT_ON)
        ]
        if self._keypad:
            parts.append(b"\x1b=")
        if self._cursor_shape:
            parts.append(b"\x1b[" + self._cursor_shape + b" q")
        if self._modify_keys:
            parts.append(b"\x1b[>" + self._modify_keys + b"m")
        if self._keyboard[0]:
            parts.append(b"\x1b[=%du" % self._keyboard[0])
        parts += [b"\x1b[>%du" % flags for flags in self._keyboard[1:]]
        return b"".join(parts)

    def undo(self) -> bytes:
        """Return the bytes that restore a terminal after this output; empty if no mode was changed.

        The alternate screen is left last, so that everything else is undone on the screen where it was
        set.
        """
        parts = [
            b"\x1b[?%d%c" % (mode, b"h" if mode in _DEFAULT_ON else b"l")
            for mode, on in sorted(self._set.items(), key=lambda item: item[0] in _ALTERNATE)
            if on is not (mode in _DEFAULT_ON)
        ]
        before: list[bytes] = []
        if self._keypad:
            before.append(b"\x1b>")
        if self._cursor_shape:
            before.append(b"\x1b[0 q")
        if self._modify_keys:
            before.append(b"\x1b[>4m")
        if self._keyboard[1:]:
            before.append(b"\x1b[<%du" % len(self._keyboard[1:]))
        if self._keyboard[0]:
            before.append(b"\x1b[=0u")
        undone = b"".join(before + parts)
        return undone + b"\x1b[m" if undone else b""

    def _escape(self, final: bytes) -> None:
        match final:
            case b"=":
                self._keypad = True  # CS DECKPAM
            case b">":
                self._keypad = False  # CS DECKPNM
            case b"c":
                self._forget()  # CS RIS
            case _:
                pass  # DECSC, DECRC: the cursor's position, not a mode

    def _control(
        self, at: int, marker: bytes, parameters: bytes, intermediate: bytes, final: bytes
    ) -> None:
        match marker, intermediate, final:
            case b"?", b"", b"h" | b"l":
                alternate = self.alternate_screen
                for parameter in parameters.split(b";"):
                    if parameter.isdigit() and len(parameter) < 6 and int(parameter) in FOLLOWED:
                        self._set[int(parameter)] = final == b"h"
                if self.alternate_screen and not alternate:
                    self.primary_end = at
            case b"", b" ", b"q":
                self._cursor_shape = b"" if parameters in (b"", b"0") else parameters  # CS DECSCUSR
            case b"", b"!", b"p":
                self._soft_reset()
            case b">", b"", b"m":  # CS XTMODKEYS
                resource, _, value = parameters.partition(b";")
                if resource == b"4":
                    self._modify_keys = parameters if value not in (b"", b"0") else b""
                elif not resource:
                    self._modify_keys = b""
            case b">" | b"<" | b"=", b"", b"u":
                flags, _, mode = parameters.partition(b";")
                self._set_keyboard(marker, _parse_number(flags), _parse_number(mode))
            case _:
                pass

    def _set_keyboard(self, marker: bytes, value: int, mode: int) -> None:
        """Apply a sequence of kitty's keyboard protocol: push flags, pop some, or set those in use."""
        if marker == b">":
            self._keyboard = [*self._keyboard, value & 31][-MAX_PUSHED:]
        elif marker == b"<":
            del self._keyboard[-max(value, 1) :]
            self._keyboard = self._keyboard or [0]
        else:
            before = self._keyboard[-1]
            self._keyboard[-1] = {2: before | value, 3: before & ~value}.get(mode, value) & 31

    def _soft_reset(self) -> None:
        """Apply CS DECSTR: the cursor is shown, and keys send their defaults."""
        for mode in (1, 6, 66, 7, 25):
            self._set.pop(mode, None)
        self._keypad = False

    def _forget(self) -> None:
        self._set.clear()
        self._keypad = False
        self._cursor_shape = self._modify_keys = b""
        self._keyboard = [0]


def _parse_number(parameter: bytes) -> int:
    return int(parameter) if parameter.isdigit() and len(parameter) < 6 else 0
