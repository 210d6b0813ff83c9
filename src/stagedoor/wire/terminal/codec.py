"""The encoding of the terminal protocol's frames (`wire.terminal.frames`) as bytes, and back."""

import re
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import ClassVar, TypeVar

from stagedoor.wire.terminal.frames import (
    MAX_DATA_BYTES,
    MAX_FRAME_BYTES,
    MAX_OFFSET,
    MAX_SIZE,
    MAX_TEXT_BYTES,
    Ack,
    Detach,
    Exit,
    Frame,
    FrameKind,
    Gap,
    Hello,
    IdentityLevel,
    In,
    InAck,
    Lock,
    Mode,
    Notice,
    NoticeKind,
    Out,
    People,
    Person,
    Ping,
    Pong,
    Remove,
    Resize,
    Size,
    Sized,
    Snapshot,
    TerminalError,
    Welcome,
)


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame. Raises TerminalError if a field is out of its range."""
    try:
        return _encode(frame)
    except (struct.error, UnicodeEncodeError) as error:
        raise TerminalError(f"{type(frame).__name__} cannot be written: {error}") from None


def decode(data: bytes) -> Frame:
    """Return the frame in `data`, which must hold nothing else. Raises only TerminalError."""
    if not data:
        raise TerminalError("an empty frame")
    if len(data) > MAX_FRAME_BYTES:
        raise TerminalError(f"a frame of {len(data)} bytes; the limit is {MAX_FRAME_BYTES}")
    reader = _DECODERS.get(data[0])
    if reader is None:
        raise TerminalError(f"an unknown frame, 0x{data[0]:02x}")
    fields = _FrameReader(data)
    frame = reader(fields)
    if fields.at != len(data):
        raise TerminalError(f"{len(data) - fields.at} bytes too many in {type(frame).__name__}")
    return frame


class FrameBuffer:
    """A buffer that splits a byte stream into frames, each of which follows its length (u32)."""

    HEAD: ClassVar = struct.Struct("!I")

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that `data` completes. Raises TerminalError for a length beyond the limit."""
        self._received += data
        frames: list[bytes] = []
        at = 0
        while len(self._received) - at >= self.HEAD.size:
            (length,) = self.HEAD.unpack_from(self._received, at)
            if not 0 < length <= MAX_FRAME_BYTES:
                raise TerminalError(
                    f"a frame of {length} bytes; 1 to {MAX_FRAME_BYTES} are possible"
                )
            start = at + self.HEAD.size
            if len(self._received) < start + length:
                break
            frames.append(bytes(self._received[start : start + length]))
            at = start + length
        del self._received[:at]
        return frames


def encode_framed(frame: Frame) -> bytes:
    """Return the bytes of a frame after their length, for a byte stream. Raises as `encode`."""
    data = encode(frame)
    return FrameBuffer.HEAD.pack(len(data)) + data


_EnumT = TypeVar("_EnumT", bound=IntEnum)

_U64 = struct.Struct("!BQ")
_GAP = struct.Struct("!BQQ")
_PONG = struct.Struct("!BQ?")
_SIZE = struct.Struct("!HHHH")
_EXIT = struct.Struct("!Bi")
_WELCOME = struct.Struct("!QQIBI")
_SEEN = struct.Struct("!Q")
_U32 = struct.Struct("!I")
_PEOPLE = struct.Struct("!BQ??B")
_PERSON = struct.Struct("!QBB?I")


def _encode(frame: Frame) -> bytes:
    match frame:
        case Out(at, data) | In(at, data):
            if not 0 < len(data) <= MAX_DATA_BYTES:
                raise TerminalError(
                    f"{len(data)} bytes in one frame; 1 to {MAX_DATA_BYTES} are possible"
                )
            return _U64.pack(FrameKind.OUT if isinstance(frame, Out) else FrameKind.IN, at) + data
        case Ack(to):
            return _U64.pack(FrameKind.ACK, to)
        case InAck(to):
            return _U64.pack(FrameKind.INACK, to)
        case Ping(number):
            return _U64.pack(FrameKind.PING, number)
        case Pong(number, busy):
            return _PONG.pack(FrameKind.PONG, number, busy)
        case Gap(start, end):
            if not start < end:
                raise TerminalError("a gap without an extent")
            return _GAP.pack(FrameKind.GAP, start, end)
        case Snapshot(data):
            if len(data) > MAX_DATA_BYTES:
                raise TerminalError(
                    f"a snapshot of {len(data)} bytes; the limit is {MAX_DATA_BYTES}"
                )
            return bytes([FrameKind.SNAPSHOT]) + data
        case Resize(size):
            return bytes([FrameKind.RESIZE]) + _encode_size(size)
        case Sized(size):
            return bytes([FrameKind.SIZE]) + _encode_size(size)
        case Exit(code, signal):
            return _EXIT.pack(FrameKind.EXIT, code) + _encode_text(signal)
        case Notice(word, text):
            return bytes([FrameKind.NOTICE, word]) + _encode_text(text)
        case Detach():
            return bytes([FrameKind.DETACH])
        case Remove(number):
            return _U64.pack(FrameKind.REMOVE, number)
        case Lock(on):
            return bytes([FrameKind.LOCK, on])
        case People():
            return _people_bytes(frame)
        case Welcome():
            return (
                bytes([FrameKind.WELCOME])
                + _WELCOME.pack(frame.out_at, frame.in_at, frame.window, frame.mode, frame.features)
                + _encode_text(frame.attachment)
            )
        case Hello():
            return _hello_bytes(frame)


def _hello_bytes(frame: Hello) -> bytes:
    head = bytes([FrameKind.HELLO, frame.mode]) + _U32.pack(frame.features) + _SEEN.pack(frame.seen)
    texts = (frame.ticket, frame.terminal, frame.attachment, frame.term, frame.lang, frame.command)
    return head + _encode_size(frame.size) + b"".join(_encode_text(text) for text in texts)


def _people_bytes(frame: People) -> bytes:
    head = _PEOPLE.pack(
        FrameKind.PEOPLE, frame.you, frame.may_rule, frame.locked, len(frame.people)
    )
    return head + b"".join(
        _PERSON.pack(person.number, person.mode, person.level, person.typed, person.for_s)
        + _encode_text(person.name)
        for person in frame.people
    )


def _encode_size(size: Size) -> bytes:
    if not (0 < size.columns <= MAX_SIZE and 0 < size.rows <= MAX_SIZE):
        raise TerminalError(f"a window of {size.columns} by {size.rows}; 1 to {MAX_SIZE} each")
    return _SIZE.pack(size.columns, size.rows, size.x_pixels, size.y_pixels)


def _encode_text(text: str) -> bytes:
    data = text.encode()
    if len(data) > MAX_TEXT_BYTES:
        raise TerminalError(f"a text of {len(data)} bytes; the limit is {MAX_TEXT_BYTES}")
    return len(data).to_bytes(2, "big") + data


class _FrameReader:
    """A reader of the fields of one frame, in order. Its methods raise TerminalError."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 1

    def unpack(self, form: struct.Struct) -> tuple[int, ...]:
        try:
            fields = form.unpack_from(self.data, self.at)
        except struct.error:
            raise self._cut_short() from None
        self.at += form.size
        return fields

    def number(self) -> int:
        number = self.unpack(_SEEN)[0]
        if number > MAX_OFFSET:
            raise TerminalError(f"an offset of {number}; {MAX_OFFSET} is the last")
        return number

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise self._cut_short()
        self.at += 1
        return self.data[self.at - 1]

    def rest(self, least: int) -> bytes:
        rest = self.data[self.at :]
        if not least <= len(rest) <= MAX_DATA_BYTES:
            raise TerminalError(
                f"{len(rest)} bytes in one frame; {least} to {MAX_DATA_BYTES} are possible"
            )
        self.at = len(self.data)
        return rest

    def text(self) -> str:
        start = self.at + 2
        end = start + int.from_bytes(self.data[self.at : start], "big")
        if start > len(self.data) or end > len(self.data):
            raise self._cut_short()
        if end - start > MAX_TEXT_BYTES:
            raise TerminalError(f"a text of {end - start} bytes; the limit is {MAX_TEXT_BYTES}")
        self.at = end
        try:
            return self.data[start:end].decode()
        except UnicodeDecodeError:
            raise TerminalError("a text that is no UTF-8") from None

    def size(self) -> Size:
        size = Size(*self.unpack(_SIZE))
        if not (0 < size.columns <= MAX_SIZE and 0 < size.rows <= MAX_SIZE):
            raise TerminalError(f"a window of {size.columns} by {size.rows}; 1 to {MAX_SIZE} each")
        return size

    def flag(self) -> bool:
        value = self.byte()
        if value > 1:
            raise TerminalError(f"{value} is neither yes nor no")
        return bool(value)

    def member(self, members: type[_EnumT]) -> _EnumT:
        value = self.byte()
        try:
            return members(value)
        except ValueError:
            name = re.sub("(?<=[a-z])(?=[A-Z])", " ", members.__name__).lower()
            raise TerminalError(f"{value} is no {name}") from None

    def _cut_short(self) -> TerminalError:
        return TerminalError(f"a frame 0x{self.data[0]:02x} that is cut short")


def _read_hello(fields: _FrameReader) -> Hello:
    mode, (features,) = fields.member(Mode), fields.unpack(_U32)
    seen, size = fields.number(), fields.size()
    ticket, terminal, attachment = fields.text(), fields.text(), fields.text()
    term, lang, command = fields.text(), fields.text(), fields.text()
    return Hello(ticket, terminal, attachment, seen, size, mode, term, lang, command, features)


def _read_welcome(fields: _FrameReader) -> Welcome:
    out_at, in_at, window = fields.number(), fields.number(), fields.unpack(_U32)[0]
    mode, (features,) = fields.member(Mode), fields.unpack(_U32)
    return Welcome(fields.text(), out_at, in_at, window, mode, features)


def _read_people(fields: _FrameReader) -> People:
    you, may_rule, locked = fields.number(), fields.flag(), fields.flag()
    return People(you, may_rule, locked, tuple(_read_person(fields) for _ in range(fields.byte())))


def _read_person(fields: _FrameReader) -> Person:
    number, mode = fields.number(), fields.member(Mode)
    level, typed, (for_s,) = fields.member(IdentityLevel), fields.flag(), fields.unpack(_U32)
    return Person(number, fields.text(), mode, level, typed, for_s)


def _read_gap(fields: _FrameReader) -> Gap:
    gap = Gap(fields.number(), fields.number())
    if not gap.start < gap.end:
        raise TerminalError("a gap without an extent")
    return gap


_DECODERS: dict[int, Callable[[_FrameReader], Frame]] = {
    FrameKind.HELLO: _read_hello,
    FrameKind.IN: lambda fields: In(fields.number(), fields.rest(1)),
    FrameKind.ACK: lambda fields: Ack(fields.number()),
    FrameKind.RESIZE: lambda fields: Resize(fields.size()),
    FrameKind.PING: lambda fields: Ping(fields.number()),
    FrameKind.DETACH: lambda _: Detach(),
    FrameKind.REMOVE: lambda fields: Remove(fields.number()),
    FrameKind.LOCK: lambda fields: Lock(fields.flag()),
    FrameKind.PEOPLE: _read_people,
    FrameKind.WELCOME: _read_welcome,
    FrameKind.OUT: lambda fields: Out(fields.number(), fields.rest(1)),
    FrameKind.INACK: lambda fields: InAck(fields.number()),
    FrameKind.GAP: _read_gap,
    FrameKind.SNAPSHOT: lambda fields: Snapshot(fields.rest(0)),
    FrameKind.EXIT: lambda fields: Exit(fields.unpack(struct.Struct("!i"))[0], fields.text()),
    FrameKind.PONG: lambda fields: Pong(fields.number(), fields.flag()),
    FrameKind.SIZE: lambda fields: Sized(fields.size()),
    FrameKind.NOTICE: lambda fields: Notice(fields.member(NoticeKind), fields.text()),
}
