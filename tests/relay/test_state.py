"""The names of the ends by which a tunnel fails."""

import errno

import pytest

from stagedoor.model.session import EndReason
from stagedoor.relay.state import Side, judge_failure


@pytest.mark.parametrize(
    ("number", "downstream", "upstream"),
    [
        (errno.ECONNRESET, EndReason.DOWNSTREAM_RESET, EndReason.UPSTREAM_RESET),
        (errno.EPIPE, EndReason.DOWNSTREAM_RESET, EndReason.UPSTREAM_RESET),
        (None, EndReason.DOWNSTREAM_RESET, EndReason.UPSTREAM_RESET),
        (errno.ETIMEDOUT, EndReason.DOWNSTREAM_LOST, EndReason.UPSTREAM_LOST),
        (errno.EHOSTUNREACH, EndReason.DOWNSTREAM_LOST, EndReason.UPSTREAM_LOST),
        (errno.ENETUNREACH, EndReason.DOWNSTREAM_LOST, EndReason.UPSTREAM_LOST),
    ],
)
def test_an_error_names_the_side_and_whether_it_vanished(
    number: int | None, downstream: EndReason, upstream: EndReason
) -> None:
    assert judge_failure(Side.DOWNSTREAM, number) is downstream
    assert judge_failure(Side.UPSTREAM, number) is upstream
