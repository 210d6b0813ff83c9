"""How much one user may change."""

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.admin import change_rate as allowance
from stagedoor.admin.change_rate import ChangeRateLimit


def test_so_many_at_once_then_one_each_second() -> None:
    rate = ChangeRateLimit(at_once=3, each_s=1.0)
    assert [rate.take("ann", 10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]
    assert rate.take("bob", 10.0) == 0.0, "nobody pays for another"
    assert rate.take("ann", 10.5) == 0.5
    assert rate.take("ann", 11.0) == 0.0
    assert rate.take("ann", 11.0) == 1.0
    assert [rate.take("ann", 99.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]


@given(st.lists(st.floats(0, 5), max_size=200))
def test_no_pattern_gets_more_than_the_rate(steps: list[float]) -> None:
    rate, now, given_ = ChangeRateLimit(at_once=5, each_s=1.0), 0.0, 0
    for step in steps:
        now += step
        given_ += rate.take("ann", now) == 0.0
    assert given_ <= 5 + now + 1e-6


def test_what_is_remembered_is_bounded() -> None:
    rate = ChangeRateLimit(at_once=1, each_s=1.0)
    for number in range(allowance.REMEMBERED + 10):
        rate.take(f"user{number}", float(number))
    assert len(rate._due) <= allowance.REMEMBERED
