"""The time at which a worker that died is started again."""

from stagedoor.serve.supervisor.fleet import (
    FIRST_DELAY_S,
    GOOD_LIFE_S,
    LONGEST_DELAY_S,
    choose_delay_s,
    count_deaths,
)


def test_the_first_death_costs_a_moment_and_each_further_one_twice_as_long() -> None:
    assert [choose_delay_s(n) for n in (1, 2, 3, 4)] == [FIRST_DELAY_S * n for n in (1, 2, 4, 8)]


def test_the_wait_never_exceeds_its_bound_however_often_it_dies() -> None:
    assert choose_delay_s(10_000) == LONGEST_DELAY_S


def test_a_worker_that_lived_well_dies_for_the_first_time() -> None:
    assert count_deaths(7, GOOD_LIFE_S) == 1
    assert count_deaths(7, GOOD_LIFE_S - 1) == 8
    assert count_deaths(0, 0.0) == 1
