"""The input of a run: the frames in its FIFO, and what the holder does with them. Pure.

Any worker of the gateway may write to the FIFO, and may die while doing so. A frame has at most PIPE_BUF
bytes, so it is written completely or not at all (pipe(7)). It names the offset of its bytes, so what is sent
again is recognised.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

FRAME_BYTES = 4096
"""PIPE_BUF of Linux."""
_HEAD = struct.Struct(">BQH")
MAX_DATA_BYTES = FRAME_BYTES - _HEAD.size
SILENCE_S = 60.0
"""A client that sends neither input nor KEEP for this long counts as lost."""


class InputKind(IntEnum):
    """The kinds of frames."""

    DATA = 1
    END = 2
    """The whole input was sent; the offset is its length."""
    BROKEN = 3
    """The client was lost before the end of its input."""
    KEEP = 4
    """The client is still connected."""


@dataclass(frozen=True, slots=True)
class InputFrame:
    """A frame; `at` is the offset of its first byte."""

    kind: InputKind
    at: int
    data: bytes = b""


class InputError(ValueError):
    """Bytes that are no frames."""


def encode_input(frame: InputFrame) -> bytes:
    """Return a frame's bytes. Raises InputError for more than MAX_DATA_BYTES."""
    if len(frame.data) > MAX_DATA_BYTES:
        raise InputError(f"{len(frame.data)} bytes in one frame")
    return _HEAD.pack(frame.kind, frame.at, len(frame.data)) + frame.data


class InputParser:
    """A parser of frames, which may come in pieces."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[InputFrame]:
        """Return the frames that are complete now. Raises InputError."""
        self._pending += data
        frames = []
        while len(self._pending) >= _HEAD.size:
            kind, at, size = _HEAD.unpack_from(self._pending)
            if kind not in InputKind._value2member_map_ or size > MAX_DATA_BYTES:
                raise InputError(f"a frame of kind {kind} with {size} bytes")
            end = _HEAD.size + size
            if len(self._pending) < end:
                break
            frames.append(InputFrame(InputKind(kind), at, bytes(self._pending[_HEAD.size : end])))
            del self._pending[:end]
        return frames


class RunInput:
    """The input so far. `size` counts its bytes, `is_over` is set at its end.

    `is_broken` is set if the client was lost in the middle of it. A client that was lost before it sent a
    byte has sent an empty input, which is complete.
    """

    def __init__(self) -> None:
        self.size = 0
        self.is_over = False
        self.is_broken = False

    def accept(self, frame: InputFrame) -> bytes:
        """Take a frame, and return the new bytes in it."""
        if self.is_over:
            return b""
        match frame.kind:
            case InputKind.DATA if frame.at > self.size:
                self.break_off()
            case InputKind.DATA:
                fresh = frame.data[self.size - frame.at :]
                self.size += len(fresh)
                return fresh
            case InputKind.END:
                self.is_over = True
                self.is_broken = frame.at != self.size
            case InputKind.BROKEN:
                self.break_off()
            case InputKind.KEEP:
                pass
        return b""

    def break_off(self) -> None:
        """Note that no more input will come, because the client was lost."""
        if not self.is_over:
            self.is_over = True
            self.is_broken = self.size > 0
