"""Terminal modes as a program's output sets them: followed, undone, redone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.wire.terminal.modes import FOLLOWED, MAX_PUSHED, Modes

TMUX_STARTS = (
    b"\x1b[?1049h\x1b[22;0;0t\x1b[?1h\x1b=\x1b[H\x1b[2J\x1b[?12l\x1b[?25h"
    b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1005l\x1b[?1000h\x1b[?1002h\x1b[?1006h"
    b"\x1b[?2004h\x1b[?1004h\x1b[1 q\x1b[>4;1m"
)
"""The modes that tmux 3.3 writes to xterm-256color with `mouse on`, by and large."""


def modes(*pieces: bytes) -> Modes:
    state = Modes()
    for piece in pieces:
        state.feed(piece)
    return state


def test_a_terminal_in_which_nothing_was_set_needs_nothing() -> None:
    state = modes(b"hello\r\n\x1b[1mbold\x1b[0m\x1b[2J\x1b[5;7H")
    assert state.undo() == b""
    assert state.redo() == b""


def test_tmux_that_is_left_in_the_middle_is_undone() -> None:
    undone = modes(TMUX_STARTS).undo()
    for mode in (1, 1000, 1002, 1004, 1006, 1049, 2004):
        assert b"\x1b[?%dl" % mode in undone
    assert b"\x1b>" in undone
    assert b"\x1b[0 q" in undone
    assert b"\x1b[>4m" in undone
    assert b"1003" not in undone, "it was never on"
    assert undone.index(b"\x1b[?1006l") < undone.index(b"\x1b[?1049l")
    assert undone.endswith(b"\x1b[m")


def test_a_cursor_that_was_hidden_is_shown_and_autowrap_comes_back() -> None:
    assert b"\x1b[?25h" in modes(b"\x1b[?25l").undo()
    assert b"\x1b[?7h" in modes(b"\x1b[?7l").undo()
    assert modes(b"\x1b[?25l\x1b[?25h").undo() == b""


def test_several_modes_in_one_sequence_are_each_followed() -> None:
    assert modes(b"\x1b[?1000;1006;2004h").redo() == b"\x1b[?1000h\x1b[?1006h\x1b[?2004h"


def test_the_alternate_screen_is_entered_before_what_is_set_on_it() -> None:
    assert modes(b"\x1b[?1h\x1b[?1049h").redo().startswith(b"\x1b[?1049h")
    assert modes(b"\x1b[?1049h").alternate_screen
    assert not modes(b"\x1b[?1049h\x1b[?1049l").alternate_screen


@pytest.mark.parametrize("reset", [b"\x1bc", b"\x1b[!p"])
def test_a_reset_is_followed(reset: bytes) -> None:
    assert modes(b"\x1b[?1h\x1b=\x1b[?25l", reset).undo() == b""


def test_a_full_reset_forgets_all() -> None:
    assert modes(TMUX_STARTS, b"\x1b[>1u\x1bc").undo() == b""


def test_pushed_keyboard_settings_are_popped_as_often_and_pushed_again_as_they_were() -> None:
    state = modes(b"\x1b[>1u\x1b[>5u\x1b[>31u\x1b[<u")
    assert b"\x1b[<2u" in state.undo()
    assert state.redo() == b"\x1b[>1u\x1b[>5u"
    assert modes(b"\x1b[>1u\x1b[<9u").undo() == b""


def test_keyboard_settings_that_are_set_and_not_pushed_are_followed() -> None:
    """By fish and vim: CSI = FLAGS ; MODE u sets them (1), adds to them (2) or takes from them (3)."""
    assert modes(b"\x1b[=5u").redo() == b"\x1b[=5u"
    assert modes(b"\x1b[=5;1u\x1b[=2;2u\x1b[=4;3u").redo() == b"\x1b[=3u"
    assert b"\x1b[=0u" in modes(b"\x1b[=5u").undo()
    assert modes(b"\x1b[=5u\x1b[=0u").undo() == b""
    assert modes(b"\x1b[=1u\x1b[>5u\x1b[=7u").redo() == b"\x1b[=1u\x1b[>7u"
    assert modes(b"\x1b[=1u\x1b[>5u\x1b[<2u").undo() == b""


def test_what_is_pushed_without_end_is_not_kept_without_end() -> None:
    assert modes(b"\x1b[>1u" * 100_000).redo().count(b"u") == MAX_PUSHED


def test_text_that_looks_like_a_sequence_is_none() -> None:
    assert modes(b"[?1049h ?1049h \x1b [?1049h").undo() == b""


def test_an_endless_sequence_is_not_kept() -> None:
    state = modes(*[b"\x1b[?" + b"1;" * 4000] * 3)
    state.feed(b"\x1b[?2004h")
    assert state.redo() == b"\x1b[?2004h"


pieces = st.lists(
    st.one_of(
        st.builds(
            lambda mode, on: b"\x1b[?%d%c" % (mode, b"h" if on else b"l"),
            st.sampled_from(sorted(FOLLOWED)),
            st.booleans(),
        ),
        st.sampled_from([b"\x1b=", b"\x1b>", b"\x1bc", b"\x1b[!p", b"\x1b[4 q", b"\x1b[ q",
                         b"\x1b[>4;2m", b"\x1b[>4m", b"\x1b[>m", b"\x1b[>3u", b"\x1b[<u", b"\x1b[?2;1h",
                         b"\x1b[=5u", b"\x1b[=6;2u", b"\x1b[=1;3u"]),
        st.binary(max_size=12),
    ),
    max_size=12,
)  # fmt: skip


@given(pieces)
def test_what_was_set_is_undone_by_undo(output: list[bytes]) -> None:
    state = modes(*output)
    undone = modes(state.redo())
    undone.feed(state.undo())
    assert undone.undo() == b""
    assert undone.redo() == b""


@given(pieces)
def test_redo_says_it_all(output: list[bytes]) -> None:
    state = modes(*output)
    again = modes(state.redo())
    assert (again.redo(), again.undo()) == (state.redo(), state.undo())


@given(pieces, st.data())
def test_output_in_any_pieces_sets_the_same(output: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(output)
    split = Modes()
    at = 0
    while at < len(whole):
        step = data.draw(st.integers(1, 5))
        split.feed(whole[at : at + step])
        at += step
    assert split.redo() == modes(whole).redo()
