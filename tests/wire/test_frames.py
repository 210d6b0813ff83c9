"""Frames of the terminal protocol: what is written is read, and nothing else is taken."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.wire.terminal.codec import FrameBuffer, decode, encode, encode_framed
from stagedoor.wire.terminal.frames import (
    MAX_DATA_BYTES,
    MAX_FRAME_BYTES,
    MAX_OFFSET,
    MAX_SIZE,
    MAX_TEXT_BYTES,
    Ack,
    Detach,
    Exit,
    Frame,
    FrameKind,
    Gap,
    Hello,
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
    TerminalError,
    Welcome,
)

offsets = st.integers(0, MAX_OFFSET)
texts = st.text(max_size=60)
data = st.binary(min_size=1, max_size=300)
sizes = st.builds(
    Size,
    st.integers(1, MAX_SIZE),
    st.integers(1, MAX_SIZE),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
)
modes = st.sampled_from(Mode)
gaps = st.tuples(offsets, offsets).filter(lambda pair: pair[0] < pair[1]).map(lambda p: Gap(*p))
people = st.lists(
    st.builds(
        Person,
        offsets,
        texts,
        modes,
        st.sampled_from(IdentityLevel),
        st.booleans(),
        st.integers(0, 0xFFFFFFFF),
    ),
    max_size=70,
).map(tuple)
frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Hello, texts, texts, texts, offsets, sizes, modes, texts, texts, texts),
    st.builds(In, offsets, data),
    st.builds(Ack, offsets),
    st.builds(Resize, sizes),
    st.builds(Ping, offsets),
    st.just(Detach()),
    st.builds(Welcome, texts, offsets, offsets, st.integers(0, 0xFFFFFFFF), modes),
    st.builds(Out, offsets, data),
    st.builds(InAck, offsets),
    gaps,
    st.builds(Snapshot, st.binary(max_size=300)),
    st.builds(Exit, st.integers(-(2**31), 2**31 - 1), texts),
    st.builds(Pong, offsets, st.booleans()),
    st.builds(Sized, sizes),
    st.builds(Notice, st.sampled_from(NoticeKind), texts),
    st.builds(Remove, offsets),
    st.builds(Lock, st.booleans()),
    st.builds(People, offsets, st.booleans(), st.booleans(), people),
)

LONGEST = "x" * MAX_TEXT_BYTES


@given(frames)
def test_what_is_written_is_read(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


@given(frames)
def test_a_frame_that_is_cut_short_or_too_long_is_refused_or_another(frame: Frame) -> None:
    """Only those that carry bytes to their end can be cut and still be frames, of fewer bytes."""
    whole = encode(frame)
    carries = isinstance(frame, In | Out | Snapshot)
    for end in range(len(whole)):
        try:
            cut = decode(whole[:end])
        except TerminalError:
            continue
        assert carries
        assert type(cut) is type(frame)
    if not carries:
        with pytest.raises(TerminalError, match="too many"):
            decode(whole + b"\x00")


@given(st.binary(max_size=400))
def test_any_bytes_are_a_frame_or_one_error(received: bytes) -> None:
    try:
        frame = decode(received)
    except TerminalError:
        return
    assert encode(frame) == received


@given(st.lists(frames, max_size=8), st.data())
def test_a_stream_gives_the_same_frames_however_it_is_cut(
    sent: list[Frame], data: st.DataObject
) -> None:
    stream = b"".join(encode_framed(frame) for frame in sent)
    buffer, received, at = FrameBuffer(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, 200))
        received += buffer.feed(stream[at : at + step])
        at += step
    assert [decode(message) for message in received] == sent


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 0xFFFFFFFF])
def test_a_stream_that_announces_a_frame_beyond_the_limit_is_refused_at_once(length: int) -> None:
    with pytest.raises(TerminalError, match="are possible"):
        FrameBuffer().feed(struct.pack("!I", length))


def test_the_largest_of_each_are_taken() -> None:
    size = Size(MAX_SIZE, MAX_SIZE)
    for frame in (
        Out(MAX_OFFSET, b"x" * MAX_DATA_BYTES),
        Hello(LONGEST, LONGEST, LONGEST, MAX_OFFSET, size, Mode.WATCH, LONGEST, LONGEST, LONGEST),
        Snapshot(b"x" * MAX_DATA_BYTES),
    ):
        assert decode(encode(frame)) == frame


@pytest.mark.parametrize(
    "frame",
    [
        Out(0, b""),
        In(0, b"x" * (MAX_DATA_BYTES + 1)),
        Snapshot(b"x" * (MAX_DATA_BYTES + 1)),
        Gap(5, 5),
        Ack(-1),
        Ack(2**64),
        Resize(Size(0, 24)),
        Resize(Size(80, MAX_SIZE + 1)),
        Notice(NoticeKind.DENIED, "x" * (MAX_TEXT_BYTES + 1)),
        Notice(NoticeKind.DENIED, "\ud800"),
        Exit(2**31),
    ],
    ids=repr,
)
def test_what_fits_no_frame_is_not_written(frame: Frame) -> None:
    with pytest.raises(TerminalError):
        encode(frame)


@pytest.mark.parametrize(
    ("received", "why"),
    [
        (b"", "empty"),
        (b"\x00", "unknown"),
        (b"\x7fxx", "unknown"),
        (b"x" * (MAX_FRAME_BYTES + 1), "the limit is"),
        (bytes([FrameKind.IN]) + bytes(8), "0 bytes"),
        (bytes([FrameKind.OUT]) + b"\xff" * 9, "offset"),
        (bytes([FrameKind.GAP]) + bytes(16), "extent"),
        (bytes([FrameKind.RESIZE]) + bytes(8), "window of 0 by 0"),
        (bytes([FrameKind.PONG]) + bytes(8) + b"\x02", "neither yes nor no"),
        (bytes([FrameKind.NOTICE, 99, 0, 0]), "no notice kind"),
        (bytes([FrameKind.NOTICE, 0, 0, 2, 0xC3, 0x28]), "UTF-8"),
        (bytes([FrameKind.NOTICE, 0, 0xFF, 0xFF]), "cut short"),
    ],
)
def test_what_is_wrong_is_said(received: bytes, why: str) -> None:
    with pytest.raises(TerminalError, match=why):
        decode(received)


def test_what_is_typed_and_shown_stands_in_no_description() -> None:
    """A frame may come to stand in a log; a password that was typed may not."""
    for frame in (In(0, b"hunter2"), Out(0, b"hunter2"), Snapshot(b"hunter2")):
        assert "hunter2" not in repr(frame)
    assert "hunter2" not in repr(Hello("hunter2", "main", "", 0, Size(80, 24)))
