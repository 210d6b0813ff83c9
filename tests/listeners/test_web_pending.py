"""Who has to go when there are too many connections of strangers."""

import gc
import weakref
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.listeners.web.pending import PendingConnections, PendingLimit
from stagedoor.model.source import Source, source_network


def test_the_oldest_of_the_source_that_has_most_goes() -> None:
    limit: PendingLimit[int] = PendingLimit(5, 4)
    for number, source in enumerate(["honest", "many", "many", "other", "many"]):
        assert limit.enter(number, source) is None
    assert limit.enter(5, "new") == 1
    assert limit.enter(6, "newer") == 2
    assert len(limit) == 5


def test_a_source_at_its_limit_loses_its_own_oldest() -> None:
    limit: PendingLimit[int] = PendingLimit(100, 3)
    assert [limit.enter(number, "one") for number in range(5)] == [None, None, None, 0, 1]


def test_what_has_left_is_not_counted() -> None:
    limit: PendingLimit[int] = PendingLimit(2, 2)
    limit.enter(1, "a")
    limit.enter(2, "b")
    limit.leave(1)
    limit.leave(1)
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
    limit: PendingLimit[int] = PendingLimit(most, most_of_source)
    held: dict[int, str] = {}
    for number, (enters, key, source) in enumerate(steps):
        if not enters:
            limit.leave(key)
            held.pop(key, None)
            continue
        new, of = 100 + number if key in held else key, f"s{source}"
        victim = limit.enter(new, of)
        if victim is not None:
            counts = [list(held.values()).count(each) for each in held.values()]
            assert held[victim] == of or list(held.values()).count(held[victim]) == max(counts)
            del held[victim]
        held[new] = of
        assert len(limit) == len(held) <= most
        assert max(list(held.values()).count(each) for each in held.values()) <= most_of_source


def test_one_that_speaks_counts_among_those_that_speak_and_one_that_has_proved_itself_nowhere() -> (
    None
):
    all_of_them = PendingConnections(16)
    source = Source.of("192.0.2.1", 1)
    out: list[int] = []
    connections = []
    for number in range(12):
        arrived = all_of_them.arrive(source, "192.0.2.1")
        arrived.crowded_out = lambda number=number: out.append(number)  # type: ignore[misc]
        connections.append(arrived)
    assert out == [0, 1, 2, 3]  # eight of one source
    all_of_them.speaks(connections[4], "192.0.2.1", secure=False)
    all_of_them.speaks(connections[5], "192.0.2.1", secure=True)
    counts = (len(all_of_them.silent), len(all_of_them.plain), len(all_of_them.tls))
    assert counts == (6, 1, 1)
    connections[4].prove()
    connections[5].prove()
    assert (len(all_of_them.silent), len(all_of_them.plain), len(all_of_them.tls)) == (6, 0, 0)
    all_of_them.leave(connections[4])


def test_an_ipv6_source_is_its_64() -> None:
    one, two = Source.of("2001:db8:1:2::1", 1), Source.of("2001:db8:1:2:ffff::2", 2)
    assert source_network(one.address) == source_network(two.address)
    assert source_network(one.address) != source_network(Source.of("2001:db8:1:3::1", 1).address)
    assert source_network(Source.of("192.0.2.1", 5).address) == "192.0.2.1"


class Tls:
    """What a connection holds."""


def test_one_that_has_ended_is_freed_without_the_collector() -> None:
    """TLS holds 50 KiB for each, with which a flood would fill the memory until the collector runs."""
    pending = PendingConnections(10)
    one = pending.arrive(Source.of("192.0.2.1", 1), "192.0.2.0/24")
    tls = Tls()
    one.crowded_out = partial(print, one, tls)
    freed = weakref.ref(tls)
    gc.disable()
    try:
        one.ended()
        one.ended()
        del one, tls
        assert freed() is None
    finally:
        gc.enable()
    assert len(pending.silent) == 0
