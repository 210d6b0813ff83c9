"""Search in the output of a recording, line by line. Pure.

No screen is drawn. A line ends at a line feed or where the program moves the cursor, so the search may miss
text that a full-screen program draws in pieces.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from stagedoor.wire.oneline import replace_unprintable
from stagedoor.wire.terminal.asciicast import AsciicastEvent, Code

MAX_LINE_CHARS = 4096
"""The length at which a line is searched in parts. The parts overlap by the length of the search text."""
SHOWN_CHARS = 120
_ENDS = frozenset("\n\r\v\f\x1b")
_STRINGS = r"\x1b[\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\)"
_STAYING = re.compile(
    rf"{_STRINGS}|\x1b\[[0-?]*[ -/]*[mhlKJq]|\x1b[ -/]*[0-9=>A-OQ-WYZ\\a-z]|[\x00-\x07\x0e-\x1a\x7f]"
)
"""The sequences that do not move the cursor: colours, modes, titles, and those that erase."""
_MOVING = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\r\v\f]")
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]P_^X][^\x07\x1b]{0,4096}(?:\x1b)?|[ -/]*)?\Z")
"""An incomplete sequence at the end, which the next event continues."""


@dataclass(frozen=True, slots=True)
class FoundLine:
    """A line that contains the text, `at` seconds after the recording began."""

    at: float
    line: str


def find_text(events: Iterable[AsciicastEvent], wanted: str) -> Iterator[FoundLine]:
    """Yield the lines of output that contain `wanted`, which is not empty, regardless of case."""
    folded = wanted.casefold()
    pending, began_at = "", 0.0
    for batch in _collect_batches(events):
        began_at = began_at if pending else batch[0].at
        lines = _split(pending + "".join(event.data for event in batch))
        if folded in "\n".join(lines).casefold():
            yield from _find_in_batch(batch, pending, began_at, folded)
        if len(lines) > 1:
            began_at = next((e.at for e in reversed(batch) if _may_end_line(e)), began_at)
        pending = lines[-1]
        if len(pending) >= MAX_LINE_CHARS:
            if folded in pending.casefold():
                yield FoundLine(began_at, _cut(pending, folded))
            pending = pending[len(pending) - len(wanted) + 1 :]
    if folded in pending.casefold():
        yield FoundLine(began_at, _cut(pending, folded))


def _collect_batches(events: Iterable[AsciicastEvent]) -> Iterator[Sequence[AsciicastEvent]]:
    """Yield events of output in batches of a few thousand characters, most of which have no match."""
    batch: list[AsciicastEvent] = []
    size = 0
    for event in events:
        if event.code != Code.OUTPUT:
            continue
        batch.append(event)
        size += len(event.data)
        if size >= MAX_LINE_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _find_in_batch(
    batch: Sequence[AsciicastEvent], pending: str, began_at: float, folded: str
) -> Iterator[FoundLine]:
    """Yield the lines that end in a batch and contain the text, each with its own time."""
    for event in batch:
        began_at = began_at if pending else event.at
        pending += event.data
        if not _may_end_line(event) and event is not batch[-1]:
            continue
        *lines, pending = _split(pending)
        for line in lines:
            if folded in line.casefold():
                yield FoundLine(began_at, _cut(line, folded))
        began_at = event.at if lines else began_at


def _may_end_line(event: AsciicastEvent) -> bool:
    return not _ENDS.isdisjoint(event.data)


def _split(text: str) -> list[str]:
    """Return the visible text of the lines in `text`. The last line may be incomplete."""
    begun = _BEGUN.search(text)
    rest = "" if begun is None else begun[0]
    text = text[: len(text) - len(rest)]
    lines = _MOVING.sub("\n", _STAYING.sub("", text.replace("\r\n", "\n"))).split("\n")
    lines = [_erase(line) if "\b" in line else line for line in lines]
    lines[-1] += rest
    return lines


def _erase(line: str) -> str:
    """Return a line without the characters that backspaces have erased."""
    kept: list[str] = []
    for character in line:
        if character != "\b":
            kept.append(character)
        elif kept:
            kept.pop()
    return "".join(kept)


def _cut(line: str, folded: str) -> str:
    """Return at most `SHOWN_CHARS` of a line, around the text."""
    at = max(0, line.casefold().find(folded) - SHOWN_CHARS // 3)
    return replace_unprintable(" ".join(line[at : at + SHOWN_CHARS].split()))
