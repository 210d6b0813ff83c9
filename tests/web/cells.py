"""A screen as cells: what tmux says of it, and what a browser has drawn, in the same words."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

Colour = int | str
"""Of the palette; `#rrggbb`; or `""`, the terminal's own."""
OWN_REVERSED = "reversed"
"""The terminal's own foreground as background, or the other way round."""
_SGR = re.compile(r"\x1b\[([0-9;:]*)m|(.)", re.DOTALL)
_SHIFT = {"\x0e": True, "\x0f": False}
_GRAPHICS = str.maketrans("".join(map(chr, range(0x60, 0x7F))), "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·")
"""Between SO and SI tmux says what it keeps as DEC's special graphics (VT220 reference, table 2-4)."""
_ON = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "reverse", 9: "struck", 53: "overline"}
_OFF = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("reverse",), 29: ("struck",),
        55: ("overline",)}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One character, which takes two columns if it is wide."""

    text: str = " "
    foreground: Colour = ""
    background: Colour = ""
    marks: frozenset[str] = frozenset()

    @property
    def width(self) -> int:
        return 2 if unicodedata.east_asian_width(self.text[0]) in "WF" else 1

    def drawn(self) -> "Cell":
        """As it comes to be drawn: colours changed over, bold in bright, a blank without its own colour."""
        cell = self
        if "reverse" in cell.marks:
            cell = replace(
                cell,
                foreground=cell.background if cell.background != "" else OWN_REVERSED,
                background=cell.foreground if cell.foreground != "" else OWN_REVERSED,
                marks=cell.marks - {"reverse"},
            )
        if "bold" in cell.marks and isinstance(cell.foreground, int) and cell.foreground < 8:
            cell = replace(cell, foreground=cell.foreground + 8)
        if cell.text == " " and not cell.marks & {"underline", "struck", "overline"}:
            cell = replace(cell, foreground="", marks=frozenset())
        return cell


BLANK = Cell()


def trimmed(row: list[Cell]) -> list[Cell]:
    """Without blanks at its end: cells never written to, and those that were, look the same."""
    while row and row[-1].text == " " and row[-1].background == "" and not row[-1].marks:
        row = row[:-1]
    return row


def captured(said: str) -> list[list[Cell]]:
    """Return the cells of `tmux capture-pane -peN`: attributes go on from line to line."""
    state, shifted = BLANK, False
    rows = []
    for line in said.rstrip("\n").split("\n"):
        row: list[Cell] = []
        for found in _SGR.finditer(line):
            if found[2] is None:
                state = _set(state, found[1])
            elif found[2] in _SHIFT:
                shifted = _SHIFT[found[2]]
            elif unicodedata.combining(found[2]):
                row[-1] = replace(row[-1], text=row[-1].text + found[2])
            else:
                text = found[2].translate(_GRAPHICS) if shifted else found[2]
                row.append(replace(state, text=text))
        rows.append(trimmed(row))
    return rows


def _set(state: Cell, text: str) -> Cell:
    """One SGR sequence (ECMA-48 §8.3.117, ISO 8613-6)."""
    words: Iterator[str] = iter(text.split(";") if text else ["0"])
    for word in words:
        number, _, more = word.partition(":")
        code = int(number or 0)
        if code == 0:
            state = BLANK
        elif code == 4 and more == "0":
            state = replace(state, marks=state.marks - {"underline"})
        elif code in _ON:
            state = replace(state, marks=state.marks | {_ON[code]})
        elif code in _OFF:
            state = replace(state, marks=state.marks - set(_OFF[code]))
        elif code in (38, 48, 58):
            rest = more.split(":") if more else [next(words)]
            if not more:
                rest += [next(words) for _ in range(1 if rest[0] == "5" else 3)]
            numbers = [int(entry) for entry in rest[1:] if entry]
            colour: Colour = (
                numbers[0] if rest[0] == "5" else "#{:02x}{:02x}{:02x}".format(*numbers)
            )
            if code != 58:
                state = replace(state, **{"foreground" if code == 38 else "background": colour})
        elif code in (39, 49):
            state = replace(state, **{"foreground" if code == 39 else "background": ""})
        elif 30 <= code % 60 <= 37 or 40 <= code % 60 <= 47:  # 90 to 107 are the bright ones
            name = "foreground" if code % 60 < 40 else "background"
            state = replace(state, **{name: code % 10 + (8 if code >= 90 else 0)})
    return state


def as_drawn(rows: list[list[Cell]]) -> list[list[Cell]]:
    """The same as a browser would draw it."""
    return [trimmed([cell.drawn() for cell in row]) for row in rows]


SPANS = """
[...document.querySelectorAll('.xterm-rows > div')].map(row => [...row.childNodes].map(span => ({
  text: span.textContent, classes: [...(span.classList ?? [])],
  foreground: span.style?.color ?? '', background: span.style?.backgroundColor ?? '',
  left: span.getBoundingClientRect ? span.getBoundingClientRect().left
    - document.querySelector('.xterm-screen').getBoundingClientRect().left : null,
})))
"""
"""Asks a page for what xterm.js has drawn into the document."""
_RGB = re.compile(r"rgb\((\d+), (\d+), (\d+)\)")


def drawn(rows: Any, cell_width: float) -> list[list[Cell]]:
    """Return what a browser has drawn, by `SPANS`; each span has to be where its column is."""
    cells = []
    for number, spans in enumerate(rows):
        row: list[Cell] = []
        column = 0
        for span in spans:
            text = span["text"].replace("\xa0", " ")
            off = abs(span["left"] - column * cell_width)
            assert off <= 1.5, f"row {number}, column {column}: {text!r} is {off} pixels off"
            for char in text:
                if unicodedata.combining(char) or char == "\ufe0f":
                    row[-1] = replace(row[-1], text=row[-1].text + char)
                    continue
                cell = _styled(char, span)
                row.append(cell)
                column += cell.width
        cells.append(trimmed(row))
    return cells


def _styled(char: str, span: Any) -> Cell:
    colours: dict[str, Colour] = {}
    marks = set()
    for name in span["classes"]:
        kind, _, value = name.removeprefix("xterm-").partition("-")
        if kind in ("fg", "bg"):
            colours[kind] = OWN_REVERSED if value == "257" else int(value)
        elif kind in ("bold", "dim", "italic", "underline", "overline", "strikethrough"):
            marks.add("struck" if kind == "strikethrough" else kind)
    for kind, name in (("fg", "foreground"), ("bg", "background")):
        if shown := _RGB.match(span[name]):
            colours[kind] = "#{:02x}{:02x}{:02x}".format(*map(int, shown.groups()))
    cell = Cell(char, colours.get("fg", ""), colours.get("bg", ""), frozenset(marks))
    if char == " " and not cell.marks & {"underline", "struck", "overline"}:
        cell = replace(cell, foreground="", marks=frozenset())
    return cell
