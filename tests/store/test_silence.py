from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.store.liveness.heartbeat import HeartbeatWatch


def watch(
    silence: HeartbeatWatch, beats: Sequence[int | None], *, step_s: float = 5.0
) -> list[bool]:
    """Return whether `a` is dead at each look, with so many beats."""
    return ["a" in silence.find_dead({"a": count}, n * step_s) for n, count in enumerate(beats)]


def test_who_stands_still_for_long_enough_is_dead() -> None:
    assert watch(HeartbeatWatch(20.0, 15.0), [3, 3, 3, 3, 3, 3]) == [False] * 4 + [True] * 2


def test_who_beats_lives() -> None:
    assert not any(watch(HeartbeatWatch(20.0, 15.0), range(100)))
    assert not any(watch(HeartbeatWatch(20.0, 15.0), [n // 3 for n in range(100)]))


def test_who_never_began_to_beat_is_given_the_same_time() -> None:
    assert watch(HeartbeatWatch(20.0, 15.0), [None] * 5) == [False] * 4 + [True]
    assert not any(watch(HeartbeatWatch(20.0, 15.0), [None, None, None, 0, 0, 0]))


def test_a_watcher_that_was_away_blames_nobody() -> None:
    silence = HeartbeatWatch(20.0, 15.0)
    silence.find_dead({"a": 1}, 0.0)
    assert silence.find_dead({"a": 1}, 1000.0) == frozenset()
    assert silence.find_dead({"a": 1}, 1010.0) == frozenset()
    assert silence.find_dead({"a": 1}, 1020.0) == {"a"}


def test_who_has_gone_is_forgotten() -> None:
    silence = HeartbeatWatch(20.0, 15.0)
    silence.find_dead({"a": 1}, 0.0)
    silence.find_dead({}, 10.0)
    assert silence.find_dead({"a": 1}, 20.0) == frozenset()


@given(
    st.lists(st.tuples(st.floats(0, 40), st.booleans()), max_size=40),
)
def test_whoever_beats_within_the_time_is_never_dead(looks: list[tuple[float, bool]]) -> None:
    """However late the watcher looks."""
    silence = HeartbeatWatch(20.0, 15.0)
    now = beat_at = 0.0
    count = 0
    for wait_s, beats in looks:
        now += wait_s
        if beats or now - beat_at >= 20.0:
            count, beat_at = count + 1, now
        assert silence.find_dead({"a": count}, now) == frozenset()
