"""One transcript that every implementation of the terminal protocol is held to: `frames.json`.

`python -m tests.wire.frames_transcript` writes it from ours; `web/tests/frames.test.ts` reads it too.
"""

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from stagedoor.wire.terminal.codec import encode
from stagedoor.wire.terminal.frames import (
    MAX_DATA_BYTES,
    MAX_OFFSET,
    MAX_SIZE,
    MAX_TEXT_BYTES,
    Ack,
    Detach,
    Exit,
    Frame,
    Gap,
    Hello,
    HolderFrame,
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
    Welcome,
)

FILE = Path(__file__).with_name("frames.json")
ALL_BYTES = bytes(range(256))

FRAMES: tuple[Frame, ...] = (
    Hello("ticket", "main", "", 0, Size(80, 24)),
    Hello(
        "té你😀",
        "x",
        "a1",
        MAX_OFFSET,
        Size(MAX_SIZE, 1, 65535, 65535),
        Mode.WATCH,
        "t",
        "l",
        "c",
        0,
    ),
    Hello("", "", "", 1, Size(1, MAX_SIZE), Mode.TAKE_OVER, features=2**32 - 1),
    In(0, b"\x00"),
    In(MAX_OFFSET, ALL_BYTES),
    Ack(0),
    Ack(2**32 + 1),
    Resize(Size(120, 40, 1200, 800)),
    Ping(7),
    Detach(),
    Remove(2**32),
    Lock(on=True),
    Lock(on=False),
    Welcome("a1", 5, 2**40, 128 * 1024),
    Welcome("", MAX_OFFSET, MAX_OFFSET, 2**32 - 1, Mode.WATCH, 0),
    Out(0, ALL_BYTES),
    Out(2**53 - 2, b"\xff"),
    InAck(MAX_OFFSET),
    Gap(0, 1),
    Gap(2**32, MAX_OFFSET),
    Snapshot(b""),
    Snapshot(b"\x1b[?1049h"),
    Exit(0),
    Exit(-1, "KILL"),
    Exit(2**31 - 1, "é"),
    Pong(0),
    Pong(MAX_OFFSET, busy=True),
    Sized(Size(1, 1)),
    *(Notice(kind, f"word {kind}") for kind in NoticeKind),
    Notice(NoticeKind.FAULT, "\ufeff你" + "x" * (MAX_TEXT_BYTES - 6)),
    People(0, may_rule=False, locked=False, people=()),
    People(
        7,
        may_rule=True,
        locked=True,
        people=(
            Person(7, "é你", Mode.MIRROR, IdentityLevel.USER, typed=True),
            Person(MAX_OFFSET, "", Mode.WATCH, IdentityLevel.SSH, for_s=2**32 - 1),
        ),
    ),
)
"""Each kind, at its edges."""

BROKEN: tuple[bytes, ...] = (
    b"",
    b"\x00",
    b"\x7f",
    b"\xff",
    b"\x82" + b"\0" * 8,
    b"\x82" + b"\0" * 7,
    b"\x82" + b"\x7f" + b"\xff" * 7 + b"x",
    b"\x82" + (MAX_OFFSET + 1).to_bytes(8, "big") + b"x",
    b"\x83" + b"\0" * 9,
    b"\x84" + b"\0" * 16,
    b"\x86" + b"\0" * 4 + b"\0\x05abc",
    b"\x86" + b"\0" * 4 + b"\0\x01\xff",
    b"\x86" + b"\0" * 4 + (MAX_TEXT_BYTES + 1).to_bytes(2, "big") + b"x" * (MAX_TEXT_BYTES + 1),
    b"\x87" + b"\0" * 8,
    b"\x87" + b"\0" * 8 + b"\x02",
    b"\x87" + b"\0" * 10,
    b"\x88" + b"\0" * 8,
    b"\x88" + (MAX_SIZE + 1).to_bytes(2, "big") + b"\0\x01" + b"\0" * 4,
    bytes([0x89, max(NoticeKind) + 1, 0, 0]),
    b"\x81" + b"\0" * 20 + b"\x03\0\0",
    b"\x8a" + b"\0" * 10,
    b"\x8a" + b"\0" * 10 + b"\x01",
    b"\x8a" + b"\0" * 8 + b"\x02\0\0",
    b"\x8a" + b"\0" * 10 + b"\x01" + b"\0" * 8 + b"\x03" + b"\0" * 8,
)
"""Bytes that are no frame from the terminal's side."""


def transcript() -> dict[str, Any]:
    """`frames`: bytes as hex, and what they say; `broken`: bytes that are none."""
    return {
        "frames": [
            {
                "from": "terminal" if isinstance(frame, HolderFrame) else "developer",
                "frame": type(frame).__name__,
                "fields": {
                    field.name: _plain(getattr(frame, field.name)) for field in fields(frame)
                },
                "hex": encode(frame).hex(),
            }
            for frame in FRAMES
        ],
        "broken": [data.hex() for data in BROKEN],
        "most_data_bytes": MAX_DATA_BYTES,
    }


def text() -> str:
    return json.dumps(transcript(), indent=1) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
