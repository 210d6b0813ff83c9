"""Translating a finished line of English by a catalogue, so that the code holds English alone.

A key of the catalogue is a text of the code: `{0}`, `{1}`, … or `{name}` stand for its values, and both
languages have the same ones. A line is translated where it leaves for a person; logs, audit and answers to
programs are not.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PLACE = re.compile(r"\{(\w+)\}")
_VALUE = re.compile(r"\{(\d+|n)\}")
NUMBER = "n"
"""The name of a place that holds a number only, for short texts such as `{n} min`."""
_CLAUSE = "; "
_BETWEEN = re.compile("(?<=[\u4e00-\u9fff]) (?=[\u4e00-\u9fff])")
_OUTPUT = re.compile(r"(\s*(?:stagedoor: )?)(.*?)((?:\x1b\[K)?\s*)", re.DOTALL)
_MARKS = re.compile("[；：。（）()`'\"]")
"""What sets off the words of another program, a person or a command from those of a sentence."""
_CHINESE = re.compile("[\u4e00-\u9fff]")
_OFTEN = (
    r"(?:an?|are|has|have|is|its?|no|not|of|that|the|there|this|to|was|which|with|without|your?)"
)
_PROSE = re.compile(rf"\b(?:{_OFTEN} [a-z]+|[a-z]+ {_OFTEN})\b")
"""A piece of an English sentence: names and lists of names have none of these words."""
_DEPTH = 5
_MAX_CHARS = 4000
_MAX_CLAUSES = 8


class Catalogue:
    """The texts of one language by their English."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        # Templates have named places, and are never finished lines.
        patterns = [(_VALUE.split(text), text) for text in texts if _VALUE.search(text)]
        # The most specific first: "token {0} has expired" before "{0} has expired".
        self._patterns = sorted(patterns, key=lambda each: -sum(map(len, each[0][::2])))

    def translate(self, line: str) -> str:
        """Return the line in this language, or as it is if the catalogue lacks a part of a sentence."""
        text = self._translate(line, _DEPTH)
        return line if text is not line and _is_mixed(text) else text

    def _translate(self, line: str, depth: int) -> str:
        if not depth or not self.texts or len(line) > _MAX_CHARS:
            return line
        text = self._find(line, depth)
        return self._translate_sentences(line, depth) if text is None else text

    def translate_output(self, text: str) -> str:
        """Return the lines of a program's output in this language, with its name and the indentation kept."""
        return "".join(map(self._translate_row, text.splitlines(keepends=True)))

    def _translate_row(self, row: str) -> str:
        match = _OUTPUT.fullmatch(row)
        return row if match is None else match[1] + self.translate(match[2]) + match[3]

    def _find(self, line: str, depth: int) -> str | None:
        """Return the translation of a line whose texts are all known, or None."""
        text = self._find_text(line, depth) or (self._find_clauses(line, depth) if depth else None)
        return text or self._fill_pattern(line, depth, whole=False)

    def _find_text(self, line: str, depth: int) -> str | None:
        return self.texts.get(line) or self._fill_pattern(line, depth, whole=True)

    def _find_clauses(self, line: str, depth: int) -> str | None:
        """Return the translation of texts that `; ` joins. A text may contain `; ` as well."""
        at = line.rfind(_CLAUSE)
        for _ in range(_MAX_CLAUSES):
            first = None if at < 0 else self._find_text(line[:at], depth)
            if first is not None:
                rest = self._find(line[at + len(_CLAUSE) :], depth - 1)
                return None if rest is None else f"{first}；{rest}"
            at = line.rfind(_CLAUSE, 0, max(at, 0))
        return None

    def _fill_pattern(self, line: str, depth: int, *, whole: bool) -> str | None:
        """Return the translation of a line with values; with `whole`, no value has several clauses.

        A value of several words is translated too. Others are names and numbers.
        """
        for pieces, key in self._patterns:
            values = _match(pieces, line)
            if values is None or (whole and any(_CLAUSE in value for value in values.values())):
                continue
            shown = {
                name: self._translate(value, depth - 1) if " " in value else value
                for name, value in values.items()
            }
            # Blanks are between Chinese and other words only, and a value may be either.
            return _BETWEEN.sub("", fill(self.texts[key], shown))
        return None

    def _translate_sentences(self, line: str, depth: int) -> str:
        """Translate each part of a line that was joined from several texts. A row of a table is kept."""
        if "  " in line:
            return line
        for mark, end, joint in ((". ", ".", ""), (_CLAUSE, "", "；"), (": ", "", "：")):
            first, found, rest = line.partition(mark)
            if found:
                parts = [self._translate(part, depth - 1) for part in (first + end, rest)]
                return line if parts == [first + end, rest] else joint.join(parts)
        text = self._find(line[:-1], depth) if line.endswith(".") else None
        return line if text is None else f"{text}。"


def _is_mixed(text: str) -> bool:
    """Return whether a sentence is half Chinese and half English."""
    return any(_CHINESE.search(part) and _PROSE.search(part) for part in _MARKS.split(text))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return the text with its values."""
    return PLACE.sub(lambda place: values.get(place[1], place[0]), text)


def _match(pieces: list[str], line: str) -> dict[str, str] | None:
    """Return the values of a line by their places, or None if it is not of this text. Takes linear time.

    `pieces` are the texts and the names of places in turn.
    """
    texts, names = pieces[::2], pieces[1::2]
    if not (line.startswith(texts[0]) and line.endswith(texts[-1])):
        return None
    at, end = len(texts[0]), len(line) - len(texts[-1])
    values: dict[str, str] = {}
    for name, text in zip(names, [*texts[1:-1], ""]):  # noqa: B905 - Python 3.8 has no `strict`
        until = line.find(text, at, end) if text else end
        value = line[at:until]
        if until < at or (name == NUMBER and not value.replace(".", "", 1).isdigit()):
            return None
        values[name], at = value, until + len(text)
    return values
