"""One terminal, its output and who looks at it: all decisions, none of the I/O.

Events go in, what is to be done comes out as values. `links` are numbers that the caller gives to
connections; an *attachment* is what outlives them: its offsets, both ways, by which somebody whose
line was cut goes on without losing or repeating a byte.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from stagedoor.holder.attachments import owner_name
from stagedoor.holder.limits import REMEMBERED
from stagedoor.holder.replay import replayable, whole_lines
from stagedoor.holder.ring import Ring
from stagedoor.wire.modes import Modes
from stagedoor.wire.terminal import (
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
    foreign,
)

WINDOW_BYTES = 128 * 1024
"""Output on its way to somebody: enough for a long line (30 ms at 4 MB/s), and little enough that a
Ctrl-C is seen at once. As much input may be on its way that the program has not taken; a client that sends
more is disconnected, since its input is always read: acknowledgements must come through even while
the program reads nothing."""
KEEP_BYTES = 1024 * 1024
"""Output that is kept while nobody looks: some ten thousand lines."""
REPLAY_BYTES = 2 * MAX_DATA_BYTES
"""Of it, what a newcomer is shown."""
RESUME_GRACE_S = 60.0
"""So long after a line was cut, the program is held rather than its output dropped, if nobody else is
there to type: a reconnect takes seconds, a change of networks some more."""


@dataclass(frozen=True, slots=True)
class Send:
    """A frame, for a link."""

    link: int
    frame: Frame


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close a link, once what was sent to it is written."""

    link: int


@dataclass(frozen=True, slots=True)
class SetSize:
    """Give the terminal this window size; the program gets SIGWINCH (termios(4))."""

    size: Size


@dataclass(frozen=True, slots=True)
class Redraw:
    """Make a full-screen program redraw its screen, by a window size that changes and comes back."""

    size: Size


Action = Send | HangUp | SetSize | Redraw


@dataclass(eq=False, slots=True)
class _Attachment:
    """Offsets of one who looks. Input is here up to `in_at`; the program has taken it up to `taken`.

    `link` is None while the connection is cut, since `lost_at`.
    """

    name: str
    owner: str
    mode: Mode
    link: int | None
    size: Size
    sent: int
    acked: int
    in_at: int = 0
    taken: int = 0
    lost_at: float = 0.0
    detached: bool = False
    told_exit: bool = False
    told_size: bool = False
    """Whether it was told last that the terminal has another's size."""


@dataclass(slots=True)
class TerminalState:
    """A terminal. Time is an argument: seconds of a clock that only goes forward.

    Every method returns what is to be done, in order. `typed` is what the program has yet to take.
    `busy`, whether a job runs in the terminal's foreground, is looked up before a PING is handed on.
    """

    size: Size
    window: int = WINDOW_BYTES
    keep: int = KEEP_BYTES
    typed: bytearray = field(default_factory=bytearray)
    busy: bool = False
    _ring: Ring = field(default_factory=Ring)
    _modes: Modes = field(default_factory=Modes)
    _attachments: dict[str, _Attachment] = field(default_factory=dict)
    _links: dict[int, _Attachment] = field(default_factory=dict)
    _typists: deque[tuple[_Attachment, int]] = field(default_factory=deque)
    _exit: Exit | None = None

    # What the caller asks.

    def wants_output(self, now: float) -> bool:
        """Whether to read from the terminal: nobody who types is behind by a whole window."""
        return self._exit is None and all(
            self._ring.end - each.acked < self.window for each in self._held(now)
        )

    def wake_at(self, now: float) -> float | None:
        """When `wants_output` may change by time alone; None: only by an event."""
        return min((each.lost_at + RESUME_GRACE_S for each in self._awaited(now)), default=None)

    def is_over(self, now: float) -> bool:
        """The program has ended, and every client that may want its last output has had it.

        A client confirms EXIT by a DETACH; one whose connection was cut before has time to reconnect.
        """
        return self._exit is not None and not any(self._awaited(now)) and not self._links

    @property
    def attached(self) -> int:
        """How many look on right now."""
        return len(self._links)

    def replaced_by(self, hello: Hello) -> int | None:
        """The link in whose place somebody comes whose line was cut before we knew; None for others."""
        attachment = self._known(hello)
        return None if attachment is None else attachment.link

    # What happens.

    def hello(self, link: int, hello: Hello, name: str, now: float) -> list[Action]:
        """A client attaches on a new link. `name` is for its attachment if it has none; random."""
        actions: list[Action] = []
        attachment = self._known(hello)
        if attachment is not None:
            if attachment.link is not None:
                # The same one again, before its old connection was known to be cut.
                actions.append(HangUp(attachment.link))
                del self._links[attachment.link]
            attachment.link, attachment.mode, attachment.size = link, hello.mode, hello.size
            attachment.detached = attachment.told_exit = attachment.told_size = False
            welcome = self._resume(attachment, link, hello)
        else:
            end = self._ring.end
            attachment = _Attachment(
                name, hello.ticket, hello.mode, link, hello.size, sent=end, acked=end
            )
            self._attachments[name] = attachment
            welcome = [
                Send(
                    link, Welcome(name, end, 0, self.window, hello.mode, hello.features & FEATURES)
                ),
                *self._screen(link),
            ]
        self._links[link] = attachment
        if attachment.mode is Mode.TAKE_OVER:
            actions += self._send_others_away(attachment, now)
        actions += welcome
        if attachment.mode is not Mode.WATCH:
            actions += self._resize(attachment, hello.size)
        elif hello.size != self.size:
            actions.append(Send(link, Sized(self.size)))
        if self._modes.alternate_screen and attachment.sent == self._ring.end:
            actions.append(Redraw(self.size))
        self._forget_oldest()
        return [*actions, *self._pump(now)]

    def received(self, link: int, frame: Frame, now: float) -> list[Action]:
        """A frame from a link that has said hello."""
        attachment = self._links.get(link)
        if attachment is None:
            return []
        match frame:
            case In(at, data):
                return self._typed(attachment, link, at, data, now)
            case Ack(to) if attachment.acked <= to <= attachment.sent:
                attachment.acked = to
                return list(self._pump(now))
            case Resize(size):
                attachment.size = size
                return [] if attachment.mode is Mode.WATCH else self._resize(attachment, size)
            case Ping(number):
                return [Send(link, Pong(number, self.busy))]
            case Detach():
                self._part(attachment, now)
                attachment.detached = True
                return [HangUp(link)]
            case _:
                return self._expel(attachment, foreign(frame), now)

    def lost(self, link: int, now: float) -> None:
        """A link is gone, however that came."""
        attachment = self._links.get(link)
        if attachment is not None:
            self._part(attachment, now)

    def shown(self, data: bytes, now: float) -> list[Action]:
        """The program has written `data`."""
        self._ring.append(data)
        self._modes.feed(data)
        actions = list(self._pump(now))
        # What somebody has not acknowledged is kept for them. It is bounded by the window: no more is
        # read from the terminal meanwhile.
        needed = min((each.acked for each in self._held(now)), default=self._ring.end)
        self._ring.keep(self.keep, needed)
        return actions

    def took(self, count: int) -> list[Action]:
        """The program's terminal has taken the first `count` bytes of `typed`."""
        del self.typed[:count]
        told: list[_Attachment] = []
        while count:
            attachment, size = self._typists.popleft()
            attachment.taken += min(size, count)
            if size > count:
                self._typists.appendleft((attachment, size - count))
            count -= min(size, count)
            if attachment not in told:
                told.append(attachment)
        return [Send(each.link, InAck(each.taken)) for each in told if each.link is not None]

    def exited(self, code: int, signal: str, now: float) -> list[Action]:
        """The program has ended, and all its output has been `shown`."""
        self._exit = Exit(code, signal)
        return [*self.took(len(self.typed)), *self._pump(now)]

    # How.

    def _known(self, hello: Hello) -> _Attachment | None:
        """The attachment in which somebody goes on: only its owner can, even if others know its name."""
        found = self._attachments.get(hello.attachment)
        if found is None or found.owner != hello.ticket or hello.seen > found.sent:
            return None
        return found

    def _held(self, now: float) -> list[_Attachment]:
        """Those for whose sake no output is dropped.

        One whose line is cut does not hold up others who type; nor anybody who has missed something.
        """
        here = [each for each in self._links.values() if each.mode is not Mode.WATCH]
        return here or [each for each in self._awaited(now) if each.acked >= self._ring.start]

    def _awaited(self, now: float) -> Iterator[_Attachment]:
        """Those who type, and whose line was cut so lately that they may come back."""
        return (
            each
            for each in self._attachments.values()
            if each.mode is not Mode.WATCH
            and each.link is None
            and not each.detached
            and now - each.lost_at < RESUME_GRACE_S
        )

    def _resume(self, attachment: _Attachment, link: int, hello: Hello) -> list[Action]:
        seen, features = hello.seen, hello.features & FEATURES
        welcome = Send(
            link,
            Welcome(
                attachment.name, seen, attachment.taken, self.window, attachment.mode, features
            ),
        )
        if seen >= self._ring.start:
            attachment.sent = attachment.acked = seen
            return [welcome]
        return [welcome, *self._skip(attachment, link, seen)]

    def _skip(self, attachment: _Attachment, link: int, start: int) -> list[Action]:
        """It has missed what is not kept any more: say so, and draw what there is to see now."""
        end = self._ring.end
        attachment.sent = attachment.acked = end
        return [Send(link, Gap(start, end)), *self._screen(link)]

    def _screen(self, link: int) -> list[Action]:
        """The screen for one who has not seen it come about.

        The last lines are shown again. A full-screen program draws its own (`Redraw`), above those
        which are there again when it ends.
        """
        end = self._modes.primary_end if self._modes.alternate_screen else self._ring.end
        begin = max(self._ring.start, end - REPLAY_BYTES)
        kept = self._ring.read(begin, max(end - begin, 0))
        shown = replayable(whole_lines(kept) if begin else kept)
        shown += self._modes.redo()
        return [
            Send(link, Snapshot(shown[at : at + MAX_DATA_BYTES]))
            for at in range(0, len(shown), MAX_DATA_BYTES)
        ]

    def _typed(
        self, attachment: _Attachment, link: int, at: int, data: bytes, now: float
    ) -> list[Action]:
        if at > attachment.in_at:
            return self._expel(
                attachment, f"input from {at} on came before that from {attachment.in_at} on", now
            )
        fresh = data[attachment.in_at - at :]
        if attachment.in_at + len(fresh) - attachment.taken > self.window:
            return self._expel(attachment, "more input than the window has room for", now)
        attachment.in_at += len(fresh)
        if attachment.mode is Mode.WATCH or self._exit is not None:
            attachment.taken = attachment.in_at
            return [Send(link, InAck(attachment.taken))]
        if not fresh:
            return [Send(link, InAck(attachment.taken))]
        self.typed += fresh
        self._typists.append((attachment, len(fresh)))
        return self._resize(attachment, attachment.size)

    def _resize(self, attachment: _Attachment, size: Size) -> list[Action]:
        """The window is that of the client that acted last; all others are told.

        So is that client, where it was told of another's: that may have crossed what it did.
        """
        if size == self.size:
            return []
        self.size = size
        actions: list[Action] = [SetSize(size)]
        for link, other in self._links.items():
            if other is not attachment or other.told_size:
                actions.append(Send(link, Sized(size)))
            other.told_size = other is not attachment
        return actions

    def _send_others_away(self, attachment: _Attachment, now: float) -> list[Action]:
        actions: list[Action] = []
        why = f"taken over by {owner_name(attachment.owner)}"
        for link, other in list(self._links.items()):
            if other is not attachment and other.mode is not Mode.WATCH:
                self._part(other, now)
                other.detached = True
                actions += [Send(link, Notice(NoticeKind.DETACHED, why)), HangUp(link)]
        return actions

    def _expel(self, attachment: _Attachment, why: str, now: float) -> list[Action]:
        link = attachment.link
        assert link is not None, "only a link can send"
        self._part(attachment, now)
        return [Send(link, Notice(NoticeKind.FAULT, why)), HangUp(link)]

    def _part(self, attachment: _Attachment, now: float) -> None:
        if attachment.link is not None:
            del self._links[attachment.link]
        attachment.link = None
        attachment.lost_at = now

    def _pump(self, now: float) -> Iterator[Action]:
        """Output for everybody who has room, as much as there is room."""
        end = self._ring.end
        for link, attachment in list(self._links.items()):
            if attachment.sent < self._ring.start:
                # Only one who watches can be so far behind. It gets the screen once it has dealt
                # with what it was sent: one who never does is not sent screens without end.
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
            if self._exit and attachment.sent == end and not attachment.told_exit:
                attachment.told_exit = True
                yield Send(link, self._exit)

    def _forget_oldest(self) -> None:
        gone = sorted(
            (each for each in self._attachments.values() if each.link is None),
            # First those who watch: they may be many, and lose nothing that they cannot see again.
            key=lambda each: (each.mode is not Mode.WATCH, each.lost_at),
        )
        for each in gone[: max(len(self._attachments) - REMEMBERED, 0)]:
            del self._attachments[each.name]
