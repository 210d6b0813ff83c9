"""The connections that are closed when too many have not logged in yet."""

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.listeners.limits import StartupLimits
from stagedoor.listeners.ssh.listener import Startups

ALWAYS, NEVER = (lambda: 0.0), (lambda: 0.999)


def test_below_the_start_no_connection_is_closed() -> None:
    startups: Startups[int] = Startups(StartupLimits(3, 100, 10), ALWAYS)
    assert [startups.enter(n, "a") for n in range(3)] == [None, None, None]


def test_between_start_and_full_the_dice_decide_and_at_full_every_connection_pays() -> None:
    startups: Startups[int] = Startups(StartupLimits(2, 30, 4), NEVER)
    assert [startups.enter(n, "a") for n in range(4)] == [None] * 4
    assert startups.enter(4, "a") is not None
    assert len(startups) == 4


def test_a_flood_from_one_source_drops_its_own_and_never_the_newcomer() -> None:
    startups: Startups[str] = Startups(StartupLimits(10, 100, 10), ALWAYS)
    for number in range(200):
        startups.enter(f"flood {number}", "203.0.113.1")
    assert startups.enter("honest", "192.0.2.1") is not None
    gone = [startups.enter(f"more {number}", "203.0.113.1") for number in range(100)]
    assert "honest" not in gone
    assert len(startups) == 10


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.sampled_from("abc")), max_size=80),
    st.floats(0, 1, exclude_max=True),
)
def test_no_connection_is_counted_twice_or_forgotten(
    steps: list[tuple[bool, int, str]], roll: float
) -> None:
    startups: Startups[int] = Startups(StartupLimits(3, 50, 8), lambda: roll)
    waiting: set[int] = set()
    for comes, key, source in steps:
        if comes and key not in waiting:
            victim = startups.enter(key, source)
            assert victim is None or victim in waiting
            waiting -= {victim}  # type: ignore[arg-type]  # None is not in it
            waiting.add(key)
        elif not comes:
            startups.remove(key)
            waiting.discard(key)
        assert len(startups) == len(waiting) <= 8
