"""The developer's side of a terminal, against the terminal's side: cut anywhere, nothing lost."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stagedoor.client.attach.attachment import (
    TYPED_BYTES,
    Attachment,
    OutputGap,
    WriteOutput,
)
from stagedoor.holder.state import Action, Send, TerminalState
from stagedoor.wire.terminal.frames import (
    Ack,
    Exit,
    Gap,
    HolderFrame,
    In,
    InAck,
    Mode,
    Out,
    Size,
    TerminalError,
    Welcome,
)

SIZE = Size(80, 24)


def attached() -> Attachment:
    attachment = Attachment("main", SIZE, Mode.MIRROR, "xterm", "C.UTF-8", "")
    assert attachment.make_hello("t").attachment == ""
    attachment.handle_frame(Welcome("a", 0, 0, 100))
    return attachment


def test_what_was_typed_is_sent_as_far_as_the_window_goes_and_kept_until_it_is_taken() -> None:
    attachment = attached()
    attachment.queue_input(b"x" * 150)
    assert attachment.take_sendable() == [In(0, b"x" * 100)]
    assert attachment.take_sendable() == []
    attachment.handle_frame(InAck(60))
    assert attachment.take_sendable() == [In(100, b"x" * 50)]
    assert attachment.untaken_bytes == 90
    attachment.handle_frame(InAck(150))
    assert attachment.untaken_bytes == 0


def test_who_took_over_does_not_do_it_again_when_his_line_was_cut() -> None:
    attachment = Attachment("main", SIZE, Mode.TAKE_OVER, "xterm", "C.UTF-8", "")
    assert attachment.make_hello("t").mode is Mode.TAKE_OVER
    attachment.handle_frame(Welcome("a", 0, 0, 100, Mode.TAKE_OVER))
    assert attachment.make_hello("t").mode is Mode.MIRROR


def test_of_who_only_looks_nothing_is_sent_neither_keys_nor_what_his_terminal_answers() -> None:
    attachment = Attachment("main", SIZE, Mode.WATCH, "xterm", "C.UTF-8", "")
    attachment.make_hello("t")
    attachment.handle_frame(Welcome("a", 0, 0, 100, Mode.MIRROR))
    attachment.queue_input(b"\x1b[?62c")
    assert attachment.take_sendable() == []
    assert attachment.has_room


def test_before_it_is_attached_nothing_is_sent_and_much_is_not_taken_from_the_keyboard() -> None:
    attachment = Attachment("main", SIZE, Mode.MIRROR, "xterm", "C.UTF-8", "")
    attachment.queue_input(b"x" * TYPED_BYTES)
    assert attachment.take_sendable() == []
    assert not attachment.has_room


def test_a_return_says_how_far_it_got_and_sends_again_what_was_not_taken() -> None:
    attachment = attached()
    attachment.queue_input(b"abcdef")
    attachment.take_sendable()
    assert attachment.handle_frame(Out(0, b"hello")) == [WriteOutput(b"hello")]
    assert attachment.confirm_output() == Ack(5)
    again = attachment.make_hello("t2")
    assert (again.attachment, again.seen) == ("a", 5)
    assert attachment.take_sendable() == []
    attachment.handle_frame(Welcome("a", 5, 2, 100))
    assert attachment.take_sendable() == [In(2, b"cdef")]


def test_a_terminal_that_has_forgotten_us_begins_anew_and_what_was_not_sent_is_kept() -> None:
    attachment = attached()
    attachment.handle_frame(Out(0, b"hello"))
    attachment.queue_input(b"x" * 100)
    attachment.take_sendable()
    attachment.queue_input(b"later")
    attachment.make_hello("t2")
    attachment.handle_frame(Welcome("b", 900, 0, 100))
    assert attachment.seen == 900
    assert attachment.take_sendable() == [In(0, b"later")]


def test_a_gap_is_told_and_counting_goes_on_behind_it() -> None:
    attachment = attached()
    assert attachment.handle_frame(Gap(0, 50)) == [OutputGap(50)]
    assert attachment.handle_frame(Out(50, b"x")) == [WriteOutput(b"x")]


@pytest.mark.parametrize(
    "frame", [Out(1, b"x"), Gap(5, 9), InAck(1), Welcome("a", 7, 0, 100)], ids=repr
)
def test_what_does_not_fit_together_is_an_error(frame: HolderFrame) -> None:
    with pytest.raises(TerminalError):
        attached().handle_frame(frame)


def test_the_end_is_told() -> None:
    assert attached().handle_frame(Exit(143, "TERM")) == [Exit(143, "TERM")]


class AttachmentMachine(RuleBasedStateMachine):
    """Both sides, with a line between them that is cut at the worst of times."""

    def __init__(self) -> None:
        super().__init__()
        self.terminal = TerminalState(SIZE, window=40, keep=400)
        self.person = Attachment("main", SIZE, Mode.MIRROR, "", "", "")
        self.link = 0
        self.connected = False
        self.on_the_way: list[HolderFrame] = []
        self.written = self.shown = self.typed = self.taken = b""
        # Until it was welcomed once, it has no name to come back by, and is shown a snapshot.
        self.come()
        self.arrive(1)

    def _sent(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send) and action.link == self.link and self.connected:
                self.on_the_way.append(action.frame)  # type: ignore[arg-type]

    @rule()
    def come(self) -> None:
        if not self.connected:
            self.connected = True
            self.link += 1
            self._sent(
                self.terminal.attach_link(self.link, self.person.make_hello(""), f"a{self.link}", 0)
            )

    @rule()
    def cut(self) -> None:
        if self.connected:
            self.terminal.detach_link(self.link, 0)
            self.connected = False
            self.on_the_way.clear()
            self.person.is_attached = False

    @rule(data=st.binary(min_size=1, max_size=30))
    def write(self, data: bytes) -> None:
        if self.terminal.is_output_due(0):
            self.written += data
            self._sent(self.terminal.take_output(data, 0))

    @rule(data=st.binary(min_size=1, max_size=30))
    def type(self, data: bytes) -> None:
        self.typed += data
        self.person.queue_input(data)

    @rule(arrive=st.booleans())
    def send(self, arrive: bool) -> None:
        for frame in self.person.take_sendable():
            if self.connected and arrive:
                self._sent(self.terminal.handle_frame(self.link, frame, 0))
        if not arrive:
            self.cut()

    @rule(count=st.integers(1, 4))
    def arrive(self, count: int) -> None:
        for frame in self.on_the_way[:count]:
            for event in self.person.handle_frame(frame):
                assert isinstance(event, WriteOutput)
                if event.is_counted:
                    self.shown += event.data
        del self.on_the_way[:count]

    @rule()
    def acknowledge(self) -> None:
        if self.connected and self.person.is_attached:
            self._sent(self.terminal.handle_frame(self.link, self.person.confirm_output(), 0))

    @rule(size=st.integers(1, 50))
    def program_reads(self, size: int) -> None:
        size = min(size, len(self.terminal.typed))
        self.taken += bytes(self.terminal.typed[:size])
        self._sent(self.terminal.drop_taken(size))

    @invariant()
    def nothing_is_lost_and_nothing_comes_twice(self) -> None:
        assert self.written.startswith(self.shown)
        assert self.typed.startswith(self.taken + bytes(self.terminal.typed))

    def teardown(self) -> None:
        """In the end all of it has come to where it belongs."""
        for _ in range(200):
            self.come()
            self.arrive(100)
            self.send(True)
            self.acknowledge()
            self.program_reads(50)
        assert self.shown == self.written
        assert self.taken == self.typed


TestAttachment = AttachmentMachine.TestCase
TestAttachment.settings = settings(
    max_examples=50,
    stateful_step_count=40,
    deadline=None,
    # How fast this machine is says nothing of what is tested.
    suppress_health_check=[HealthCheck.too_slow],
)
