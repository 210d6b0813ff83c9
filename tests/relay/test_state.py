"""The tables of a tunnel's life."""

import errno

import pytest

from stagedoor.model.session import End
from stagedoor.relay.state import TRANSITIONS, Side, Stage, Step, is_over, judge_failure


def test_a_direction_goes_one_way_and_only_one() -> None:
    stage = Stage.OPEN
    for step in (Step.END_READ, Step.FLUSHED):
        following = TRANSITIONS[stage, step]
        assert following > stage
        stage = following
    assert stage is Stage.ENDED
    assert len(TRANSITIONS) == 2


def test_a_tunnel_is_over_only_when_both_directions_are() -> None:
    for sent in Stage:
        for received in Stage:
            assert is_over(sent, received) == (sent is Stage.ENDED and received is Stage.ENDED)


@pytest.mark.parametrize(
    ("number", "downstream", "upstream"),
    [
        (errno.ECONNRESET, End.DOWNSTREAM_RESET, End.UPSTREAM_RESET),
        (errno.EPIPE, End.DOWNSTREAM_RESET, End.UPSTREAM_RESET),
        (None, End.DOWNSTREAM_RESET, End.UPSTREAM_RESET),
        (errno.ETIMEDOUT, End.DOWNSTREAM_LOST, End.UPSTREAM_LOST),
        (errno.EHOSTUNREACH, End.DOWNSTREAM_LOST, End.UPSTREAM_LOST),
        (errno.ENETUNREACH, End.DOWNSTREAM_LOST, End.UPSTREAM_LOST),
    ],
)
def test_an_error_names_the_side_and_whether_it_vanished(
    number: int | None, downstream: End, upstream: End
) -> None:
    assert judge_failure(Side.DOWNSTREAM, number) is downstream
    assert judge_failure(Side.UPSTREAM, number) is upstream
