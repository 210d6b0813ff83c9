"""The parts of the process that holds a run: its log, its status and the frames of its input."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.holder import run_folder
from stagedoor.holder.run_folder import (
    LogBuffer,
    LogMark,
    LogWriter,
    RunFolder,
    RunStatus,
    parse_status,
    read_log,
    split_by_marks,
)
from stagedoor.holder.run_input import (
    FRAME_BYTES,
    MAX_DATA_BYTES,
    InputError,
    InputFrame,
    InputKind,
    InputParser,
    RunInput,
    encode_input,
)

WRITES = st.lists(
    st.tuples(st.booleans(), st.binary(min_size=1, max_size=30), st.integers(0, 2**40)), max_size=30
)


def read_all(folder: RunFolder, start: int, most: int) -> list[LogBuffer]:
    pieces: list[LogBuffer] = []
    while found := read_log(folder, start, most):
        pieces += found
        start = found[-1].start + len(found[-1].data)
    return pieces


@given(
    writes=WRITES, start=st.integers(0, 400), most=st.integers(1, 50), segment=st.integers(1, 100)
)
def test_a_log_is_read_from_any_byte_with_its_streams_and_times(
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[tuple[bool, bytes, int]],
    start: int,
    most: int,
    segment: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "SEGMENT_BYTES", segment)
        patch.setattr(run_folder, "SEGMENTS", 1000)
        folder = RunFolder(tmp_path_factory.mktemp("log"))
        log = LogWriter(folder)
        for is_error, data, at in writes:
            log.append(data, is_error=is_error, at=at)
    expected = [(is_error, bytes([byte]), at) for is_error, data, at in writes for byte in data]
    pieces = read_all(folder, start, most)
    got = [(piece.is_error, bytes([byte]), piece.at) for piece in pieces for byte in piece.data]
    assert got == expected[start:]
    assert folder.measure() == (0, len(expected))


def test_a_log_keeps_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "SEGMENT_BYTES", 10)
    monkeypatch.setattr(run_folder, "SEGMENTS", 8)
    folder = RunFolder(tmp_path)
    log = LogWriter(folder)
    for number in range(100):
        log.append(b"%09d\n" % number, is_error=False, at=0)
    first, size = folder.measure()
    assert (first, size) == (920, 1000)
    pieces = read_all(folder, 0, 1000)
    assert pieces[0].start == first
    assert b"".join(piece.data for piece in pieces).startswith(b"000000092\n")


def test_a_full_disk_leaves_a_gap_and_does_not_stop_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    log = LogWriter(folder)
    log.append(b"before", is_error=False, at=0)

    def full(fd: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        log.append(b"lost", is_error=False, at=0)
    log.append(b"after", is_error=False, at=0)
    assert [(p.start, p.data) for p in read_all(folder, 0, 100)] == [(0, b"before"), (10, b"after")]
    assert "No space left" in log.problem


def test_output_within_a_moment_has_one_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    log = LogWriter(folder)
    for number in range(10):
        log.append(b"x", is_error=False, at=number * run_folder.STEP_S / 4)
    pieces = read_all(folder, 0, 100)
    assert [(piece.start, piece.at) for piece in pieces] == [(0, 0.0), (4, 0.1), (8, 0.2)]


@given(
    start=st.integers(0, 50),
    data=st.binary(min_size=1, max_size=50),
    cuts=st.sets(st.integers(1, 49)),
)
def test_a_log_is_split_without_losing_a_byte(start: int, data: bytes, cuts: set[int]) -> None:
    edges = [max(start - 1, 0), *(start + cut for cut in sorted(cuts) if cut < len(data))]
    marks = [LogMark(edge, bool(number % 2), number) for number, edge in enumerate(edges)]
    pieces = list(split_by_marks(start, data, marks))
    assert b"".join(piece.data for piece in pieces) == data
    assert [piece.start for piece in pieces] == [start, *edges[1:]]
    assert [(piece.is_error, piece.at) for piece in pieces] == [
        (mark.is_error, mark.at) for mark in marks
    ]


def test_only_one_process_shows_life(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.is_alive()
    fd = folder.show_life()
    try:
        assert folder.is_alive()
        with pytest.raises(BlockingIOError):
            folder.show_life()
    finally:
        os.close(fd)
    assert not folder.is_alive()


def test_a_status_is_read_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_status() is None
    status = RunStatus("exited", 12, 7, 1.5, "why", 100)
    folder.write_status(status)
    assert folder.read_status() == status


@given(
    st.binary() | st.from_regex(rb'\{"state": "[a-z]*", "pid": -?[0-9a"]{1,9}, "code": .{1,5}\}')
)
def test_any_status_is_parsed_or_refused(text: bytes) -> None:
    try:
        parse_status(text)
    except ValueError:
        return


FRAMES = st.builds(
    InputFrame,
    st.sampled_from(InputKind),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=100) | st.binary(min_size=MAX_DATA_BYTES, max_size=MAX_DATA_BYTES),
)


@given(st.lists(FRAMES, max_size=5), st.integers(1, 5000))
def test_frames_survive_any_cut(frames: list[InputFrame], step: int) -> None:
    encoded = [encode_input(frame) for frame in frames]
    assert all(len(data) <= FRAME_BYTES for data in encoded), "whole or not at all (pipe(7))"
    data, parser = b"".join(encoded), InputParser()
    got = [frame for at in range(0, len(data), step) for frame in parser.feed(data[at : at + step])]
    assert got == frames


@given(st.binary(max_size=200))
def test_any_input_is_parsed_or_refused(data: bytes) -> None:
    try:
        InputParser().feed(data)
    except InputError:
        return


@given(
    st.binary(max_size=50),
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=10),
)
def test_input_that_is_sent_again_counts_once(whole: bytes, repeats: list[tuple[int, int]]) -> None:
    state, got = RunInput(), b""
    for at, size in repeats:
        at = min(at, state.size)
        got += state.accept(InputFrame(InputKind.DATA, at, whole[at : at + size]))
    assert got == whole[: state.size]
    assert not state.is_over
    state.accept(InputFrame(InputKind.END, state.size))
    assert state.is_over
    assert not state.is_broken


def test_input_is_broken_only_if_there_was_some() -> None:
    for first in (b"", b"x"):
        for last in (InputFrame(InputKind.BROKEN, 0), InputFrame(InputKind.END, 5)):
            state = RunInput()
            state.accept(InputFrame(InputKind.DATA, 0, first))
            state.accept(last)
            assert state.is_over
            assert state.is_broken == bool(first or last.kind is InputKind.END)
