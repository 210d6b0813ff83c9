"""Searching the text of recordings, within bounds. For a thread: it reads files.

A recording is a log of bytes with no index, so each search reads the files. It takes `SEARCH_S` at most, and
goes on from there at the next page. It leaves the processor to the terminals of this worker after each piece.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from stagedoor.model.units import KIB, MIB
from stagedoor.recording.text_search import FoundLine, find_text
from stagedoor.wire.terminal.asciicast import AsciicastError, AsciicastReader

SEARCH_S = 2.0
"""How long one search reads."""
MOST_BYTES = 32 * MIB
"""The bytes of one recording that are read. The rest of a longer one is not searched."""
MOST_LINES = 3
"""The lines that are shown of one recording."""
_PIECE_BYTES = 256 * KIB
_PAUSE_S = 0.001


@dataclass
class TextSearch:
    """One search for a text. `is_over` says that its time is up."""

    text: str
    monotonic: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    is_cut: bool = field(default=False, init=False)
    """Whether the last recording was not read to its end."""

    def __post_init__(self) -> None:
        self._ends_at = self.monotonic() + SEARCH_S

    @property
    def is_over(self) -> bool:
        """Return whether the time of the search is up."""
        return self.monotonic() >= self._ends_at

    def find_lines(self, path: Path) -> Sequence[FoundLine]:
        """Return the first lines of a recording that have the text. A damaged one is read up to there.

        Raises OSError.
        """
        self.is_cut = False
        lines: list[FoundLine] = []
        try:
            events = AsciicastReader(self._read(path)).events()
            lines += islice(find_text(events, self.text), MOST_LINES)
        except AsciicastError:
            self.is_cut = True
        return lines

    def _read(self, path: Path) -> Iterator[bytes]:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            left = MOST_BYTES
            while left > 0 and (piece := os.read(fd, min(left, _PIECE_BYTES))):
                yield piece
                left -= len(piece)
                self.pause(_PAUSE_S)
                if self.is_over:
                    break
            self.is_cut = bool(os.read(fd, 1))
        finally:
            os.close(fd)
