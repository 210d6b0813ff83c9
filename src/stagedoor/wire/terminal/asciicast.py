"""asciicast v2, the format of recorded terminals (https://docs.asciinema.org/manual/asciicast/v2/).

A file has a header line, then one line for each event; each line is a JSON document. Lines are only
ever appended, so everything written before a power cut stays readable: an incomplete last line is
skipped.
"""

import json
import math
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

import msgspec

VERSION = 2
LINE_LIMIT = 4 * 1024 * 1024
"""The maximum length of a line in bytes. A longer line is refused without holding it in memory."""


class AsciicastError(ValueError):
    """The input is not asciicast v2. `str(error)` names the line."""


class Code(StrEnum):
    """The kinds of events. Players ignore unknown codes, as the format requires."""

    OUTPUT = "o"
    INPUT = "i"
    MARKER = "m"
    RESIZE = "r"


@dataclass(frozen=True, slots=True)
class AsciicastHeader:
    """The first line. `width` and `height` are columns and rows, `timestamp` whole seconds since the epoch.

    `env` holds plain strings (`TERM`, `SHELL`). `extra` are keys that the format does not define, which
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
class AsciicastEvent:
    """An event, `at` seconds after the recording began. `code` is one of `Code`, or a later addition.

    The data of a resize are the columns and rows, such as `132x43`.
    """

    at: float
    code: str
    data: str


class Text:
    """Decodes a terminal's bytes into the text of the format. A character may span pieces.

    Bytes that are not UTF-8 become U+FFFD, because the format cannot represent them.
    """

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """Return the text of the characters that `data` completes."""
        return self._decoder.decode(data)

    def end(self) -> str:
        """Return the text for a character that is still incomplete at the end."""
        return self._decoder.decode(b"", final=True)


def encode_header(header: AsciicastHeader) -> bytes:
    """Return the header's line with its line end. Raises ValueError if `extra` has a key of the format."""
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
    return _encode_line(document | dict(header.extra))


def encode_event(event: AsciicastEvent) -> bytes:
    """Return the event's line with its line end. Times have microseconds, as in asciinema's own files."""
    # repr, not a fixed format: 0.1 stays short, and parsing returns the same number.
    return _encode_line([round(event.at, 6), event.code, event.data])


def decode_header(line: bytes) -> AsciicastHeader:
    """Parse the header's line. Raises AsciicastError."""
    document = _parse_line(line, 1)
    if not isinstance(document, dict):
        raise AsciicastError("line 1: the header is no JSON object")
    if document.get("version") != VERSION:
        raise AsciicastError(
            f"line 1: asciicast version {document.get('version')!r}, not {VERSION}"
        )
    numbers = {}
    for key in ("width", "height", "timestamp"):
        value = document.get(key, 0 if key == "timestamp" else None)
        # bool is an int in Python, but no size; asciinema writes whole timestamps, others don't.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
            raise AsciicastError(f"line 1: {key} is {value!r}")
        numbers[key] = int(value)
    texts = {}
    for key in ("command", "title"):
        value = document.get(key)
        if value is not None and not isinstance(value, str):
            raise AsciicastError(f"line 1: {key} is not a string")
        texts[key] = value
    env = document.get("env") or {}
    if not isinstance(env, dict):
        raise AsciicastError("line 1: env is no JSON object")
    return AsciicastHeader(
        width=numbers["width"],
        height=numbers["height"],
        timestamp=numbers["timestamp"],
        command=texts["command"],
        title=texts["title"],
        # Some recorders write null for an unset variable.
        env={key: value for key, value in env.items() if isinstance(value, str)},
        extra={key: value for key, value in document.items() if key not in _KEYS},
    )


def decode_event(line: bytes, number: int) -> AsciicastEvent:
    """Parse an event's line. `number` is the line's, for the message. Raises AsciicastError."""
    try:
        at, code, data = _EVENT.decode(line)
    except msgspec.MsgspecError:  # which says less, and refuses lone surrogates
        return _decode_carefully(line, number)
    if not 0 <= at < math.inf:
        raise AsciicastError(f"line {number}: {at!r} is not a time")
    return AsciicastEvent(at, code, data)


def _decode_carefully(line: bytes, number: int) -> AsciicastEvent:
    document = _parse_line(line, number)
    if not isinstance(document, list) or len(document) != 3:
        raise AsciicastError(f"line {number}: an event has a time, a code and data")
    at, code, data = document
    if isinstance(at, bool) or not isinstance(at, int | float) or at < 0:
        raise AsciicastError(f"line {number}: {at!r} is not a time")
    if isinstance(at, float) and not math.isfinite(at):
        raise AsciicastError(f"line {number}: {at!r} is not a time")
    if not isinstance(code, str) or not isinstance(data, str):
        raise AsciicastError(f"line {number}: code and data are text")
    try:
        return AsciicastEvent(float(at), code, data)
    except OverflowError:
        raise AsciicastError(f"line {number}: the time is out of range") from None


def find_last_event_time(tail: bytes) -> float | None:
    """Return the time of the last event in seconds, or None if `tail` has no whole line.

    `tail` is the end of a file. Its first line does not count, because it may be cut off or the header;
    neither does an unterminated last line, which is still being written.
    """
    for line in reversed(tail.split(b"\n")[1:-1]):
        try:
            return decode_event(line, 0).at
        except AsciicastError:
            continue
    return None


class AsciicastReader:
    """A reader of a recording: its header, then its events.

    `cut_off` is True once the last line turned out to have no line end.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        """Read the header from `pieces`, the recording's bytes split anywhere. Raises AsciicastError."""
        self.cut_off = False
        self._lines = self._split(pieces)
        first = next(self._lines, None)
        if first is None:
            raise AsciicastError("there is no header")
        self.header = decode_header(first)

    def read_events(self) -> Iterator[AsciicastEvent]:
        """Yield the events in the order of the file. It can be iterated once. Raises AsciicastError."""
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


_EVENT = msgspec.json.Decoder(tuple[float, str, str])
_KEYS = frozenset({"version", "width", "height", "timestamp", "command", "title", "env"})


def _encode_line(document: object) -> bytes:
    # ASCII: a lone surrogate stays an escape, and `cat` sends no control sequence to a terminal.
    return json.dumps(document, separators=(", ", ": "), allow_nan=False).encode("ascii") + b"\n"


def _parse_line(line: bytes, number: int) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise AsciicastError(f"line {number}: no JSON") from None
