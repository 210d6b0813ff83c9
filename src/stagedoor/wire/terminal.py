"""The terminal protocol: what a browser, or `stagedoor attach`, and a terminal say to each other.

One frame is one binary WebSocket message of the subprotocol `SUBPROTOCOL` (RFC 6455 §5.6), or, on a
byte stream, the same bytes behind their length (u32). A frame is a type byte and its fields in
network byte order; text is UTF-8 behind its length (u16).

Both directions count their bytes from 0 for as long as the terminal lives, so that a client that comes
back after a cut line says how far it got: nothing is lost, nothing comes twice. An offset is where
the first byte of a frame lies; an acknowledgement says up to where all has been dealt with.

The bytes are made and read in `wire.frames`. The ideas are those of Eternal Terminal's BackedReader
and BackedWriter and of asciinema's ALiS.
"""

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

SUBPROTOCOL = "stagedoor.terminal.v2"
"""The version is in the name: another one is another subprotocol, and both ends can offer two."""

MAX_DATA_BYTES = 64 * 1024
"""Of terminal bytes in one frame: what is read from a terminal at once, at most."""
MAX_FRAME_BYTES = MAX_DATA_BYTES + 64
"""A HELLO of the longest texts is far smaller."""
MAX_OFFSET = 2**53 - 1
"""8 PiB. JavaScript counts so far without error."""
MAX_TEXT_BYTES = 4096
MAX_SIZE = 10_000
"""Columns or rows. Beyond any screen; a program that is told more allocates it."""


class TerminalError(ValueError):
    """The bytes are no frame of this protocol. `str(error)` is one line for the log."""


class Kind(IntEnum):
    """The type byte. From 0x80 on: from the terminal to its clients."""

    HELLO = 0x01
    IN = 0x02
    ACK = 0x03
    RESIZE = 0x04
    PING = 0x05
    DETACH = 0x06
    REMOVE = 0x07
    LOCK = 0x08
    WELCOME = 0x81
    OUT = 0x82
    INACK = 0x83
    GAP = 0x84
    SNAPSHOT = 0x85
    EXIT = 0x86
    PONG = 0x87
    SIZE = 0x88
    NOTICE = 0x89
    PEOPLE = 0x8A


class Mode(IntEnum):
    """How somebody attaches to a terminal."""

    MIRROR = 0
    """Types and sees; others who are attached stay."""
    TAKE_OVER = 1
    """Types and sees; others who are attached are detached."""
    WATCH = 2
    """Watches only: input is refused."""


class NoticeKind(IntEnum):
    """What a NOTICE is about."""

    PROGRESS = 0
    """The shell is starting; the text is the step."""
    DENIED = 1
    """Nobody is let in; the text is why."""
    REVOKED = 2
    """The session was closed from outside; the text is why."""
    DETACHED = 3
    """Detached, by somebody who took over or by the gateway's stopping; the terminal lives on."""
    RECORDED = 4
    """What is seen here is recorded."""
    FAULT = 5
    """This session cannot go on; the text is why."""


class Feature(IntFlag):
    """A part of the protocol that a peer may lack, such as the holder in an image of another version.

    HELLO names the features that the client reads, WELCOME those of them that the holder sends. A holder
    leaves out the bits that it does not know.
    """

    PEOPLE = 1
    """PEOPLE, whenever that changes."""


FEATURES = int(Feature.PEOPLE)
"""All features of this version."""


class IdentityLevel(IntEnum):
    """What is known of a person at a terminal."""

    CLAIMED = 0
    """The name is what the HELLO said, and not proved, or not yet."""
    USER = 1
    """The gateway let them in, by a grant of their own."""
    GUEST = 2
    """The gateway let them in, by a share or to watch."""
    SSH = 3
    """Somebody in the shell by ssh, who runs the holder's command; the name is what they say."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at a terminal. `number` names their connection to the holder.
    `typed`: nobody has typed since. They have been there for `for_s` seconds."""

    number: int
    name: str
    mode: Mode
    known: IdentityLevel = IdentityLevel.CLAIMED
    typed: bool = False
    for_s: int = 0


@dataclass(frozen=True, slots=True)
class Size:
    """A window size: columns and rows, and pixels where known, else 0 (as `struct winsize`)."""

    columns: int
    rows: int
    x_pixels: int = 0
    y_pixels: int = 0


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame. `ticket` proves who it is, to the gateway, and goes no further: in its place the
    gateway tells the holder for whom it comes, and an attachment goes on only for the same.

    `terminal` is the name of the terminal, made if it is not there. `attachment` is that of an
    earlier WELCOME, to go on where it stopped: then `seen` is how many bytes of output have been
    dealt with. Empty: a newcomer, who is shown the screen as it is. `term` and `lang` are what the
    program gets as TERM and LANG when it is started; `command` is what to start, empty for the
    login shell. `features` is a set of `Feature` that the client reads.
    """

    ticket: str = field(repr=False)
    terminal: str
    attachment: str
    seen: int
    size: Size
    mode: Mode = Mode.MIRROR
    term: str = ""
    lang: str = ""
    command: str = ""
    features: int = FEATURES


@dataclass(frozen=True, slots=True)
class In:
    """What was typed, from offset `at` on."""

    at: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ack:
    """All output up to offset `to` has been drawn, or written."""

    to: int


@dataclass(frozen=True, slots=True)
class Resize:
    """The window has another size now."""

    size: Size


@dataclass(frozen=True, slots=True)
class Ping:
    """Is somebody there? Answered by a PONG with the same number."""

    number: int


@dataclass(frozen=True, slots=True)
class Detach:
    """I go, and the terminal stays."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Send the person with this number away."""

    number: int


@dataclass(frozen=True, slots=True)
class Lock:
    """Keep the terminal for those of my name, and send others away; or let others in again."""

    on: bool


@dataclass(frozen=True, slots=True)
class Welcome:
    """Attached. Output goes on at `out_at`, and input is expected from `in_at` on.

    Some of what comes from there on may be here already, and is passed over.

    `attachment` is what to come back with. At most `window` bytes of output are sent without an
    acknowledgement. `features` are those of the HELLO that the holder sends.
    """

    attachment: str
    out_at: int
    in_at: int
    window: int
    mode: Mode = Mode.MIRROR
    features: int = FEATURES


@dataclass(frozen=True, slots=True)
class Out:
    """What the terminal shows, from offset `at` on."""

    at: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class InAck:
    """All input up to offset `to` has reached the terminal."""

    to: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Output from `start` to `end` was not kept while nobody looked. It goes on at `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Bytes that redraw the screen; they have no offset and are not acknowledged."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Exit:
    """The program has ended: with `code`, or by the signal of that name without SIG (RFC 4254 §6.10)."""

    code: int
    signal: str = ""


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a PING. `busy`: a job runs in the terminal's foreground, and not only the program
    that was started there, be it at its prompt or a tmux that shows others."""

    number: int
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Sized:
    """The terminal's window size now, for those whose own window has another; and for the one whose window
    it is, where another was told before."""

    size: Size


@dataclass(frozen=True, slots=True)
class Notice:
    """A word to the person, outside the terminal's bytes."""

    word: NoticeKind
    text: str = ""


@dataclass(frozen=True, slots=True)
class People:
    """Everybody at the terminal, whenever that changes. `you` is the reader's number; `rules`: they may
    REMOVE and LOCK."""

    you: int
    rules: bool
    locked: bool
    people: tuple[Person, ...]


Downstream = Hello | In | Ack | Resize | Ping | Detach | Remove | Lock
"""Frames of the developer's side."""
Upstream = Welcome | Out | InAck | Gap | Snapshot | Exit | Pong | Sized | Notice | People
"""Frames of the terminal's side."""
Frame = Downstream | Upstream


def foreign(frame: Frame) -> str:
    """What is said, in a NOTICE of a fault, to a client that sends a frame out of turn."""
    return f"{type(frame).__name__.upper()} does not belong here"
