"""The developer's side of a terminal: the input not yet taken, the output seen, and the next frames to send.

Pure: frames and input go in, frames and events come out. An attachment outlives its connections.
"""

from dataclasses import dataclass, field

from stagedoor.wire.terminal.frames import (
    MAX_DATA_BYTES,
    Ack,
    Exit,
    Gap,
    Hello,
    In,
    InAck,
    Mode,
    Notice,
    Out,
    People,
    Size,
    Sized,
    Snapshot,
    TerminalError,
    Upstream,
    Welcome,
)

TYPED_BYTES = 64 * 1024
"""The most bytes that are typed and not sent; at this limit, no more input is read."""


@dataclass(frozen=True, slots=True)
class WriteOutput:
    """Output to write to the terminal. If it `counts`, send the frame of `confirm_output` afterwards."""

    data: bytes = field(repr=False)
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Skipped:
    """A gap of `count` bytes in the output, which were not kept while this client was away.

    A new screen follows. 0: the size is unknown, as the terminal has forgotten this client or is a new one.
    """

    count: int


Event = WriteOutput | Skipped | Notice | Exit | Sized | People


class Attachment:
    """One person's attachment to one terminal."""

    def __init__(
        self, terminal: str, size: Size, mode: Mode, term: str, lang: str, command: str
    ) -> None:
        self.terminal = terminal
        self.size = size
        self.mode = mode
        self.attached = False
        self.seen = 0
        self.window = 0
        self._term = term
        self._lang = lang
        self._command = command
        self._name = ""
        self._typed = bytearray()
        self._taken = 0
        self._sent = self._ever_sent = 0

    def make_hello(self, ticket: str) -> Hello:
        """Return the first frame of a new connection."""
        self.attached = False
        return Hello(
            ticket, self.terminal, self._name, self.seen, self.size, self.mode, self._term,
            self._lang, self._command,
        )  # fmt: skip

    def forget(self) -> None:
        """Attach as a new client next time, which is sent the whole screen."""
        del self._typed[: self._sent - self._taken]
        self._taken = self._sent
        self._name = ""

    def handle_frame(self, frame: Upstream) -> list[Event]:
        """Return the events of a frame. Raises TerminalError for one that cannot follow the earlier ones."""
        match frame:
            case Welcome():
                return self._welcomed(frame)
            case Out(at, data):
                if at != self.seen:
                    raise TerminalError(f"output from {at} on came where {self.seen} was to come")
                self.seen += len(data)
                return [WriteOutput(data)]
            case InAck(to):
                self._took(to)
            case Gap(start, end):
                if start != self.seen:
                    raise TerminalError(f"a gap from {start} on came where {self.seen} was to come")
                self.seen = end
                return [Skipped(end - start)]
            case Snapshot(data):
                return [WriteOutput(data, counts=False)]
            case Exit() | Notice() | People() | Sized():
                return [frame]
            case _:
                pass  # PONG
        return []

    def confirm_output(self) -> Ack:
        """Return the frame that acknowledges all output so far as shown."""
        return Ack(self.seen)

    def type(self, data: bytes) -> None:
        """Keep typed bytes until the terminal has taken them. Those of a watching client are dropped."""
        if self.mode is not Mode.WATCH:
            self._typed += data

    @property
    def has_room(self) -> bool:
        """True if more input should be read."""
        return len(self._typed) - (self._sent - self._taken) < TYPED_BYTES

    @property
    def waits(self) -> int:
        """How many typed bytes the terminal has not taken."""
        return len(self._typed)

    def take_sendable(self) -> list[In]:
        """Return the typed bytes that may be sent now, as frames, and count them as sent."""
        frames = []
        while self.attached:
            start = self._sent - self._taken
            room = min(self.window - start, MAX_DATA_BYTES)
            data = bytes(self._typed[start : start + room]) if room > 0 else b""
            if not data:
                break
            frames.append(In(self._sent, data))
            self._sent += len(data)
            self._ever_sent = max(self._ever_sent, self._sent)
        return frames

    def _welcomed(self, welcome: Welcome) -> list[Event]:
        is_other = self._name not in ("", welcome.attachment)
        if welcome.attachment != self._name:
            # A new client, or one that the terminal has forgotten: counting begins again.
            if self._name:
                self.forget()
            self._name = welcome.attachment
            self.seen = welcome.out_at
            self._taken = self._sent = self._ever_sent = welcome.in_at
        elif welcome.out_at != self.seen:
            raise TerminalError(
                f"output is to go on at {welcome.out_at}, where {self.seen} was to come"
            )
        self._took(welcome.in_at)
        self._sent = self._taken
        if welcome.mode is Mode.WATCH:
            # The gateway may allow watching only, whatever was requested; input is then dropped.
            self.mode = Mode.WATCH
            self._typed.clear()
        elif self.mode is Mode.TAKE_OVER:
            # Take over only once: a reconnect must not detach the other clients again.
            self.mode = Mode.MIRROR
        self.window = welcome.window
        self.attached = True
        return [Skipped(0)] if is_other else []

    def _took(self, to: int) -> None:
        if to > self._ever_sent:
            raise TerminalError(f"input up to {to} was taken, but {self._ever_sent} was sent")
        if to > self._taken:
            del self._typed[: to - self._taken]
            self._taken = to
            # Input that was on its way when the line was cut may have arrived, and is not sent again.
            self._sent = max(self._sent, to)
