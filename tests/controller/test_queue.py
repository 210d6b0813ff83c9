"""Each key once, put off by its own failures and by no other key's."""

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.controller.queue import WorkQueue


def test_a_key_named_often_is_handed_out_once_and_the_longest_due_comes_first() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for at in (5.0, 3.0, 4.0):
        queue.add("a", at)
    queue.add("b", 2.0)
    assert queue.find_next_at() == 2.0
    assert [queue.take(10.0), queue.take(10.0), queue.take(10.0)] == ["b", "a", None]


def test_nothing_is_handed_out_before_it_is_due() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a", 5.0)
    assert queue.take(4.9) is None
    assert queue.take(5.0) == "a"


def test_a_key_that_is_named_while_it_is_worked_on_is_due_once_more_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a", 1.0)
    assert queue.take(1.0) == "a"
    queue.add("a", 1.0)
    queue.add("a", 2.0)
    assert queue.take(9.0) is None
    queue.finish("a", recheck_at=50.0)
    assert queue.take(9.0) == "a"
    queue.finish("a")
    assert queue.find_next_at() is None


def test_failures_double_the_wait_up_to_a_limit_and_are_forgotten_when_it_is_done() -> None:
    queue: WorkQueue[str] = WorkQueue(first_retry_s=1.0, longest_retry_s=5.0)
    queue.add("a", 0.0)
    now, waits = 0.0, []
    for _ in range(5):
        assert queue.take(now) == "a"
        queue.add("a", now)  # the failing write itself may have caused a change
        at = queue.retry("a", now)
        assert queue.take(at - 0.01) is None
        waits.append(at - now)
        now = at
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert queue.take(now) == "a"
    queue.finish("a")
    queue.add("a", now)
    assert queue.take(now) == "a"
    assert queue.retry("a", now) == now + 1.0


def test_a_change_from_outside_forgives_and_makes_due_at_once() -> None:
    queue: WorkQueue[str] = WorkQueue(first_retry_s=100.0)
    queue.add("a", 0.0)
    assert queue.take(0.0) == "a"
    queue.retry("a", 0.0)
    queue.forgive("a")
    queue.add("a", 1.0)
    assert queue.take(1.0) == "a"


def test_one_that_waits_to_be_tried_again_is_not_hurried_by_the_trace_of_its_own_failure() -> None:
    queue: WorkQueue[str] = WorkQueue(first_retry_s=10.0)
    queue.add("a", 0.0)
    assert queue.take(0.0) == "a"
    assert queue.retry("a", 0.0) == 10.0
    queue.add("a", 1.0)  # what it wrote to say that it failed comes back by the watch
    assert queue.take(9.9) is None
    assert queue.take(10.0) == "a"


def test_what_changes_while_a_key_is_worked_on_is_not_put_off_for_long() -> None:
    queue: WorkQueue[str] = WorkQueue(first_retry_s=1.0)
    now = 0.0
    queue.add("a", now)
    for _ in range(6):
        assert queue.take(now) == "a"
        now = queue.retry("a", now)
    assert queue.take(now) == "a"
    queue.forgive("a")
    assert queue.retry("a", now) == now + 1.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "take", "done", "failed"]),
            st.sampled_from("abc"),
            st.floats(0, 100),
        )
    )
)
def test_whatever_happens_no_key_is_lost_or_given_twice(
    steps: list[tuple[str, str, float]],
) -> None:
    queue: WorkQueue[str] = WorkQueue()
    owed: set[str] = set()
    working: set[str] = set()
    for step, key, time in steps:
        if step == "add":
            queue.add(key, time)
            owed.add(key)
        elif step == "take":
            taken = queue.take(time)
            if taken is not None:
                assert taken not in working
                working.add(taken)
                owed.discard(taken)
        elif key in working:
            working.discard(key)
            if step == "failed":
                queue.retry(key, time)
                owed.add(key)
            else:
                queue.finish(key)
    for key in tuple(working):
        queue.finish(key)
    keys = set()
    while (taken := queue.take(1e9)) is not None:
        keys.add(taken)
    assert keys == owed
