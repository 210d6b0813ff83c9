"""The frames that a playback shows of a recording, and their times."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.cli.recording import pace_events
from stagedoor.wire.terminal.asciicast import AsciicastEvent
from tests.wire.test_drawing import ACTING, ASKING, DRAWN

OUT = [
    AsciicastEvent(1.0, "o", "a"),
    AsciicastEvent(1.5, "i", "secret"),
    AsciicastEvent(11.5, "o", "b"),
    AsciicastEvent(12.0, "o", "c"),
]


def test_pauses_are_as_they_were_and_what_was_typed_is_not_shown() -> None:
    assert list(pace_events(OUT)) == [(1.0, "a"), (10.5, "b"), (0.5, "c")]


def test_speed_divides_and_the_idle_limit_cuts() -> None:
    assert list(pace_events(OUT, speed=2)) == [(0.5, "a"), (5.25, "b"), (0.25, "c")]
    assert list(pace_events(OUT, idle_limit_s=2)) == [(1.0, "a"), (2.5, "b"), (0.5, "c")]


def test_time_that_runs_backwards_is_no_time() -> None:
    events = [AsciicastEvent(5, "o", "a"), AsciicastEvent(1, "o", "b"), AsciicastEvent(6, "o", "c")]
    assert [wait_s for wait_s, _ in pace_events(events)] == [5, 0, 1]


def shown(text: str, places: Iterable[int]) -> str:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    events = [AsciicastEvent(0, "o", text[a:b]) for a, b in itertools.pairwise(edges)]
    return "".join(piece for _, piece in pace_events(events))


@pytest.mark.parametrize("hostile", [*ASKING, *ACTING], ids=repr)
def test_no_recording_does_more_to_the_viewers_terminal_than_a_watched_one(hostile: bytes) -> None:
    """The attacks of `session watch`: queries, the clipboard, printing, mouse and focus modes. Recorded in
    up to three pieces, however they are split, and each character by itself."""
    text = hostile.decode(errors="replace")
    everywhere = range(len(f"before{text}after") + 1)
    for places in (everywhere, *itertools.combinations_with_replacement(everywhere, 2)):
        played = shown(f"before{text}after", places)
        assert played.startswith("before")
        assert text not in played


@pytest.mark.parametrize("c1", ["\x9d52;c;ZXZpbA==\x9c", "\x9b5i", "\x9b6n", "\x90$qm\x9c"])
def test_controls_of_c1_are_what_they_stand_for(c1: str) -> None:
    assert shown(f"before{c1}after", []) == "beforeafter"


@given(places=st.lists(st.integers(0, 500), max_size=6))
def test_colours_and_movement_are_shown_however_they_are_split(places: list[int]) -> None:
    text = b"".join(DRAWN).decode()
    assert shown(text, places) == text


def test_a_terminal_that_takes_no_utf8_is_sent_none() -> None:
    assert [text for _, text in pace_events([AsciicastEvent(0, "o", "a☃b")], utf8=False)] == ["a?b"]


@given(st.text(), st.lists(st.integers(0, 500), max_size=6))
def test_any_text_is_shown_without_an_error(text: str, places: list[int]) -> None:
    shown(text, places)
