"""The frames of the terminal protocol, between a terminal and a browser or `stagedoor attach`.

One frame is one binary WebSocket message of the subprotocol `SUBPROTOCOL` (RFC 6455 §5.6). On a byte
stream, the same bytes follow their length (u32). A frame is a type byte and its fields in network byte
order; text is UTF-8 after its length (u16).

Each direction counts its bytes from 0 for the whole life of the terminal. A client that reconnects says how
far it got, so no byte is lost or repeated. An offset is the position of the first byte of a frame; an
acknowledgement is the offset up to which all bytes have been processed.

`wire.terminal.codec` encodes and decodes frames. The ideas come from Eternal Terminal's BackedReader and
BackedWriter, and from asciinema's ALiS.
"""

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

SUBPROTOCOL = "stagedoor.terminal.v2"
"""The name includes the version: another version is another subprotocol, and either end can offer two."""

MAX_DATA_BYTES = 64 * 1024
"""The most terminal bytes in one frame, and in one read from a terminal."""
MAX_FRAME_BYTES = MAX_DATA_BYTES + 64
"""The longest frame. A HELLO with the longest texts is far shorter."""
MAX_OFFSET = 2**53 - 1
"""8 PiB, JavaScript's largest exact integer."""
MAX_TEXT_BYTES = 4096
MAX_SIZE = 10_000
"""The most columns or rows: more than any screen has, since programs allocate memory for the size."""


class TerminalError(ValueError):
    """Bytes that are no frame of this protocol, or a frame out of turn. Its text is one line for the log."""


class FrameKind(IntEnum):
    """The type byte of a frame. From 0x80 on, frames go from the terminal to its clients."""

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
    """A way to attach to a terminal."""

    MIRROR = 0
    """The client types and watches; other clients stay attached."""
    TAKE_OVER = 1
    """The client types and watches; other clients that type are detached."""
    WATCH = 2
    """The client only watches; its input is dropped."""


class NoticeKind(IntEnum):
    """The subject of a NOTICE."""

    PROGRESS = 0
    """The shell is starting; the text is the step."""
    DENIED = 1
    """The client is refused; the text is why."""
    REVOKED = 2
    """The session was closed from outside; the text is why."""
    TAKEN_OVER = 3
    """Another client has taken the terminal over and this one is detached; the text is who."""
    RECORDED = 4
    """The terminal is recorded."""
    FAULT = 5
    """This session cannot continue; the text is why."""
    ENDING = 6
    """Access on request ends soon; the text is when. An empty text takes it back: access was extended."""
    DRAINED = 7
    """The gateway stops; the terminal lives on, and the client reconnects through another gateway."""
    SIGNED_OUT = 8
    """The session was closed because its user's sign-in is over; the text is why."""


class Feature(IntFlag):
    """A part of the protocol that a peer may lack, such as the holder in an image of another version.

    HELLO names the features that the client reads, WELCOME those of them that the holder sends. A holder
    leaves out the bits that it does not know.
    """

    PEOPLE = 1
    """PEOPLE, sent when the people at the terminal change."""
    ENDING = 2
    """A NOTICE of the kind ENDING."""


FEATURES = int(Feature.PEOPLE | Feature.ENDING)
"""All features of this version."""


class IdentityLevel(IntEnum):
    """The level at which the identity of a person at a terminal is known."""

    CLAIMED = 0
    """The name is the one in the HELLO, and is not proved, or not yet."""
    USER = 1
    """The gateway admitted the person by a grant of their own, to type or to watch."""
    GUEST = 2
    """The gateway admitted the person by the link of a share."""
    SSH = 3
    """The person runs the holder's command in a login by ssh; the name is the one that they claim."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person at a terminal, for `for_s` seconds so far.

    `number` identifies their connection to the holder. `typed`: this person was the last one to type.
    """

    number: int
    name: str
    mode: Mode
    level: IdentityLevel = IdentityLevel.CLAIMED
    typed: bool = False
    for_s: int = 0


@dataclass(frozen=True, slots=True)
class Size:
    """A window size: columns, rows, and pixels if known, else 0 (as in `struct winsize`)."""

    columns: int
    rows: int
    x_pixels: int = 0
    y_pixels: int = 0


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame of a client.

    `ticket` authenticates the client to the gateway and goes no further. In its place the gateway sends the
    attachment's `owner` to the holder, which resumes an attachment only for the same owner.

    `terminal` is the name of the terminal, which is created if it does not exist. `attachment` is that of an
    earlier WELCOME, to resume it: then `seen` is the number of bytes of output that the client has
    processed. It is empty for a new client, which gets the present screen. The program gets `term` and
    `lang` as TERM and LANG when it is started; `command` is the command to start, empty for the login
    shell. `features` is a set of `Feature` that the client reads.
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

    @property
    def owner(self) -> str:
        """Return the attachment's owner. Only a HELLO from the gateway to the holder names it."""
        return self.ticket


@dataclass(frozen=True, slots=True)
class In:
    """Input, from offset `at` on."""

    at: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ack:
    """An acknowledgement that all output up to offset `to` has been drawn, or written."""

    to: int


@dataclass(frozen=True, slots=True)
class Resize:
    """A new size of the client's window."""

    size: Size


@dataclass(frozen=True, slots=True)
class Ping:
    """A question whether the terminal still answers, which it does by a PONG with the same number."""

    number: int


@dataclass(frozen=True, slots=True)
class Detach:
    """The end of the client's attachment; the terminal stays."""


@dataclass(frozen=True, slots=True)
class Remove:
    """A request to send the person with this number away."""

    number: int


@dataclass(frozen=True, slots=True)
class Lock:
    """A request to lock the terminal for the client's own name and send others away, or to unlock it."""

    on: bool


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to HELLO. Output continues at `out_at`, and input is expected from `in_at` on.

    Input from there on that the holder has received already is ignored.

    `attachment` is the name to resume with. At most `window` bytes of output are sent without an
    acknowledgement. `features` are those of the HELLO that the holder supports.
    """

    attachment: str
    out_at: int
    in_at: int
    window: int
    mode: Mode = Mode.MIRROR
    features: int = FEATURES


@dataclass(frozen=True, slots=True)
class Out:
    """Output, from offset `at` on."""

    at: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class InAck:
    """An acknowledgement that all input up to offset `to` has reached the terminal."""

    to: int


@dataclass(frozen=True, slots=True)
class Gap:
    """A loss of the output from `start` to `end`, which was no longer kept. Output continues at `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Bytes that redraw the screen. They have no offset and are not acknowledged."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of the program, with `code` or by `signal`, a name without SIG (RFC 4254 §6.10)."""

    code: int
    signal: str = ""


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a PING.

    `busy`: a job runs in the terminal's foreground, other than the program that was started there. A shell
    at its prompt is not busy, nor is a tmux whatever runs in it.
    """

    number: int
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Sized:
    """The terminal's window size, for clients whose own window has another.

    The client that set this size receives SIZE only if its previous SIZE named a different one.
    """

    size: Size


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to the user, outside the terminal's bytes."""

    kind: NoticeKind
    text: str = ""


@dataclass(frozen=True, slots=True)
class People:
    """All people at the terminal, sent when they change.

    `you` is the number of the client that reads it; `may_rule`: that client may REMOVE and LOCK.
    """

    you: int
    may_rule: bool
    locked: bool
    people: tuple[Person, ...]


ClientFrame = Hello | In | Ack | Resize | Ping | Detach | Remove | Lock
"""The frames that a client sends."""
HolderFrame = Welcome | Out | InAck | Gap | Snapshot | Exit | Pong | Sized | Notice | People
"""The frames that a client receives: the holder sends them, or the gateway in its place."""
Frame = ClientFrame | HolderFrame


def describe_misplaced(frame: Frame) -> str:
    """Return the text of the fault for an end that sends a frame out of turn, or one of the other end."""
    return f"{type(frame).__name__.upper()} does not belong here"
