"""The client's state of a terminal: the input not yet taken, the output seen, and the next frames to send.

Pure: frames and input go in, frames and events come out. An attachment outlives its connections.
"""

from dataclasses import dataclass, field

from stagedoor.wire.terminal.frames import (
    MAX_DATA_BYTES,
    Ack,
    Exit,
    Gap,
    Hello,
    HolderFrame,
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
    Welcome,
)

TYPED_BYTES = 64 * 1024
"""The limit of typed bytes that are not sent yet. At the limit, no more input is read."""


@dataclass(frozen=True, slots=True)
class WriteOutput:
    """Output to write to the terminal. If `is_counted`, send the frame of `confirm_output` afterwards."""

    data: bytes = field(repr=False)
    is_counted: bool = True


@dataclass(frozen=True, slots=True)
class OutputGap:
    """A gap of `count` bytes in the output, which the terminal did not keep while this client was away.

    A new screen follows. `count` is 0 if the terminal is a new one or has forgotten this client.
    """

    count: int


Event = WriteOutput | OutputGap | Notice | Exit | Sized | People


class Attachment:
    """A client's attachment to one terminal."""

    def __init__(
        self, terminal: str, size: Size, mode: Mode, term: str, lang: str, command: str
    ) -> None:
        self.terminal = terminal
        self.size = size
        self.mode = mode
        self.is_attached = False
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
        self.is_attached = False
        return Hello(
            ticket, self.terminal, self._name, self.seen, self.size, self.mode, self._term,
            self._lang, self._command,
        )  # fmt: skip

    def reset(self) -> None:
        """Attach as a new client next time, which gets the whole screen.

        Sent input that was not acknowledged is dropped.
        """
        del self._typed[: self._sent - self._taken]
        self._taken = self._sent
        self._name = ""

    def handle_frame(self, frame: HolderFrame) -> list[Event]:
        """Return the events of a frame. Raises TerminalError if it does not fit the earlier frames."""
        match frame:
            case Welcome():
                return self._handle_welcome(frame)
            case Out(at, data):
                if at != self.seen:
                    raise TerminalError(f"output starts at {at}, but {self.seen} was expected")
                self.seen += len(data)
                return [WriteOutput(data)]
            case InAck(to):
                self._note_taken(to)
            case Gap(start, end):
                if start != self.seen:
                    raise TerminalError(f"a gap starts at {start}, but {self.seen} was expected")
                self.seen = end
                return [OutputGap(end - start)]
            case Snapshot(data):
                return [WriteOutput(data, is_counted=False)]
            case Exit() | Notice() | People() | Sized():
                return [frame]
            case _:
                pass  # PONG
        return []

    def confirm_output(self) -> Ack:
        """Return the frame that confirms that all output so far is shown."""
        return Ack(self.seen)

    def queue_input(self, data: bytes) -> None:
        """Keep typed bytes until the terminal has taken them. A watching client drops them."""
        if self.mode is not Mode.WATCH:
            self._typed += data

    @property
    def has_room(self) -> bool:
        """True if more input should be read."""
        return len(self._typed) - (self._sent - self._taken) < TYPED_BYTES

    @property
    def untaken_bytes(self) -> int:
        """The number of typed bytes that the terminal has not taken."""
        return len(self._typed)

    def take_sendable(self) -> list[In]:
        """Return the typed bytes that fit into the window as frames, and count them as sent."""
        frames = []
        while self.is_attached:
            start = self._sent - self._taken
            room = min(self.window - start, MAX_DATA_BYTES)
            data = bytes(self._typed[start : start + room]) if room > 0 else b""
            if not data:
                break
            frames.append(In(self._sent, data))
            self._sent += len(data)
            self._ever_sent = max(self._ever_sent, self._sent)
        return frames

    def _handle_welcome(self, welcome: Welcome) -> list[Event]:
        is_new_terminal = self._name not in ("", welcome.attachment)
        if welcome.attachment != self._name:
            # This client is new, or the terminal has forgotten it: start counting again.
            if self._name:
                self.reset()
            self._name = welcome.attachment
            self.seen = welcome.out_at
            self._taken = self._sent = self._ever_sent = welcome.in_at
        elif welcome.out_at != self.seen:
            raise TerminalError(f"output resumes at {welcome.out_at}, but {self.seen} was expected")
        self._note_taken(welcome.in_at)
        self._sent = self._taken
        if welcome.mode is Mode.WATCH:
            # The gateway may reduce any mode to watching. Input is then dropped.
            self.mode = Mode.WATCH
            self._typed.clear()
        elif self.mode is Mode.TAKE_OVER:
            # Take over only once: a reconnect must not detach the other clients again.
            self.mode = Mode.MIRROR
        self.window = welcome.window
        self.is_attached = True
        return [OutputGap(0)] if is_new_terminal else []

    def _note_taken(self, to: int) -> None:
        if to > self._ever_sent:
            raise TerminalError(f"input up to {to} was taken, but {self._ever_sent} was sent")
        if to > self._taken:
            del self._typed[: to - self._taken]
            self._taken = to
            # Input in flight when the line was cut may have arrived. It is not sent again.
            self._sent = max(self._sent, to)
