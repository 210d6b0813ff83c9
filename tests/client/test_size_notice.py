"""The notice in a window that is too small for the terminal."""

import re

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.client.attach.size_notice import draw_notice, is_too_small
from stagedoor.wire.terminal.frames import Size

SIZES = st.builds(Size, st.integers(1, 300), st.integers(1, 100))
_ROW = re.compile(rb"\x1b\[(\d+);(\d+)H([^\x1b]*)")


@given(SIZES, SIZES, st.booleans())
def test_it_fits_into_any_window(window: Size, terminal: Size, watches: bool) -> None:
    drawn = draw_notice(window, terminal, watches=watches)
    rows = _ROW.findall(drawn)
    assert b"".join(b"\x1b[%b;%bH%b" % row for row in rows) == drawn
    places = [(int(row), int(column)) for row, column, _ in rows]
    assert [row for row, _ in places] == list(range(places[0][0], places[0][0] + len(rows)))
    assert 1 <= places[0][0] <= places[-1][0] <= window.rows
    for (_, column), (_, _, text) in zip(places, rows, strict=True):
        assert column >= 1
        assert column - 1 + len(text) <= window.columns


def test_it_says_both_sizes_and_what_to_do() -> None:
    window, terminal = Size(80, 24), Size(200, 50)
    types, watches = (
        b" ".join(
            text for _, _, text in _ROW.findall(draw_notice(window, terminal, watches=is_notified))
        )
        for is_notified in (False, True)
    )
    assert b"200 by 50 now" in types
    assert b"80 by 24, too small" in types
    assert b"Press any key, and the terminal takes the size of your window." in types
    assert b"Enlarge it, or press any key" in watches


def test_a_window_is_too_small_by_a_column_or_a_row() -> None:
    terminal = Size(80, 24)
    assert not is_too_small(Size(80, 24), terminal)
    assert not is_too_small(Size(81, 30), terminal)
    assert is_too_small(Size(79, 30), terminal)
    assert is_too_small(Size(200, 23), terminal)
