"""The lines in which the search of recordings finds a text, and when they were written."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.recording.text_search import MAX_LINE_CHARS, find_text
from stagedoor.wire.terminal.asciicast import AsciicastEvent, Code


def found(text: str, wanted: str) -> list[str]:
    """Return the lines, where each character is an event of its own, as when a person types."""
    events = [AsciicastEvent(float(n), Code.OUTPUT, c) for n, c in enumerate(text)]
    whole = [match.line for match in find_text([AsciicastEvent(0.0, Code.OUTPUT, text)], wanted)]
    assert [match.line for match in find_text(events, wanted)] == whole
    return whole


@pytest.mark.parametrize(
    "text",
    [
        "$ rm -rf build\r\n",
        "$ \x1b[1;31mrm\x1b[0m -rf \x1b[4mbuild\x1b[m\r\n",
        "$ rm -rf buils\b \bd\r\n",
        "$ rx\b \b\x1b[Km -rf build",
        "\x1b]0;a title\x07$ rm -rf build\r\n",
        "\x1b]8;;https://x.example\x1b\\rm -rf build\x1b]8;;\x1b\\\r\n",
        "\x1b[2J\x1b[H~\x1b[5;1Hrm -rf build\x1b[6;1H~",
        "\x1b(B\x1b=\x1b[?2004hRM -RF Build\x1b[?2004l\r",
    ],
)
def test_what_a_person_read_is_found_however_it_was_coloured_and_typed(text: str) -> None:
    assert len(found(text, "rm -rf build")) == 1
    assert found(text, "rm -rf built") == []


def test_titles_places_and_what_was_typed_unseen_are_not_text() -> None:
    assert found("\x1b]0;secret\x07\x1b[12;44Hshown\r\n", "secret") == []
    assert found("one\x1b[5;1Htwo\r\n", "onetwo") == []
    typed = [AsciicastEvent(1.0, Code.INPUT, "secret"), AsciicastEvent(2.0, Code.MARKER, "secret")]
    assert list(find_text(typed, "secret")) == []


def test_a_match_has_the_time_of_its_line() -> None:
    events = [
        AsciicastEvent(1.0, Code.OUTPUT, "first\r\n"),
        AsciicastEvent(5.0, Code.OUTPUT, "dep"),
        AsciicastEvent(9.0, Code.OUTPUT, "loy\r\nlast"),
    ]
    assert [match.at for match in find_text(events, "deploy")] == [5.0]
    assert [match.at for match in find_text(events, "last")] == [9.0]


def test_a_line_without_end_is_bounded_and_found_across_its_parts() -> None:
    long = "x" * (MAX_LINE_CHARS - 4) + "needle" + "y" * MAX_LINE_CHARS
    pieces = [AsciicastEvent(0.0, Code.OUTPUT, long[n : n + 7]) for n in range(0, len(long), 7)]
    matches = list(find_text(pieces, "needle"))
    assert len(matches) == 1
    assert len(matches[0].line) <= 120


def test_lines_are_shown_as_text_alone() -> None:
    (line,) = found("a \u202eevil \x9bneedle\r\n", "needle")
    assert line.isprintable()


@given(
    st.lists(
        st.sampled_from(["\x1b", "[", "]", "0", ";", "m", "H", "\x07", "\b", "\r", "\n", "a", "\\"])
    )
)
def test_no_output_makes_it_fail(pieces: list[str]) -> None:
    found("".join(pieces), "zz")


def test_hostile_output_takes_no_more_than_linear_time() -> None:
    for hostile in (
        "\x1b[" * 200_000,
        "\x1b]" * 200_000,
        "\b" * 200_000,
        "a\b" * 100_000,
        "ab" * 9 + "\b" * 99_999,
    ):
        events = [
            AsciicastEvent(0.0, Code.OUTPUT, hostile[n : n + 4096])
            for n in range(0, len(hostile), 4096)
        ]
        began = time.process_time()
        assert list(find_text(events, "zz")) == []
        assert time.process_time() - began < 5
