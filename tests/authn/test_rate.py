"""How often each source may do something."""

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.rate import Rate, SiteRates, SourceRates


def test_a_burst_and_then_one_each_interval() -> None:
    rates = SourceRates(Rate(3, 2.0))
    assert [rates.take("a", 0) for _ in range(4)] == [0, 0, 0, None]
    assert rates.wait_s("a", 0) == 2
    assert rates.take("b", 0) == 0, "another source is not held up"
    assert [rates.take("a", now) for now in (1.9, 2, 2, 4)] == [None, 0, None, 0]


def test_what_is_given_back_does_not_count() -> None:
    rates = SourceRates(Rate(1, 60))
    for _ in range(100):
        assert rates.take("a", 0) == 0
        rates.give_back("a")
    rates.give_back("nobody")


def test_some_may_wait_for_as_long_as_patience_lasts() -> None:
    rates = SourceRates(Rate(2, 1.0, patience_s=3.0))
    assert [rates.take("a", 0) for _ in range(7)] == [0, 0, 1, 2, 3, None, None]


def test_a_clock_that_was_set_back_holds_nobody_up_for_long() -> None:
    rates = SourceRates(Rate(2, 1.0))
    assert [rates.take("a", 1e9) for _ in range(3)] == [0, 0, None]
    assert rates.wait_s("a", 0) == 1
    assert rates.take("a", 0) is None


@given(
    st.integers(1, 5), st.floats(0.1, 10),
    st.lists(st.tuples(st.floats(0, 5), st.sampled_from("abcdefgh")), max_size=100),
)  # fmt: skip
def test_never_more_than_the_rate_and_memory_is_bounded(
    burst: int, interval_s: float, steps: list[tuple[float, str]]
) -> None:
    rates, now, done = SourceRates(Rate(burst, interval_s), entries=4), 0.0, 0
    for after, source in steps:
        now += after
        assert len(rates) <= 4
        if source == "a":
            wait_s = rates.wait_s("a", now)
            assert 0 <= wait_s <= interval_s + 1e-6
            done += rates.take("a", now) is not None
            assert done <= burst + now / interval_s + 1e-6
        elif source < "e":
            rates.take(source, now)


def test_a_site_has_a_limit_of_its_own_of_which_a_refused_source_takes_nothing() -> None:
    rates = SiteRates(Rate(2, 8.0), times=2)
    one, two, three = (f"2001:db8:1:{number}::/64" for number in (1, 2, 3))
    assert [rates.take(one, 0) for _ in range(20)] == [0, 0] + [None] * 18
    assert (rates.wait_s(one, 0), rates.find_waiting_scope(one, 0)) == (8, "address")
    assert [rates.take(two, 0) for _ in range(2)] == [0, 0]
    assert rates.take(three, 0) is None
    assert (rates.wait_s(three, 0), rates.find_waiting_scope(three, 0)) == (4, "network")
    rates.give_back(two)
    assert rates.take(three, 0) == 0
    assert [rates.take("192.0.2.1", 0) for _ in range(3)] == [0, 0, None]
    assert rates.find_waiting_scope("192.0.2.1", 0) == "address", "it is its own site"
