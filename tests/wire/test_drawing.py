"""The power of a watched terminal over the watcher's: it draws. Attacks first, and then whatever there is."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.wire.terminal.output_parser import UNDO, OutputParser

SECRET = b"c3RvbGVu"
ASKING = [
    b"\x1b[c", b"\x1b[0c", b"\x1b[>c", b"\x1b[=c", b"\x1bZ", b"\x05",  # DA, DECID, ENQ
    b"\x1b[5n", b"\x1b[6n", b"\x1b[?6n", b"\x1b[?996n", b"\x1b[x",  # DSR, DECREQTPARM
    b"\x1b[?1$p", b"\x1b[4$p", b"\x1b[>q", b"\x1b[>0q", b"\x1b[?u", b"\x1b[?4m",  # DECRQM, XTVERSION, keys
    b"\x1b[1;1;1;1;1;1*y", b"\x1b[1$w", b"\x1b[0$u", b"\x1b[#R", b"\x1b[#S",
    b"\x1bP$qm\x1b\\", b"\x1bP+q544e\x1b\\", b"\x1b_Ga=q,i=1;AAAA\x1b\\",  # DECRQSS, XTGETTCAP, kitty
    b"\x1b]4;1;?\x07", b"\x1b]10;?\x07", b"\x1b]11;?\x1b\\", b"\x1b]12;?\x07", b"\x1b]52;c;?\x07",
    b"\x1b[?1000h", b"\x1b[?1003;1006h", b"\x1b[?1004h", b"\x1b[?2031h", b"\x1b[?2004h",  # what speaks later
    b"\x1b[?9001h", b"\x1b[1;1;1;1;1T",
]  # fmt: skip
ACTING = [
    b"\x1b]52;c;" + SECRET + b"\x07", b"\x1b]52;c;" + SECRET + b"\x1b\\", b"\x1b]52;;" + SECRET + b"\x9c",
    b"\x1bPtmux;\x1b\x1b]52;c;" + SECRET + b"\x07\x1b\\",  # tmux passes it through
    b"\x1bP\x1b]52;c;" + SECRET + b"\x07\x1b\\",  # and so does screen
    b"\x1b\x1b]52;c;" + SECRET + b"\x07", b"\x1b[\x1b]52;c;" + SECRET + b"\x07",
    b"\x1b]5\x002;c;" + SECRET + b"\x07", b"\xc2\x9d52;c;" + SECRET + b"\x07",
    b"\x1b]1337;File=name=YQ==;inline=1:" + SECRET + b"\x07", b"\x1b]1337;StagedoorGet=" + SECRET + b"\x07",
    b"\x1b]0;title\x07", b"\x1b]2;title\x1b\\", b"\x1b]7;file://h/" + SECRET + b"\x07",
    b"\x1b]8;;file:///" + SECRET + b"\x07", b"\x1b]9;" + SECRET + b"\x07",
    b"\x1b]777;notify;a;" + SECRET + b"\x07",
    b"\x1b]50;" + SECRET + b"\x07", b"\x1bk" + SECRET + b"\x1b\\", b"\x1b^" + SECRET + b"\x1b\\",
    b"\x1bX" + SECRET + b"\x1b\\", b"\x1b_" + SECRET + b"\x1b\\", b"\x1bPq#0" + SECRET + b"\x1b\\",
    b"\x1b[i", b"\x1b[5i", b"\x1b[?4i", b"\x1b[4i",  # printing
    b"\x1b[2t", b"\x1b[8;1;1t", b"\x1b[21t", b"\x1b[22;0t", b"\x1b[>2t", b"\x1b[1 t",  # the window
    b"\x1b[3J", b"\x1b[?3J", b"\x1b[0;3J", b"\x1b[03J", b"\x1b[?3h", b"\x1b[?40h",  # scrollback, width
    b"\x1b=", b"\x1b>", b"\x1b[?1h", b"\x1b[>4;2m", b"\x1b[>1u", b"\x1b[=1u", b"\x1b[2h", b"\x1b[20h",  # keys
    b"\x1b%@", b"\x1b%G", b"\x1b G", b"\x1b[62;1\"p", b"\x1b[?1r", b"\x1b[?1s", b"\x1b[1q", b"\x1b[2;1y",
    b"\x1b[999999999b", b"\x1b[" + b"1;" * 200 + b"m", b"\x1bl", b"\x1bm", b"\x1b~", b"\x1b]lx\x1b\\",
]  # fmt: skip
DRAWN = [
    b"text\r\n", b"\t\b\a", "é你😀─│\ufffd".encode(), b"\x1b[1;31mred\x1b[m", b"\x1b[38;2;1;2;3m",
    b"\x1b[4:3m",
    b"\x1b[2J\x1b[H", b"\x1b[10;20H", b"\x1b[3;10r", b"\x1b[K", b"\x1b[?K", b"\x1b[5X", b"\x1b[2@",
    b"\x1b[9b",
    b"\x1b[?1049h", b"\x1b[?25l", b"\x1b[?2026h", b"\x1b[4h", b"\x1b[4l", b"\x1b7", b"\x1b8", b"\x1bM",
    b"\x1bH",
    b"\x1b(0lqk\x1b(B", b"\x0eq\x0f", b"\x1b#8", b"\x1b[4 q", b"\x1b[!p", b"\x1b[s", b"\x1b[u", b"\x1b[2T",
    UNDO,
]  # fmt: skip
_ONLY = re.compile(
    rb"(?:[\x20-\x7e\x07-\x0f]"
    rb"|\xc2[\xa0-\xbf]|[\xc3-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
    rb"|\x1b(?:[78DEHM]|#[34568]|[()*+][0B])"
    rb"|\x1b\[[0-9;:]*[@-HJ-MPSTXZ`abd-gmrsuhlI]|\x1b\[\?[0-9;]*[JKhl]|\x1b\[[0-9;:]* q|\x1b\[[0-9;:]*!p"
    rb")*\Z"
)
"""An outline of all that may ever come out, written apart from the program."""

pieces = st.lists(
    st.one_of(
        st.sampled_from(ASKING + ACTING + DRAWN),
        st.sampled_from([b"\x1b", b"\x1b[", b"\x1b]", b"\x1bP", b"\\", b"\x07", b"\x18", b"?", b";", b"5",
                         b"n", b"\xc2", b"\x9b", b"\xe2\x94", b"\x1b\x1b", b"tmux;"]),
        st.binary(max_size=6),
    ),
    max_size=12,
).map(b"".join)  # fmt: skip


def drawn(data: bytes, *, utf8: bool = True) -> bytes:
    return OutputParser(utf8=utf8).feed(data)


@pytest.mark.parametrize("asking", ASKING, ids=repr)
def test_nothing_that_makes_a_terminal_answer_goes_on(asking: bytes) -> None:
    assert drawn(b"a" + asking + b"b") == b"ab"


@pytest.mark.parametrize("acting", ACTING, ids=repr)
def test_nothing_that_does_more_than_draw_goes_on(acting: bytes) -> None:
    shown = drawn(b"a" + acting + b"\x1b\\b")
    assert shown.startswith(b"a")
    assert shown.endswith(b"b")
    assert b"\x1b" not in shown
    assert SECRET not in shown


@pytest.mark.parametrize("draws", DRAWN, ids=repr)
def test_what_draws_goes_on_as_it_is(draws: bytes) -> None:
    assert drawn(draws) == draws


def test_of_several_modes_those_that_draw_go_on() -> None:
    assert drawn(b"\x1b[?1049;1000;25;1006h") == b"\x1b[?1049;25h"


def test_a_reset_clears_the_screen_and_keeps_the_scrollback() -> None:
    shown = drawn(b"\x1bc")
    assert shown.endswith(b"\x1b[H\x1b[2J")
    assert b"\x1bc" not in shown


def test_what_follows_a_gap_is_not_taken_for_the_rest_of_what_came_before() -> None:
    drawing = OutputParser(utf8=True)
    assert drawing.feed(b"a\x1b]52;c;" + SECRET) == b"a"
    drawing.begin()
    assert drawing.feed(b"new") == b"new"


def test_a_terminal_without_utf8_gets_no_byte_that_it_could_take_for_a_control() -> None:
    # The bytes of these are OSC and CSI to a terminal of ISO 8859-1.
    assert drawn("ӝ52;c;a\a Û6n".encode(), utf8=False) == b"?52;c;a\a ?6n"


@given(pieces, st.booleans())
@settings(max_examples=100, deadline=None)
def test_whatever_comes_only_what_draws_goes_on(data: bytes, utf8: bool) -> None:
    shown = drawn(data, utf8=utf8)
    assert _ONLY.match(shown), shown
    assert utf8 or shown.isascii()
    assert drawn(shown, utf8=utf8) == shown, "what is fit once is fit again"


@given(pieces, st.data())
@settings(max_examples=100, deadline=None)
def test_it_is_the_same_however_it_is_cut(data: bytes, chance: st.DataObject) -> None:
    cuts = chance.draw(st.lists(st.integers(0, len(data)), max_size=6).map(sorted))
    drawing = OutputParser(utf8=True)
    cut = b"".join(
        drawing.feed(data[start:end])
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)
    )
    assert cut == drawn(data)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
@settings(deadline=None)
def test_text_is_never_changed(text: str) -> None:
    assert drawn(text.encode()) == text.encode()
