import re

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.audit.opening import make_session_id


def test_ids_are_never_the_same() -> None:
    assert len({make_session_id(1_700_000_000.0) for _ in range(10_000)}) == 10_000


@given(st.floats(0, 1e10), st.floats(0, 1e10))
def test_ids_sort_by_time(one: float, other: float) -> None:
    first, second = make_session_id(one), make_session_id(other)
    assert re.fullmatch(r"[0-9a-f]{26}", first)
    if int(one * 1000) != int(other * 1000):
        assert (first < second) == (one < other)


def test_the_random_part_is_all_of_it() -> None:
    parts = [int(make_session_id(0.0)[11:], 16) for _ in range(500)]
    ones = [sum(part >> bit & 1 for part in parts) for bit in range(60)]
    assert all(100 < count < 400 for count in ones), "a bit that hardly ever changes"
