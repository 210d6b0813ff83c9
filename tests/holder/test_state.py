"""A terminal's decisions: nothing is lost, nothing comes twice, and a slow one holds only itself up."""

from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stagedoor.holder.attachments import MAX_REMEMBERED, RESUME_GRACE_S
from stagedoor.holder.state import (
    KEEP_BYTES,
    WINDOW_BYTES,
    Action,
    HangUpLink,
    Redraw,
    Send,
    SetSize,
    TerminalState,
)
from stagedoor.wire.terminal.frames import (
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
)

SIZE = Size(80, 24)
WIDE = Size(120, 40)


@dataclass
class Client:
    """A client that attaches, and believes the holder only as far as its frames fit together."""

    state: TerminalState
    link: int
    mode: Mode = Mode.MIRROR
    size: Size = SIZE
    attachment: str = ""
    seen: int = 0
    output: bytes = b""
    snapshots: bytes = b""
    gaps: list[Gap] = field(default_factory=list)
    others: list[Frame] = field(default_factory=list)
    here: bool = False

    def come(self, now: float = 0.0) -> list[Action]:
        hello = Hello("", "main", self.attachment, self.seen, self.size, self.mode)
        self.here = True
        return self.take(self.state.attach_link(self.link, hello, f"a{self.link}", now))

    def take(self, actions: list[Action]) -> list[Action]:
        for action in actions:
            match action:
                case Send(link, frame) if link == self.link:
                    self._frame(frame)
                case HangUpLink(link) if link == self.link:
                    self.here = False
        return actions

    def send(self, frame: Frame, now: float = 0.0) -> list[Action]:
        return self.take(self.state.handle_frame(self.link, frame, now))

    def _frame(self, frame: Frame) -> None:
        match frame:
            case Welcome(attachment, out_at, _, _, _):
                if attachment != self.attachment:
                    self.seen = out_at
                assert out_at == self.seen
                self.attachment = attachment
            case Out(at, data):
                assert at == self.seen, "a byte was left out, or came twice"
                self.seen += len(data)
                self.output += data
            case Gap(start, end):
                assert start == self.seen
                self.seen = end
                self.gaps.append(frame)
            case Snapshot(data):
                self.snapshots += data
            case _:
                self.others.append(frame)


def visited(**options: object) -> tuple[TerminalState, Client]:
    state = TerminalState(SIZE, **options)  # type: ignore[arg-type]
    client = Client(state, 1)
    client.come()
    return state, client


def test_what_is_written_is_shown_and_what_is_typed_reaches_the_program_once() -> None:
    state, client = visited()
    client.take(state.take_output(b"$ ", 0))
    assert client.output == b"$ "
    client.send(In(0, b"ls\r"))
    client.send(In(0, b"ls\rpwd\r"))
    assert bytes(state.typed) == b"ls\rpwd\r"
    assert client.others == []
    client.take(state.drop_taken(2))
    client.take(state.drop_taken(5))
    assert client.others == [InAck(2), InAck(7)]
    client.send(In(3, b"pwd\r"))
    assert client.others[2:] == [InAck(7)]
    assert not state.typed


def test_input_with_a_hole_in_it_is_a_fault_and_nothing_of_it_is_typed() -> None:
    state, client = visited()
    client.send(In(5, b"rm"))
    assert not state.typed
    assert not client.here
    assert isinstance(client.others[0], Notice)
    assert client.others[0].kind is NoticeKind.FAULT


def test_one_who_does_not_acknowledge_holds_the_program_back_at_a_window() -> None:
    state, client = visited()
    client.take(state.take_output(b"x" * (WINDOW_BYTES - 1), 0))
    assert state.is_output_due(0)
    client.take(state.take_output(b"yz", 0))
    assert not state.is_output_due(0)
    assert len(client.output) == WINDOW_BYTES
    client.send(Ack(WINDOW_BYTES))
    assert state.is_output_due(0)
    assert client.output.endswith(b"xyz")


def test_a_line_that_is_cut_holds_the_program_and_the_return_loses_nothing() -> None:
    state, client = visited()
    client.take(state.take_output(b"x" * WINDOW_BYTES, 0))
    state.detach_link(1, 10)
    state.take_output(b"after", 10)
    assert not state.is_output_due(10)
    assert state.wake_at(10) == 10 + RESUME_GRACE_S
    client.link = 2
    client.come(30)
    assert client.output == b"x" * WINDOW_BYTES + b"after"
    assert not client.gaps


def test_of_two_who_type_one_whose_line_is_cut_does_not_hold_the_other_up() -> None:
    state, one = visited()
    other = Client(state, 2)
    other.come()

    def shows(data: bytes) -> None:
        assert state.is_output_due(10)
        other.take(state.take_output(data, 10))
        while other.send(Ack(other.seen), 10):
            pass

    state.detach_link(1, 10)
    shows(b"x" * KEEP_BYTES)
    one.link = 3
    one.come(20)
    while one.seen < KEEP_BYTES:
        one.send(Ack(one.seen), 20)
    assert one.output == b"x" * KEEP_BYTES, "and misses nothing that is kept"
    state.detach_link(3, 20)
    shows(b"y" * (KEEP_BYTES + 1))
    state.detach_link(2, 30)
    assert state.is_output_due(30), "for one who has missed something nobody waits"
    state.take_output(b"z" * WINDOW_BYTES, 30)
    assert not state.is_output_due(30), "but for the other"
    one.link = 4
    one.come(40)
    assert one.gaps == [Gap(KEEP_BYTES, 2 * KEEP_BYTES + 1 + WINDOW_BYTES)]


def test_output_that_never_came_is_sent_again() -> None:
    """Not all that was sent when the line was cut has been received."""
    state, client = visited()
    state.take_output(b"lost on the way", 0)
    state.detach_link(1, 0)
    client.link = 2
    client.come(1)
    assert client.output == b"lost on the way"


def test_one_who_stays_away_reads_how_much_was_not_kept() -> None:
    state, client = visited()
    state.detach_link(1, 0)
    late = RESUME_GRACE_S + 1
    for _ in range(3):
        assert state.is_output_due(late)
        state.take_output(b"line\n" * 100_000, late)
    client.link = 2
    client.come(late)
    assert client.gaps == [Gap(0, 1_500_000)]
    assert client.snapshots.endswith(b"line\n")
    assert client.snapshots.startswith(b"line\n")


def test_one_who_stays_away_and_misses_little_misses_nothing() -> None:
    state, client = visited()
    state.detach_link(1, 0)
    late = RESUME_GRACE_S + 1
    state.take_output(b"x" * KEEP_BYTES, late)
    client.link = 2
    client.come(late)
    while client.seen < KEEP_BYTES:
        client.send(Ack(client.seen), late)
    assert client.output == b"x" * KEEP_BYTES


def test_one_who_detaches_holds_nothing_back() -> None:
    state, client = visited()
    client.take(state.take_output(b"x" * WINDOW_BYTES, 0))
    assert HangUpLink(1) in client.send(Detach())
    assert state.is_output_due(0)
    assert state.wake_at(0) is None


def test_one_who_watches_types_nothing_holds_nothing_back_and_is_told_what_he_missed() -> None:
    state, typist = visited()
    watcher = Client(state, 2, Mode.WATCH, WIDE)
    actions = watcher.come()
    assert not any(isinstance(action, SetSize) for action in actions)
    assert Send(2, Sized(SIZE)) in actions, "it is drawn in the size that it has"
    watcher.send(In(0, b"rm -r /\r"))
    assert not state.typed
    total = 0
    while total < 3 * KEEP_BYTES:
        assert state.is_output_due(0)
        actions = state.take_output(b"y\r\n" * 10_000, 0)
        total += 30_000
        for client in (typist, watcher):
            client.take(actions)
        while typist.seen < total:
            watcher.take(typist.send(Ack(typist.seen)))
    assert watcher.seen == WINDOW_BYTES
    assert not watcher.snapshots
    watcher.send(Ack(watcher.seen))
    assert watcher.gaps == [Gap(WINDOW_BYTES, total)]
    assert watcher.snapshots.endswith(b"y\r\n")
    watcher.send(Resize(WIDE))
    assert state.size == SIZE


def test_a_newcomer_sees_the_last_lines_but_no_question_that_they_asked() -> None:
    state, _ = visited()
    state.take_output(b"one\r\n\x1b[6n\x1b[c\x1b]52;c;?\x07\x1b]0;title\x07two\r\n\x05", 0)
    newcomer = Client(state, 2)
    newcomer.come()
    assert newcomer.snapshots == b"one\r\ntwo\r\n"
    assert newcomer.output == b""


def test_a_full_screen_program_is_asked_to_draw_itself_for_a_newcomer() -> None:
    state, _ = visited()
    for piece in (b"$ ls\r\nREADME\r\n$ vim\r\n\x1b[?10", b"49h\x1b[?2004hhalf a screen"):
        state.take_output(piece, 0)
    newcomer = Client(state, 2)
    assert Redraw(SIZE) in newcomer.come()
    below = b"$ ls\r\nREADME\r\n$ vim\r\n"
    assert newcomer.snapshots == below + b"\x1b[?1049h\x1b[?2004h", "and sees what was before it"


def test_what_was_before_a_full_screen_program_is_shown_as_far_as_it_is_kept() -> None:
    state, client = visited()
    state.take_output(b"first\nsecond\nthird\n\x1b[?1049h", 0)
    client.send(Detach())
    state.take_output(b"." * (KEEP_BYTES - 20), 0)
    newcomer = Client(state, 2)
    newcomer.come()
    assert newcomer.snapshots == b"third\n\x1b[?1049h"
    state.take_output(b"." * 20, 0)
    later = Client(state, 3)
    later.come()
    assert later.snapshots == b"\x1b[?1049h"


def test_the_window_is_that_of_whoever_did_something_last() -> None:
    state, one = visited()
    other = Client(state, 2, size=WIDE)
    actions = other.come()
    assert SetSize(WIDE) in actions
    one.take(actions)
    assert one.others == [Sized(WIDE)]
    assert SetSize(SIZE) in one.send(In(0, b"x"))
    assert one.send(Resize(SIZE)) == []


def test_one_who_takes_over_sends_the_others_away_and_their_return_is_welcome() -> None:
    state, one = visited()
    watcher = Client(state, 3, Mode.WATCH)
    watcher.come()
    other = Client(state, 2, Mode.TAKE_OVER)
    actions = other.come()
    one.take(actions)
    watcher.take(actions)
    assert not one.here
    assert isinstance(one.others[0], Notice)
    assert one.others[0].kind is NoticeKind.TAKEN_OVER
    assert watcher.here
    assert other.here


def test_the_same_one_again_takes_his_own_old_line_down() -> None:
    state, client = visited()
    client.link = 2
    actions = client.come()
    assert HangUpLink(1) in actions
    assert client.here
    state.detach_link(1, 0)
    assert Send(2, Out(0, b"x")) in state.take_output(b"x", 0)


def test_an_attachment_that_is_not_known_any_more_is_a_newcomer() -> None:
    state, _ = visited()
    state.take_output(b"old\n", 0)
    stranger = Client(state, 2, attachment="forgotten", seen=99)
    stranger.come()
    assert stranger.attachment == "a2"
    assert stranger.snapshots == b"old\n"


def test_one_who_claims_to_have_seen_what_was_never_sent_is_a_newcomer() -> None:
    state, client = visited()
    state.detach_link(1, 0)
    client.link, client.seen = 2, 1000
    client.come()
    assert client.attachment == "a2"


def test_the_end_comes_after_the_last_byte_and_waits_for_one_whose_line_was_cut() -> None:
    state, client = visited()
    client.take(state.take_output(b"x" * (WINDOW_BYTES + 5), 0))
    client.take(state.note_exit(3, ""))
    assert Exit(3) not in client.others
    state.detach_link(1, 0)
    assert not state.is_over(0)
    client.link = 2
    client.come(1)
    client.send(Ack(client.seen), 1)
    assert len(client.output) == WINDOW_BYTES + 5
    assert client.others == [Exit(3)]
    client.send(Detach(), 1)
    assert state.is_over(1)


def test_the_end_waits_for_a_lost_client_but_not_without_one() -> None:
    state, client = visited()
    client.send(Detach())
    state.note_exit(0, "")
    assert state.is_over(0)
    state, client = visited()
    state.detach_link(1, 0)
    state.note_exit(0, "")
    assert not state.is_over(RESUME_GRACE_S - 1)
    assert state.is_over(RESUME_GRACE_S)


def test_a_ping_is_answered_and_an_upstream_frame_is_a_fault() -> None:
    state, client = visited()
    client.send(Ping(7))
    assert client.others == [Pong(7, busy=False)]
    state.busy = True
    client.send(Ping(8))
    assert client.others[1:] == [Pong(8, busy=True)]
    client.send(Out(0, b"x"))
    assert not client.here


def test_an_acknowledgement_of_what_was_not_sent_changes_nothing() -> None:
    state, client = visited()
    client.take(state.take_output(b"x" * WINDOW_BYTES, 0))
    client.send(Ack(10 * WINDOW_BYTES))
    assert not state.is_output_due(0)


def test_acknowledgements_are_taken_while_the_program_reads_nothing() -> None:
    state, client = visited()
    client.send(In(0, b"x" * WINDOW_BYTES))
    client.take(state.take_output(b"y" * WINDOW_BYTES, 0))
    client.send(Ack(WINDOW_BYTES))
    assert state.is_output_due(0)
    assert client.here


def test_one_who_types_beyond_the_window_is_sent_away() -> None:
    state, client = visited()
    client.send(In(0, b"x" * WINDOW_BYTES))
    client.take(state.drop_taken(1))
    client.send(In(WINDOW_BYTES, b"x"))
    assert client.here
    client.send(In(WINDOW_BYTES + 1, b"x"))
    assert not client.here


def test_two_who_type_each_get_acknowledgements_of_their_own() -> None:
    state, one = visited()
    other = Client(state, 2)
    other.come()
    one.send(In(0, b"aaa"))
    other.send(In(0, b"bb"))
    one.send(In(3, b"a"))
    for typist in (one, other):
        typist.others.clear()
    actions = state.drop_taken(4)
    assert actions == [Send(1, InAck(3)), Send(2, InAck(1))]
    assert state.drop_taken(2) == [Send(2, InAck(2)), Send(1, InAck(4))]


def test_visitors_without_end_are_not_remembered_without_end() -> None:
    state = TerminalState(SIZE)
    for number in range(MAX_REMEMBERED * 3):
        client = Client(state, number)
        client.come(number)
        state.detach_link(number, number)
    assert len(state._attachments.by_name) <= MAX_REMEMBERED


class TerminalMachine(RuleBasedStateMachine):
    """A program that writes, and one who types and whose line is cut wherever it hurts."""

    def __init__(self) -> None:
        super().__init__()
        self.state = TerminalState(SIZE, window=50, keep=200)
        self.client = Client(self.state, 0)
        self.now = 0.0
        self.written = b""
        self.typed = b""
        self.sent = 0
        self.acked = 0
        self.taken = b""

    @initialize()
    def come(self) -> None:
        self.client.come(self.now)

    @rule(data=st.binary(min_size=1, max_size=40), arrives=st.booleans())
    def write(self, data: bytes, arrives: bool) -> None:
        if self.state.is_output_due(self.now):
            self.written += data
            actions = self.state.take_output(data, self.now)
            if self.client.here:
                if arrives:
                    self.client.take(actions)
                else:
                    self.cut()

    @rule()
    def acknowledge(self) -> None:
        if self.client.here:
            self.client.send(Ack(self.client.seen), self.now)

    @rule(data=st.binary(min_size=1, max_size=20), arrives=st.booleans())
    def type(self, data: bytes, arrives: bool) -> None:
        if len(self.typed) - len(self.taken) + len(data) > 50:
            return  # the window
        self.typed += data
        if not self.client.here:
            return
        sent = In(self.acked, self.typed[self.acked :])
        self.sent = len(self.typed)
        if arrives:
            self.client.send(sent, self.now)
            self.acked = len(self.typed)
        else:
            self.state.handle_frame(self.client.link, sent, self.now)
            self.cut()

    @rule(size=st.integers(1, 60))
    def program_reads(self, size: int) -> None:
        size = min(size, len(self.state.typed))
        self.taken += bytes(self.state.typed[:size])
        self.client.take(self.state.drop_taken(size))

    @rule()
    def cut(self) -> None:
        if self.client.here:
            self.state.detach_link(self.client.link, self.now)
            self.client.here = False

    @rule(seconds=st.floats(0, RESUME_GRACE_S - 1))
    def come_back(self, seconds: float) -> None:
        if not self.client.here:
            self.now += seconds / 10
            self.client.link += 1
            welcome = next(
                action.frame
                for action in self.client.come(self.now)
                if isinstance(action, Send) and isinstance(action.frame, Welcome)
            )
            assert welcome.in_at <= len(self.typed)
            self.acked = welcome.in_at

    @invariant()
    def nothing_is_lost_and_nothing_comes_twice(self) -> None:
        if not self.client.gaps:
            assert self.written.startswith(self.client.output)
        assert (self.taken + bytes(self.state.typed)) == self.typed[
            : len(self.taken) + len(self.state.typed)
        ]
        assert len(self.state._ring._bytes) <= 200 + 50 + 40

    def teardown(self) -> None:
        """Check that a client which comes back at last gets it all."""
        self.come_back(0.0)
        for _ in range(1000):
            if self.client.seen == len(self.written):
                break
            self.acknowledge()
        if not self.client.gaps:
            assert self.client.output == self.written
        assert self.client.seen == len(self.written)


TestTerminal = TerminalMachine.TestCase
TestTerminal.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    # How fast this machine is says nothing of what is tested.
    suppress_health_check=[HealthCheck.too_slow],
)


@given(st.binary(max_size=200))
def test_any_output_makes_a_screen_for_a_newcomer(data: bytes) -> None:
    state, _ = visited()
    state.take_output(data or b"x", 0)
    Client(state, 2).come()
