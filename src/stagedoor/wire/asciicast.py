"""asciicast v2, the format of recorded terminals (https://docs.asciinema.org/manual/asciicast/v2/).

A header line, then one line for each event, each a JSON document. Lines are only ever appended, so
what was written before a power cut stays readable: a last line that was cut off is passed over.
"""

import json
import math
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

VERSION = 2
LINE_LIMIT = 4 * 1024 * 1024
"""Bytes in one line; a longer one is no recording of ours, and is not held in memory to find out."""


class AsciicastError(ValueError):
    """What was read is no asciicast v2. `str(error)` names the line."""


class Code(StrEnum):
    """What an event is. Players pass over codes that they don't know, as the format asks."""

    OUTPUT = "o"
    INPUT = "i"
    MARKER = "m"
    RESIZE = "r"


@dataclass(frozen=True, slots=True)
class Header:
    """`width` and `height` are columns and rows; `timestamp` seconds since the epoch, whole.

    `env` holds plain strings (`TERM`, `SHELL`). `extra` are keys beyond the format's own, which
    players ignore; their values are JSON.
    """

    width: int
    height: int
    timestamp: int
    command: str | None = None
    title: str | None = None
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    extra: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Event:
    """`at` is seconds since the recording began; `code` one of `Code`, or one that came later."""

    at: float
    code: str
    data: str

    def size(self) -> tuple[int, int] | None:
        """Columns and rows of a resize; None for anything else."""
        if self.code != Code.RESIZE:
            return None
        columns, _, rows = self.data.partition("x")
        if not (_is_count(columns) and _is_count(rows)):
            return None
        return int(columns), int(rows)


def resize(at: float, columns: int, rows: int) -> Event:
    return Event(at, Code.RESIZE, f"{columns}x{rows}")


class Text:
    """Bytes of a terminal as the text that the format holds; characters may span pieces.

    What is no UTF-8 becomes U+FFFD: the format has no place for other bytes.
    """

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        return self._decoder.decode(data)

    def end(self) -> str:
        """What is left of a character that never came to its end."""
        return self._decoder.decode(b"", final=True)


def encode_header(header: Header) -> bytes:
    """One line with its end. Raises ValueError for an `extra` key that the format has."""
    document: dict[str, object] = {
        "version": VERSION,
        "width": header.width,
        "height": header.height,
        "timestamp": header.timestamp,
    }
    if header.command is not None:
        document["command"] = header.command
    if header.title is not None:
        document["title"] = header.title
    if header.env:
        document["env"] = dict(header.env)
    taken = _KEYS & set(header.extra)
    if taken:
        raise ValueError(f"asciicast has its own meaning for {', '.join(sorted(taken))}")
    return _line(document | dict(header.extra))


def encode_event(event: Event) -> bytes:
    """One line with its end. Times have microseconds, as asciinema's own."""
    # repr, not a fixed format: 0.1 stays short, and reading gives the same number back.
    return _line([round(event.at, 6), event.code, event.data])


def decode_header(line: bytes) -> Header:
    """Raises AsciicastError."""
    document = _document(line, 1)
    if not isinstance(document, dict):
        raise AsciicastError("line 1: the header is no JSON object")
    if document.get("version") != VERSION:
        raise AsciicastError(
            f"line 1: asciicast version {document.get('version')!r}, not {VERSION}"
        )
    numbers = {}
    for key in ("width", "height", "timestamp"):
        value = document.get(key, 0 if key == "timestamp" else None)
        # bool is an int in Python, and no size; asciinema writes whole timestamps, others don't.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
            raise AsciicastError(f"line 1: {key} is {value!r}")
        numbers[key] = int(value)
    texts = {}
    for key in ("command", "title"):
        value = document.get(key)
        if value is not None and not isinstance(value, str):
            raise AsciicastError(f"line 1: {key} is no text")
        texts[key] = value
    env = document.get("env") or {}
    if not isinstance(env, dict):
        raise AsciicastError("line 1: env is no JSON object")
    return Header(
        width=numbers["width"],
        height=numbers["height"],
        timestamp=numbers["timestamp"],
        command=texts["command"],
        title=texts["title"],
        # Some recorders write null for a variable that was not set.
        env={key: value for key, value in env.items() if isinstance(value, str)},
        extra={key: value for key, value in document.items() if key not in _KEYS},
    )


def decode_event(line: bytes, number: int) -> Event:
    """`number` is the line's, for the message. Raises AsciicastError."""
    document = _document(line, number)
    if not isinstance(document, list) or len(document) != 3:
        raise AsciicastError(f"line {number}: an event has a time, a code and data")
    at, code, data = document
    if isinstance(at, bool) or not isinstance(at, int | float) or at < 0:
        raise AsciicastError(f"line {number}: {at!r} is no time")
    if isinstance(at, float) and not math.isfinite(at):
        raise AsciicastError(f"line {number}: {at!r} is no time")
    if not isinstance(code, str) or not isinstance(data, str):
        raise AsciicastError(f"line {number}: code and data are text")
    try:
        return Event(float(at), code, data)
    except OverflowError:
        raise AsciicastError(f"line {number}: the time is out of range") from None


def last_event_at(tail: bytes) -> float | None:
    """When the last event was, seconds, by the last bytes of a file; None where they hold no whole line.

    The first line counts for nothing, since it may be cut off or the header; so does a last one that is
    being written.
    """
    for line in reversed(tail.split(b"\n")[1:-1]):
        try:
            return decode_event(line, 0).at
        except AsciicastError:
            continue
    return None


class Reader:
    """Lines to a header and events. `cut_off` is True once a last line without its end was met."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        """`pieces` are the bytes of the recording, split anywhere. Raises AsciicastError."""
        self.cut_off = False
        self._lines = self._split(pieces)
        first = next(self._lines, None)
        if first is None:
            raise AsciicastError("there is no header")
        self.header = decode_header(first)

    def events(self) -> Iterator[Event]:
        """In the order of writing; once. Raises AsciicastError."""
        for number, line in enumerate(self._lines, start=2):
            if line.strip():
                yield decode_event(line, number)

    def _split(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        rest = b""
        number = 0
        for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                number += 1
                yield line
            if len(rest) > LINE_LIMIT:
                raise AsciicastError(f"line {number + 1}: longer than {LINE_LIMIT} bytes")
        self.cut_off = bool(rest)


_KEYS = frozenset({"version", "width", "height", "timestamp", "command", "title", "env"})


def _is_count(text: str) -> bool:
    return 0 < len(text) < 10 and text.isascii() and text.isdigit()


def _line(document: object) -> bytes:
    # ASCII: a lone surrogate stays an escape, and no terminal is spoken to by `cat`.
    return json.dumps(document, separators=(", ", ": "), allow_nan=False).encode("ascii") + b"\n"


def _document(line: bytes, number: int) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise AsciicastError(f"line {number}: no JSON") from None
