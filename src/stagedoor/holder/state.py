"""A terminal, its output and its clients: all decisions, but no I/O.

Methods take events and return the actions to do. A link is the caller's number of a connection. An
*attachment* outlives it: it has the offsets, in both directions, with which a client whose connection was cut
continues without losing or repeating a byte.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from stagedoor.holder.attachments import RESUME_GRACE_S, AttachmentRegister, TerminalAttachment
from stagedoor.holder.people import read_owner_name
from stagedoor.holder.ring import Ring, drop_partial_line, drop_queries
from stagedoor.wire.terminal.frames import (
    FEATURES,
    MAX_DATA_BYTES,
    Ack,
    Detach,
    Exit,
    Frame,
    Gap,
    Hello,
    In,
    InAck,
    Mode,
    Notice,
    NoticeKind,
    Out,
    Ping,
    Pong,
    Resize,
    Size,
    Sized,
    Snapshot,
    Welcome,
    describe_misplaced,
)
from stagedoor.wire.terminal.modes import Modes

WINDOW_BYTES = 128 * 1024
"""The most unacknowledged output of a client: enough for a long line (30 ms at 4 MB/s), but so little that
the effect of Ctrl-C is visible at once. It also limits a client's input that the program has not taken. A
client that sends more is disconnected. Its input is always read, since acknowledgements must arrive even
while the program reads nothing."""
KEEP_BYTES = 1024 * 1024
"""The output that is kept while no client is connected, about ten thousand lines."""
REPLAY_BYTES = 2 * MAX_DATA_BYTES
"""The part of it that is shown to a new client."""


@dataclass(frozen=True, slots=True)
class Send:
    """A frame to send to a link."""

    link: int
    frame: Frame


@dataclass(frozen=True, slots=True)
class HangUpLink:
    """A link to close once its unsent frames are written."""

    link: int


@dataclass(frozen=True, slots=True)
class SetSize:
    """A window size for the terminal, whose program gets SIGWINCH (termios(4))."""

    size: Size


@dataclass(frozen=True, slots=True)
class Redraw:
    """A full-screen program has to redraw: change the window's size and change it back."""

    size: Size


Action = Send | HangUpLink | SetSize | Redraw


@dataclass(slots=True)
class TerminalState:
    """The state of a terminal. Time is an argument: seconds of a monotonic clock.

    Methods for events return the actions to carry out, in order. `typed` is the input that the program has
    not taken. The caller sets `busy`, whether a job runs in the foreground, before it passes a PING on.
    """

    size: Size
    window: int = WINDOW_BYTES
    keep: int = KEEP_BYTES
    typed: bytearray = field(default_factory=bytearray)
    busy: bool = False
    _ring: Ring = field(default_factory=Ring)
    _modes: Modes = field(default_factory=Modes)
    _attachments: AttachmentRegister = field(default_factory=AttachmentRegister)
    _typists: deque[tuple[TerminalAttachment, int]] = field(default_factory=deque)
    _exit: Exit | None = None

    # Queries.

    def is_output_due(self, now: float) -> bool:
        """Return whether to read from the terminal: not while a client that types is a window behind."""
        return self._exit is None and all(
            self._ring.end - client.acked < self.window for client in self._list_holding_back(now)
        )

    def wake_at(self, now: float) -> float | None:
        """Return when time alone may change `is_output_due`, or None if only an event does."""
        return min(
            (
                client.lost_at + RESUME_GRACE_S
                for client in self._attachments.list_reconnectable(now)
            ),
            default=None,
        )

    def is_over(self, now: float) -> bool:
        """Return whether the program has ended and each client that may want its last output has received it.

        A client confirms EXIT with a DETACH. One whose connection was cut before has time to reconnect.
        """
        return (
            self._exit is not None
            and not any(self._attachments.list_reconnectable(now))
            and not self._attachments.by_link
        )

    def find_replaced(self, hello: Hello) -> int | None:
        """Return the old link of a client that resumes before its cut connection was noticed, or None."""
        attachment = self._attachments.find_resumed(hello)
        return None if attachment is None else attachment.link

    # Events.

    def attach_link(self, link: int, hello: Hello, name: str, now: float) -> list[Action]:
        """Attach a client on a new link. `name` is a random one for its attachment, if it resumes none."""
        actions: list[Action] = []
        attachment = self._attachments.find_resumed(hello)
        if attachment is not None:
            if attachment.link is not None:
                # The same client comes back before its old connection is known to be cut.
                actions.append(HangUpLink(attachment.link))
                del self._attachments.by_link[attachment.link]
            attachment.link, attachment.mode, attachment.size = link, hello.mode, hello.size
            attachment.detached = attachment.exit_sent = attachment.other_size_sent = False
            welcome = self._resume(attachment, link, hello)
        else:
            end = self._ring.end
            attachment = TerminalAttachment(
                name, hello.owner, hello.mode, link, hello.size, sent=end, acked=end
            )
            self._attachments.by_name[name] = attachment
            welcome = [
                Send(
                    link, Welcome(name, end, 0, self.window, hello.mode, hello.features & FEATURES)
                ),
                *self._screen(link),
            ]
        self._attachments.by_link[link] = attachment
        if attachment.mode is Mode.TAKE_OVER:
            actions += self._send_others_away(attachment, now)
        actions += welcome
        if attachment.mode is not Mode.WATCH:
            actions += self._resize(attachment, hello.size)
        elif hello.size != self.size:
            actions.append(Send(link, Sized(self.size)))
        if self._modes.alternate_screen and attachment.sent == self._ring.end:
            actions.append(Redraw(self.size))
        self._attachments.forget_oldest()
        return [*actions, *self._pump()]

    def handle_frame(self, link: int, frame: Frame, now: float) -> list[Action]:
        """Handle a frame from a link after its HELLO."""
        attachment = self._attachments.by_link.get(link)
        if attachment is None:
            return []
        match frame:
            case In(at, data):
                return self._take_input(attachment, link, at, data, now)
            case Ack(to) if attachment.acked <= to <= attachment.sent:
                attachment.acked = to
                return list(self._pump())
            case Resize(size):
                attachment.size = size
                return [] if attachment.mode is Mode.WATCH else self._resize(attachment, size)
            case Ping(number):
                return [Send(link, Pong(number, self.busy))]
            case Detach():
                self._attachments.cut(attachment, now)
                attachment.detached = True
                return [HangUpLink(link)]
            case _:
                return self._expel(attachment, describe_misplaced(frame), now)

    def detach_link(self, link: int, now: float) -> None:
        """Detach the client of a link that was closed for any reason."""
        attachment = self._attachments.by_link.get(link)
        if attachment is not None:
            self._attachments.cut(attachment, now)

    def take_output(self, data: bytes, now: float) -> list[Action]:
        """Take output of the program."""
        self._ring.append(data)
        self._modes.feed(data)
        actions = list(self._pump())
        # Unacknowledged output is kept. The window limits it, since no more is read meanwhile.
        needed = min(
            (client.acked for client in self._list_holding_back(now)), default=self._ring.end
        )
        self._ring.keep(self.keep, needed)
        return actions

    def drop_taken(self, count: int) -> list[Action]:
        """Drop the first `count` bytes of `typed`, which the terminal has taken, and acknowledge them."""
        del self.typed[:count]
        typists: list[TerminalAttachment] = []
        while count:
            attachment, size = self._typists.popleft()
            attachment.taken_to += min(size, count)
            if size > count:
                self._typists.appendleft((attachment, size - count))
            count -= min(size, count)
            if attachment not in typists:
                typists.append(attachment)
        return [
            Send(typist.link, InAck(typist.taken_to))
            for typist in typists
            if typist.link is not None
        ]

    def note_exit(self, code: int, signal: str) -> list[Action]:
        """Note the program's end, after `take_output` has received all its output."""
        self._exit = Exit(code, signal)
        return [*self.drop_taken(len(self.typed)), *self._pump()]

    # Parts of these.

    def _list_holding_back(self, now: float) -> list[TerminalAttachment]:
        return self._attachments.list_holding_back(now, self._ring.start)

    def _resume(self, attachment: TerminalAttachment, link: int, hello: Hello) -> list[Action]:
        seen, features = hello.seen, hello.features & FEATURES
        welcome = Send(
            link,
            Welcome(
                attachment.name, seen, attachment.taken_to, self.window, attachment.mode, features
            ),
        )
        if seen >= self._ring.start:
            attachment.sent = attachment.acked = seen
            return [welcome]
        return [welcome, *self._skip(attachment, link, seen)]

    def _skip(self, attachment: TerminalAttachment, link: int, start: int) -> list[Action]:
        """Send GAP to a client that has missed output which is no longer kept, then the current screen."""
        end = self._ring.end
        attachment.sent = attachment.acked = end
        return [Send(link, Gap(start, end)), *self._screen(link)]

    def _screen(self, link: int) -> list[Action]:
        """Return the last lines for a client that has not seen them.

        A full-screen program draws its own screen (`Redraw`); the lines beneath are visible again when it
        ends.
        """
        end = self._modes.primary_end if self._modes.alternate_screen else self._ring.end
        begin = max(self._ring.start, end - REPLAY_BYTES)
        kept = self._ring.read(begin, max(end - begin, 0))
        shown = drop_queries(drop_partial_line(kept) if begin else kept)
        shown += self._modes.redo()
        return [
            Send(link, Snapshot(shown[at : at + MAX_DATA_BYTES]))
            for at in range(0, len(shown), MAX_DATA_BYTES)
        ]

    def _take_input(
        self, attachment: TerminalAttachment, link: int, at: int, data: bytes, now: float
    ) -> list[Action]:
        if at > attachment.received_to:
            return self._expel(
                attachment,
                f"input at offset {at} arrived, but {attachment.received_to} was expected",
                now,
            )
        fresh = data[attachment.received_to - at :]
        if attachment.received_to + len(fresh) - attachment.taken_to > self.window:
            return self._expel(attachment, "more input than the window has room for", now)
        attachment.received_to += len(fresh)
        if attachment.mode is Mode.WATCH or self._exit is not None:
            attachment.taken_to = attachment.received_to
            return [Send(link, InAck(attachment.taken_to))]
        if not fresh:
            return [Send(link, InAck(attachment.taken_to))]
        self.typed += fresh
        self._typists.append((attachment, len(fresh)))
        return self._resize(attachment, attachment.size)

    def _resize(self, attachment: TerminalAttachment, size: Size) -> list[Action]:
        """Set the window to that of the client that acted last, and send SIZE to all others.

        The client that set this size receives SIZE only if its previous SIZE named a different one, since
        that one may arrive after what the client did.
        """
        if size == self.size:
            return []
        self.size = size
        actions: list[Action] = [SetSize(size)]
        for link, other in self._attachments.by_link.items():
            if other is not attachment or other.other_size_sent:
                actions.append(Send(link, Sized(size)))
            other.other_size_sent = other is not attachment
        return actions

    def _send_others_away(self, attachment: TerminalAttachment, now: float) -> list[Action]:
        actions: list[Action] = []
        why = f"taken over by {read_owner_name(attachment.owner)}"
        for link, other in list(self._attachments.by_link.items()):
            if other is not attachment and other.mode is not Mode.WATCH:
                self._attachments.cut(other, now)
                other.detached = True
                actions += [Send(link, Notice(NoticeKind.TAKEN_OVER, why)), HangUpLink(link)]
        return actions

    def _expel(self, attachment: TerminalAttachment, why: str, now: float) -> list[Action]:
        link = attachment.link
        assert link is not None, "only a link can send"
        self._attachments.cut(attachment, now)
        return [Send(link, Notice(NoticeKind.FAULT, why)), HangUpLink(link)]

    def _pump(self) -> Iterator[Action]:
        """Send output to all clients, as much as each has room for."""
        end = self._ring.end
        for link, attachment in list(self._attachments.by_link.items()):
            if attachment.sent < self._ring.start:
                # Only a client that watches can be so far behind. It gets the screen once it has acknowledged
                # the earlier output. Otherwise one that never does would get endless screens.
                if attachment.acked < attachment.sent:
                    continue
                yield from self._skip(attachment, link, attachment.sent)
            while attachment.sent < end:
                room = self.window - (attachment.sent - attachment.acked)
                if room <= 0:
                    break
                data = self._ring.read(attachment.sent, min(room, MAX_DATA_BYTES))
                yield Send(link, Out(attachment.sent, data))
                attachment.sent += len(data)
            if self._exit and attachment.sent == end and not attachment.exit_sent:
                attachment.exit_sent = True
                yield Send(link, self._exit)
