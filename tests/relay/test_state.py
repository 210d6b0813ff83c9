"""The names of the ends by which a tunnel fails."""

import errno

import pytest

from stagedoor.model.session import End
from stagedoor.relay.state import Side, judge_failure


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
