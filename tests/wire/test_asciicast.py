import itertools
import json
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.wire.terminal.asciicast import (
    AsciicastError,
    AsciicastEvent,
    AsciicastHeader,
    AsciicastReader,
    Code,
    Text,
    decode_event,
    decode_header,
    encode_event,
    encode_header,
    find_last_event_time,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
HEADERS = st.builds(
    AsciicastHeader,
    width=st.integers(0, 2**32),
    height=st.integers(0, 2**32),
    timestamp=st.integers(0, 2**40),
    command=st.none() | TEXT,
    title=st.none() | TEXT,
    env=st.dictionaries(TEXT, TEXT),
    extra=st.dictionaries(TEXT.map(lambda name: f"x-{name}"), TEXT | st.none() | st.booleans()),
)
EVENTS = st.builds(
    AsciicastEvent,
    at=st.floats(0, 1e8).map(lambda at: round(at, 6)),
    code=st.sampled_from(list(Code)).map(str),
    data=TEXT,
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(HEADERS, st.lists(EVENTS), st.lists(st.integers(0, 10_000), max_size=5))
def test_what_was_written_is_read_back_however_it_is_split(
    header: AsciicastHeader, events: list[AsciicastEvent], places: list[int]
) -> None:
    written = encode_header(header) + b"".join(map(encode_event, events))
    reader = AsciicastReader(cut(written, places))
    assert reader.header == header
    assert list(reader.read_events()) == events
    assert not reader.cut_off


@given(HEADERS, st.lists(EVENTS, min_size=1), st.integers(1, 10_000))
def test_a_recording_cut_anywhere_gives_every_whole_event(
    header: AsciicastHeader, events: list[AsciicastEvent], keep: int
) -> None:
    first = encode_header(header)
    body = b"".join(map(encode_event, events))
    kept = body[: keep % len(body)]
    reader = AsciicastReader([first + kept])
    whole = kept.count(b"\n")
    assert list(reader.read_events()) == events[:whole]
    assert reader.cut_off == (not kept.endswith(b"\n") and bool(kept))


@given(st.binary())
def test_any_bytes_are_a_recording_or_one_documented_error(data: bytes) -> None:
    # Anything but the documented error would fail the test.
    with suppress(AsciicastError):
        for event in AsciicastReader([data]).read_events():
            assert event.at >= 0


@given(
    st.lists(
        st.recursive(st.none() | st.floats() | TEXT | st.booleans(), st.lists, max_leaves=8),
        max_size=5,
    )
)
def test_any_json_is_an_event_or_one_documented_error(document: list[object]) -> None:
    with suppress(AsciicastError):
        event = decode_event(json.dumps(document).encode(), 7)
        assert [event.code, event.data] == document[1:]


@given(TEXT, st.lists(st.integers(0, 10_000), max_size=8))
def test_a_character_that_spans_two_pieces_is_not_broken(text: str, places: list[int]) -> None:
    decoder = Text()
    read = "".join(map(decoder.feed, cut(text.encode(), places))) + decoder.end()
    assert read == text


@given(st.binary(), st.lists(st.integers(0, 10_000), max_size=8))
def test_bytes_that_are_no_text_are_replaced_and_never_raise(
    data: bytes, places: list[int]
) -> None:
    decoder = Text()
    read = "".join(map(decoder.feed, cut(data, places))) + decoder.end()
    assert read == data.decode("utf-8", "replace")


def test_the_lines_are_those_of_the_format() -> None:
    header = AsciicastHeader(
        80, 24, 1504467315, title="Demo", env={"TERM": "xterm", "SHELL": "/bin/zsh"}
    )
    assert json.loads(encode_header(header)) == {
        "version": 2,
        "width": 80,
        "height": 24,
        "timestamp": 1504467315,
        "title": "Demo",
        "env": {"TERM": "xterm", "SHELL": "/bin/zsh"},
    }
    assert encode_event(AsciicastEvent(0.248848, "o", "\x1b[1;31mHi ✓")) == (
        b'[0.248848, "o", "\\u001b[1;31mHi \\u2713"]\n'
    )
    assert encode_event(AsciicastEvent(2.0, "r", "100x50")) == b'[2.0, "r", "100x50"]\n'


def test_a_header_from_other_recorders_is_read() -> None:
    line = b'{"version":2,"width":80,"height":24,"timestamp":1.5,"env":{"SHELL":null},"theme":{}}'
    header = decode_header(line)
    assert (header.timestamp, header.env, header.extra) == (1, {}, {"theme": {}})


def test_a_key_of_the_format_cannot_be_overwritten() -> None:
    with pytest.raises(ValueError, match="version"):
        encode_header(AsciicastHeader(80, 24, 0, extra={"version": 1}))


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"{}", b'{"version":1,"width":80,"height":24}', b'{"version":2,"width":80}',
     b'{"version":2,"width":true,"height":24}', b'{"version":2,"width":NaN,"height":24}',
     b'{"version":2,"width":8,"height":2,"env":3}', b'{"version":2,"width":8,"height":2,"title":3}',
     b"[" * 100_000],
)  # fmt: skip
def test_a_header_that_is_none_is_refused_with_its_line(line: bytes) -> None:
    with pytest.raises(AsciicastError, match="line 1"):
        decode_header(line)


@pytest.mark.parametrize(
    "line",
    [b"{}", b"[]", b'[1,"o"]', b'["1","o","x"]', b'[true,"o","x"]', b'[-1,"o","x"]',
     b'[NaN,"o","x"]', b'[1e999,"o","x"]', b'[1,2,"x"]', b'[1,"o",null]',
     b'[1' + b"0" * 400 + b',"o","x"]'],
)  # fmt: skip
def test_an_event_that_is_none_is_refused_with_its_line(line: bytes) -> None:
    with pytest.raises(AsciicastError, match="line 3"):
        decode_event(line, 3)


def test_a_line_without_end_is_not_collected_for_ever() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 65536

    with pytest.raises(AsciicastError, match="longer"):
        AsciicastReader(endless())
    assert taken < 100


@given(st.lists(st.tuples(st.floats(0, 1e6), TEXT), min_size=1), st.integers(0, 400))
def test_the_last_event_is_found_at_the_end_of_a_file(
    events: list[tuple[float, str]], cut: int
) -> None:
    lines = [encode_event(AsciicastEvent(at, Code.OUTPUT, data)) for at, data in events]
    last = decode_event(lines[-1], 1).at
    before = encode_header(AsciicastHeader(80, 24, 0))[-cut:] if cut else b"\n"
    whole = (before if before.endswith(b"\n") else b"\n") + b"".join(lines)
    assert find_last_event_time(whole) == last
    assert find_last_event_time(whole + b'[9e9, "o", "being wr') == last


@pytest.mark.parametrize("tail", [b"", b"x", b"\n", b'[1, "o", "cut off"]\n', b"nonsense\nmore\n"])
def test_where_no_whole_event_is_there_is_no_last_one(tail: bytes) -> None:
    assert find_last_event_time(tail) is None
