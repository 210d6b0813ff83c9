"""Which key is served next, and which one has to go."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.fair_queue import FairQueue


def test_sources_take_turns_however_many_each_has() -> None:
    turns: FairQueue[str] = FairQueue(100)
    for n in range(5):
        turns.queue_for_turn(f"a{n}", "a")
    turns.queue_for_turn("b0", "b")
    turns.queue_for_turn("c0", "c")
    assert [turns.take() for _ in range(8)] == ["a0", "b0", "c0", "a1", "a2", "a3", "a4", None]


def test_the_source_with_most_loses_its_newest_and_never_the_newcomer() -> None:
    turns: FairQueue[str] = FairQueue(5)
    for n in range(3):
        turns.queue_for_turn(f"a{n}", "a")
    for n in range(2):
        turns.queue_for_turn(f"b{n}", "b")
    assert turns.queue_for_turn("c0", "c") == "a2"
    assert turns.queue_for_turn("a3", "a") == "a3", "its own source has most"
    assert len(turns) == 5


def test_among_equals_the_newcomer_goes() -> None:
    turns: FairQueue[str] = FairQueue(3)
    assert [turns.queue_for_turn(source, source) for source in "abc"] == [None] * 3
    assert turns.queue_for_turn("d", "d") == "d"


STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "next", "go"]), st.integers(0, 20), st.sampled_from("abcd")),
    max_size=120,
)


@given(STEPS, st.integers(0, 6))
def test_nobody_is_lost_or_counted_twice(steps: list[tuple[str, int, str]], room: int) -> None:
    turns: FairQueue[tuple[int, str]] = FairQueue(room)
    waiting: set[tuple[int, str]] = set()
    for what, number, source in steps:
        key = (number, source)
        if what == "come" and key not in waiting:
            waiting.add(key)
            gone = turns.queue_for_turn(key, source)
            if gone is not None:
                most = max(sum(s == other for _, s in waiting) for other in "abcd")
                assert sum(s == gone[1] for _, s in waiting) >= most - (gone[1] != source)
                waiting.remove(gone)
        elif what == "next":
            turn = turns.take()
            assert (turn is None) == (not waiting)
            waiting.discard(turn)  # type: ignore[arg-type]  # None is not in it
        elif what == "go":
            turns.remove(key)
            waiting.discard(key)
        assert len(turns) == len(waiting) <= room


# Connections: the oldest has to go.


def test_the_oldest_of_the_source_that_has_most_goes() -> None:
    limit: FairQueue[int] = FairQueue(5, 4)
    for number, source in enumerate(["honest", "many", "many", "other", "many"]):
        assert limit.enter(number, source) is None
    assert limit.enter(5, "new") == 1
    assert limit.enter(6, "newer") == 2
    assert len(limit) == 5


def test_a_source_at_its_limit_loses_its_own_oldest() -> None:
    limit: FairQueue[int] = FairQueue(100, 3)
    assert [limit.enter(number, "one") for number in range(5)] == [None, None, None, 0, 1]


def test_what_has_left_is_not_counted() -> None:
    limit: FairQueue[int] = FairQueue(2, 2)
    limit.enter(1, "a")
    limit.enter(2, "b")
    limit.remove(1)
    limit.remove(1)
    assert limit.enter(3, "c") is None
    assert len(limit) == 2


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, 4)), max_size=200),
    st.integers(1, 12),
    st.integers(1, 6),
)
def test_the_limits_hold_whoever_comes_and_goes(
    steps: list[tuple[bool, int, int]], most: int, most_of_source: int
) -> None:
    limit: FairQueue[int] = FairQueue(most, most_of_source)
    held: dict[int, str] = {}
    for number, (enters, key, source) in enumerate(steps):
        if not enters:
            limit.remove(key)
            held.pop(key, None)
            continue
        new, of = 100 + number if key in held else key, f"s{source}"
        victim = limit.enter(new, of)
        if victim is not None:
            counts = [list(held.values()).count(holder) for holder in held.values()]
            assert held[victim] == of or list(held.values()).count(held[victim]) == max(counts)
            del held[victim]
        held[new] = of
        assert len(limit) == len(held) <= most
        assert max(list(held.values()).count(holder) for holder in held.values()) <= most_of_source


# An attacker with an IPv6 /48 has 65,536 sources.


def attackers(count: int) -> list[str]:
    return [f"2001:db8:bad:{number:x}::/64" for number in range(count)]


HONEST = ["192.0.2.7", "2001:db8:1::/64", "2001:db8:2:3::/64", "2001:db8:bad:ff07::/64"]
"""The last one shares the attacker's /48, with a /56 of its own."""


def test_a_48_of_single_connections_pushes_out_its_own() -> None:
    limit: FairQueue[str] = FairQueue(40)
    for source in HONEST:
        limit.enter(source, source)
    victims = [limit.enter(source, source) for source in attackers(200)]
    assert [victim for victim in victims if victim] == attackers(200)[:164]
    assert limit.enter("late", "192.0.2.8") in attackers(200)


def test_a_56_of_a_shared_48_pushes_out_its_own() -> None:
    limit: FairQueue[str] = FairQueue(200)
    neighbours = [f"2001:db8:bad:{number << 8:x}::/64" for number in range(1, 100)]
    for source in [*neighbours, *attackers(250)]:
        limit.enter(source, source)
    assert all(limit.list_keys_of(source) == [source] for source in neighbours)


def test_a_48_has_one_turn_at_a_time() -> None:
    turns: FairQueue[str] = FairQueue(40)
    for source in [*attackers(40), *HONEST]:
        turns.queue_for_turn(source, source)
    order = [turns.take() for _ in range(8)]
    assert set(HONEST) <= set(order)
    assert len(turns) == 32


def test_a_full_queue_of_a_48_makes_room_for_another_source_and_not_for_its_own() -> None:
    turns: FairQueue[str] = FairQueue(40)
    for source in attackers(40):
        assert turns.queue_for_turn(source, source) is None
    assert turns.queue_for_turn("more", "2001:db8:bad:ff::/64") == "more"
    assert turns.queue_for_turn("neighbour", "2001:db8:bad:ff07::/64") in attackers(40)
    assert turns.queue_for_turn("honest", "192.0.2.7") in attackers(40)


NETWORKS = st.sampled_from(
    [f"2001:db8:{site}:{part << 8 | n:x}::/64" for site in "12" for part in (0, 1) for n in (0, 1)]
    + ["192.0.2.1", "192.0.2.2"]
)


@given(st.lists(st.tuples(st.sampled_from(["enter", "line up", "take", "remove"]), NETWORKS)))
def test_networks_within_networks_are_counted_as_they_come_and_go(
    steps: list[tuple[str, str]],
) -> None:
    queue: FairQueue[tuple[int, str]] = FairQueue(8, 5)
    waiting: list[tuple[int, str]] = []
    for number, (what, source) in enumerate(steps):
        key = (number, source)
        if what in {"enter", "line up"}:
            victim = (
                queue.enter(key, source) if what == "enter" else queue.queue_for_turn(key, source)
            )
            waiting.append(key)
            if victim is not None:
                waiting.remove(victim)
        elif what == "take":
            turn = queue.take()
            assert (turn is None) == (not waiting)
            waiting = [key for key in waiting if key != turn]
        elif waiting:
            queue.remove(waiting.pop(number % len(waiting)))
        assert len(queue) == len(waiting) <= 8
        for of in {source for _, source in waiting}:
            assert list(queue.list_keys_of(of)) == [key for key in waiting if key[1] == of]
        assert queue.count_keys() == Counter(source for _, source in waiting)
