"""Whose turn it is, and who has to go."""

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.turns import Turns


def test_sources_take_turns_however_many_each_has() -> None:
    turns: Turns[str] = Turns(100)
    for n in range(5):
        turns.come(f"a{n}", "a")
    turns.come("b0", "b")
    turns.come("c0", "c")
    assert [turns.next() for _ in range(8)] == ["a0", "b0", "c0", "a1", "a2", "a3", "a4", None]


def test_the_source_with_most_loses_its_newest_and_never_the_newcomer() -> None:
    turns: Turns[str] = Turns(5)
    for n in range(3):
        turns.come(f"a{n}", "a")
    for n in range(2):
        turns.come(f"b{n}", "b")
    assert turns.come("c0", "c") == "a2"
    assert turns.come("a3", "a") == "a3", "its own source has most"
    assert len(turns) == 5


def test_among_equals_the_newcomer_goes() -> None:
    turns: Turns[str] = Turns(3)
    assert [turns.come(one, one) for one in "abc"] == [None] * 3
    assert turns.come("d", "d") == "d"


STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "next", "go"]), st.integers(0, 20), st.sampled_from("abcd")),
    max_size=120,
)


@given(STEPS, st.integers(0, 6))
def test_nobody_is_lost_or_counted_twice(steps: list[tuple[str, int, str]], room: int) -> None:
    turns: Turns[tuple[int, str]] = Turns(room)
    waiting: set[tuple[int, str]] = set()
    for what, number, source in steps:
        key = (number, source)
        if what == "come" and key not in waiting:
            waiting.add(key)
            gone = turns.come(key, source)
            if gone is not None:
                most = max(sum(s == other for _, s in waiting) for other in "abcd")
                assert sum(s == gone[1] for _, s in waiting) >= most - (gone[1] != source)
                waiting.remove(gone)
        elif what == "next":
            turn = turns.next()
            assert (turn is None) == (not waiting)
            waiting.discard(turn)  # type: ignore[arg-type]  # None is not in it
        elif what == "go":
            turns.go(key, source)
            waiting.discard(key)
        assert len(turns) == len(waiting) <= room
