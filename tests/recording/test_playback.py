"""What is shown of a recording, and when."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.recording.playback import Screen, paced
from stagedoor.wire.asciicast import Event

OUT = [
    Event(1.0, "o", "a"),
    Event(1.5, "i", "secret"),
    Event(11.5, "o", "b"),
    Event(12.0, "o", "c"),
]


def test_pauses_are_as_they_were_and_what_was_typed_is_not_shown() -> None:
    assert list(paced(OUT)) == [(1.0, "a"), (10.5, "b"), (0.5, "c")]


def test_speed_divides_and_the_idle_limit_cuts() -> None:
    assert list(paced(OUT, speed=2)) == [(0.5, "a"), (5.25, "b"), (0.25, "c")]
    assert list(paced(OUT, idle_limit_s=2)) == [(1.0, "a"), (2.5, "b"), (0.5, "c")]


def test_time_that_runs_backwards_is_no_time() -> None:
    events = [Event(5, "o", "a"), Event(1, "o", "b"), Event(6, "o", "c")]
    assert [wait_s for wait_s, _ in paced(events)] == [5, 0, 1]


HARMLESS = "plain \x1b[1;31mred\x1b[0m \x1b[2J\x1b[10;5H\x1b[?25l\x1b[2 q\r\n\ttab ☃"
HOSTILE = [
    "\x1b]52;c;ZXZpbA==\x07",  # writes the clipboard
    "\x1b]52;c;?\x1b\\",  # reads it
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil.example\x1b\\",
    "\x1bP$qm\x1b\\",  # DECRQSS is answered
    "\x1b_x\x1b\\",
    "\x1b^x\x1b\\",
    "\x1bXx\x1b\\",
    "\x9d52;c;ZXZpbA==\x9c",
    "\x1b[c",  # what are you?
    "\x1b[>0c",
    "\x1b[6n",  # where is the cursor?
    "\x1b[?6n",
    "\x1b[21t",  # what is the title?
    "\x1b[8;10;10t",  # resize
    "\x1b[x",
    "\x1b[?2026$p",
    "\x1b[>q",  # what version?
    "\x1bZ",
    "\x05",  # ENQ, the answerback
]


def shown(text: str, places: list[int]) -> str:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    screen = Screen()
    return "".join(screen.feed(text[a:b]) for a, b in itertools.pairwise(edges))


@pytest.mark.parametrize("hostile", HOSTILE, ids=repr)
@given(places=st.lists(st.integers(0, 500), max_size=6))
def test_no_recording_makes_the_viewers_terminal_answer_or_write_its_clipboard(
    hostile: str, places: list[int]
) -> None:
    assert shown(f"before{hostile}after", places) == "before\x18after"


def test_what_is_left_out_does_not_join_its_neighbours_to_a_question() -> None:
    for text in ("\x1b[\x1b[6n6n", "\x1b\x1b]0;x\x07[6n", "\x1b[6\x1b]0;\x07n"):
        assert "\x1b[6n" not in shown(text, [])
        assert (
            "\x1b[\x18" in shown(text, [])
            or "\x1b\x18" in shown(text, [])
            or "6\x18n" in shown(text, [])
        )


@given(places=st.lists(st.integers(0, 500), max_size=6))
def test_colours_and_movement_are_shown_however_they_are_split(places: list[int]) -> None:
    assert shown(HARMLESS, places) == HARMLESS


def test_a_control_string_that_never_ends_hides_nothing_for_ever() -> None:
    screen = Screen()
    screen.feed("\x1b]0;")
    for _ in range(100):
        screen.feed("x" * 1000)
    assert "after" in screen.feed("\x07after")


@given(st.text(), st.lists(st.integers(0, 500), max_size=6))
def test_any_text_is_shown_without_an_error(text: str, places: list[int]) -> None:
    shown(text, places)


@given(st.text(st.sampled_from("\x1b]P\\\x07[0;cnx?$p\x9d\x9c"), max_size=30), st.data())
def test_how_text_is_split_changes_nothing(text: str, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, 30), max_size=6))
    assert shown(text + "\n\x1b\\\x07\n", places) == shown(text + "\n\x1b\\\x07\n", [])
