"""The number of guesses that a client has, as transcripts with their own clock."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.authn.throttle import Throttle, ThrottleLimits, make_key
from stagedoor.model.source import find_source_network

HERE = make_key("dev", ip_address("192.0.2.1"))
LIMITS = ThrottleLimits(free_tries=3, first_wait_s=1, longest_wait_s=60, forget_s=600, entries=100)


def fail(throttle: Throttle, of: tuple[str, str], now: float) -> None:
    assert throttle.start(of, now) == 0
    throttle.record_failure(of, now)


def test_waits_double_up_to_the_longest() -> None:
    throttle, now, waits = Throttle(LIMITS), 0.0, []
    for _ in range(12):
        fail(throttle, HERE, now)
        waits.append(throttle.measure_block(HERE, now))
        now += waits[-1]
    assert waits == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_nobody_elsewhere_and_no_other_name_is_held_up() -> None:
    throttle = Throttle(LIMITS)
    for _ in range(3):
        fail(throttle, HERE, 0)
    assert throttle.start(HERE, 0.5) == 0.5
    assert throttle.start(make_key("dev", ip_address("192.0.2.2")), 0.5) == 0
    assert throttle.start(make_key("ops", ip_address("192.0.2.1")), 0.5) == 0


def test_guesses_made_at_once_are_no_cheaper_than_in_turn() -> None:
    throttle = Throttle(LIMITS)
    started = [throttle.start(HERE, 0) for _ in range(10)]
    assert started.count(0) == 3
    for _ in range(3):
        throttle.record_failure(HERE, 0)
    assert throttle.measure_block(HERE, 0) == 1
    assert throttle.start(HERE, 1) == 0
    assert throttle.start(HERE, 1) > 0, "after the free tries, one at a time"


def test_the_same_wrong_password_again_is_no_further_guess() -> None:
    throttle = Throttle(LIMITS)
    for _ in range(50):
        assert throttle.start(HERE, 0) == 0
        throttle.record_failure(HERE, 0, b"old")
    for guess in (b"a", b"b"):
        assert throttle.start(HERE, 0) == 0
        throttle.record_failure(HERE, 0, guess)
    assert throttle.measure_block(HERE, 0) == 1, "different ones are"


def test_a_right_password_forgives() -> None:
    throttle = Throttle(LIMITS)
    fail(throttle, HERE, 0)
    fail(throttle, HERE, 0)
    assert throttle.start(HERE, 0) == 0
    throttle.record_success(HERE)
    assert len(throttle) == 0


def test_a_try_that_came_to_nothing_counts_for_nothing() -> None:
    throttle = Throttle(LIMITS)
    for _ in range(20):
        assert throttle.start(HERE, 0) == 0
        throttle.abandon(HERE)
    assert len(throttle) == 0


def test_failures_are_forgotten_after_a_while_without_any() -> None:
    throttle = Throttle(LIMITS)
    for _ in range(3):
        fail(throttle, HERE, 0)
    assert throttle.measure_block(HERE, 600) == 0
    assert len(throttle) == 0


def test_an_ipv6_subscriber_cannot_hop_through_his_64() -> None:
    one, two = ip_address("2001:db8::1"), ip_address("2001:db8::ffff:2")
    assert find_source_network(one) == find_source_network(two)
    assert find_source_network(one) != find_source_network(ip_address("2001:db8:0:1::1"))


def test_endless_names_share_one_bucket() -> None:
    assert make_key("a" * 5000, ip_address("::1")) == make_key("b" * 6000, ip_address("::1"))


@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["start", "fail", "pass", "drop"]))))
def test_whatever_happens_memory_is_bounded_and_waits_are_finite(
    steps: list[tuple[int, str]],
) -> None:
    throttle = Throttle(LIMITS)
    for now, (who, what) in enumerate(steps):
        of = make_key(f"user{who}", ip_address("192.0.2.9"))
        if what == "start":
            assert 0 <= throttle.start(of, now) <= 60
        elif what == "fail":
            throttle.record_failure(of, now)
        elif what == "pass":
            throttle.record_success(of)
        else:
            throttle.abandon(of)
        assert len(throttle) <= 100
        assert 0 <= throttle.measure_block(of, now) <= 60


def test_more_names_than_there_is_room_for_forget_the_oldest_only() -> None:
    throttle = Throttle(LIMITS)
    for _ in range(3):
        fail(throttle, HERE, 0)
    for n in range(99):
        fail(throttle, make_key(f"n{n}", ip_address("192.0.2.3")), 0)
    assert throttle.measure_block(HERE, 0) == 1
    fail(throttle, make_key("one more", ip_address("192.0.2.3")), 0)
    assert len(throttle) == 100
    assert throttle.measure_block(HERE, 0) == 0
