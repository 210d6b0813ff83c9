"""The parts of a conversation over the terminal protocol, and how it is written down.

A conversation is a list of steps, in order. `who` is a person at the terminal, who has a client:

- `{"who": …, "do": …}`: `connects` and `cut` are his line's (`unnoticed`: the terminal's end of it does not
  know yet); `typed`, `drawn` (all that was to be shown is), `resized`, `pings`, `detaches` are his own.
- `{"who": …, "up": …}` and `{"who": …, "down": …}`: a frame of his line. `lost`: it was sent and never came.
  Beside one that comes down stand the `events` that his client reports to whoever draws; or it is `refused`.
- `{"who": …, "hangs_up": true}`: the terminal closes his line; `"old"`: one that he has replaced.
- `{"terminal": …}`: `writes`, `takes` (of what was typed), `exits` and `busy` are the program's doing;
  `anew`: another one stands in its place; `later`: so many seconds go by. `sized`, `redraws` and `is_over`
  are what comes of it, and `reads` is whether output is read at all now.

Bytes are written as hexadecimal digits in groups; `78*65536` is a byte and how often it comes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from stagedoor.wire.terminal.codec import encode
from stagedoor.wire.terminal.frames import (
    MAX_DATA_BYTES,
    Ack,
    ClientFrame,
    Detach,
    Exit,
    Gap,
    Hello,
    HolderFrame,
    In,
    InAck,
    Mode,
    Notice,
    Out,
    Ping,
    Resize,
    Size,
    Sized,
    Snapshot,
    Welcome,
)

Step = dict[str, Any]
SIZE = Size(80, 24)
WINDOW = 128 * 1024
_RUN = 24
"""Fewer equal bytes than these are written out."""


@dataclass
class Conversation:
    """`sides` says who has a part that can be held to it: `client`, `terminal`, or the `gateway` alone."""

    name: str
    sides: tuple[str, ...] = ("client", "terminal")
    steps: list[Step] = field(default_factory=list)

    def person(self, who: str, mode: Mode = Mode.MIRROR, size: Size = SIZE) -> "Person":
        return Person(self, who, mode, size)

    def terminal(self, what: str, **more: Any) -> None:
        self.steps.append({"terminal": what, **more})

    def writes(self, data: bytes) -> None:
        self.terminal("writes", data=runs(data))

    def takes(self, data: bytes) -> None:
        self.terminal("takes", data=runs(data))

    def sized(self, size: Size) -> None:
        self.terminal("sized", size=plain(size))


@dataclass
class Person:
    """A person of a conversation; what he and his line do becomes its steps."""

    conversation: Conversation
    who: str
    mode: Mode
    size: Size
    attachment: str = ""
    seen: int = 0

    def does(self, what: str, **more: Any) -> None:
        self.conversation.steps.append({"who": self.who, "do": what, **more})

    def up(self, frame: ClientFrame, *, lost: bool = False) -> None:
        self.says(encode(frame), lost=lost)

    def says(self, data: bytes, *, lost: bool = False) -> None:
        """Bytes that need not be a frame."""
        self.conversation.steps.append(
            {"who": self.who, "up": runs(data)} | ({"lost": True} if lost else {})
        )

    def down(
        self,
        frame: HolderFrame,
        events: Iterable[Step] | None = None,
        *,
        lost: bool = False,
        refused: bool = False,
    ) -> None:
        step: Step = {"who": self.who, "down": runs(encode(frame))}
        if refused:
            step["refused"] = True
        elif lost:
            step["lost"] = True
        else:
            step["events"] = list(events_of(frame) if events is None else events)
            if isinstance(frame, Out):
                self.seen = frame.at + len(frame.data)
            if isinstance(frame, Gap):
                self.seen = frame.end
        self.conversation.steps.append(step)

    def hangs_up(self, which: str | bool = True) -> None:
        self.conversation.steps.append({"who": self.who, "hangs_up": which})

    def connects(self) -> None:
        self.does("connects", mode=self.mode, size=plain(self.size))
        self.up(
            Hello(
                "ticket", "main", self.attachment, self.seen, self.size, self.mode,
                "xterm-256color", "C.UTF-8",
            )
        )  # fmt: skip
        if self.mode is Mode.TAKE_OVER:
            self.mode = Mode.MIRROR

    def welcomed(
        self, attachment: str, out_at: int = 0, in_at: int = 0, mode: Mode | None = None
    ) -> None:
        """As a newcomer, or as one who is known, by his attachment."""
        forgotten = self.attachment not in ("", attachment)
        self.attachment, self.seen = attachment, out_at
        self.down(
            Welcome(attachment, out_at, in_at, WINDOW, self.mode if mode is None else mode),
            [{"do": "skipped", "count": 0}] if forgotten else (),
        )

    def comes(self, attachment: str, out_at: int = 0, in_at: int = 0) -> None:
        self.connects()
        self.welcomed(attachment, out_at, in_at)

    def types(self, at: int, data: bytes, *, lost: bool = False) -> None:
        self.does("typed", data=runs(data))
        self.up(In(at, data), lost=lost)

    def sees(self, at: int, data: bytes, *, lost: bool = False) -> None:
        """In frames as large as they can be."""
        for start in range(0, len(data), MAX_DATA_BYTES):
            self.down(Out(at + start, data[start : start + MAX_DATA_BYTES]), lost=lost)

    def is_shown(self, screen: bytes) -> None:
        """A screen, in snapshots as large as they can be."""
        for start in range(0, len(screen), MAX_DATA_BYTES):
            self.down(Snapshot(screen[start : start + MAX_DATA_BYTES]))

    def has_drawn(self) -> None:
        self.does("drawn")
        self.up(Ack(self.seen))

    def is_told_taken(self, to: int, *, lost: bool = False) -> None:
        self.down(InAck(to), lost=lost)

    def resizes(self, size: Size) -> None:
        self.size = size
        self.does("resized", size=plain(size))
        self.up(Resize(size))

    def pings(self, number: int) -> None:
        self.does("pings", number=number)
        self.up(Ping(number))

    def detaches(self) -> None:
        self.does("detaches")
        self.up(Detach())
        self.hangs_up()

    def cut(self, **more: bool) -> None:
        self.does("cut", **more)


def events_of(frame: HolderFrame) -> list[Step]:
    """Return the events that a client reports for a frame, as a rule."""
    match frame:
        case Out() | Snapshot():
            return [{"do": "show", "counts": isinstance(frame, Out)}]
        case Gap(start, end):
            return [{"do": "skipped", "count": end - start}]
        case Notice(word, text):
            return [{"do": "said", "word": int(word), "text": text}]
        case Sized(size):
            return [{"do": "sized", "size": plain(size)}]
        case Exit(code, signal):
            return [{"do": "ended", "code": code, "signal": signal}]
        case _:
            return []


def plain(size: Size) -> list[int]:
    return [size.columns, size.rows, size.x_pixels, size.y_pixels]


def runs(data: bytes) -> str:
    """Bytes as they stand in the file."""
    words: list[str] = []
    short = ""
    for byte, group in groupby(data):
        count = sum(1 for _ in group)
        if count < _RUN:
            short += f"{byte:02x}" * count
            continue
        words += [short] if short else []
        words.append(f"{byte:02x}*{count}")
        short = ""
    return " ".join([*words, short] if short else words)


def unrun(text: str) -> bytes:
    """The bytes that `runs` has written."""
    data = b""
    for word in text.split():
        digits, _, count = word.partition("*")
        data += bytes.fromhex(digits) * int(count or 1)
    return data
