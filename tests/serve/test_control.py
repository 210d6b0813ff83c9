"""The messages between the supervisor and its workers."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.serve.supervisor.control import (
    Close,
    Drain,
    DrainReport,
    Failed,
    FromWorker,
    MetricsMessage,
    Sign,
    Signed,
    StartMessage,
    ToWorker,
    Up,
    encode_line,
    read_from_worker,
    read_to_worker,
)

TO_WORKER = st.one_of(
    st.builds(
        StartMessage,
        st.text(),
        st.text(),
        st.text(),
        st.lists(st.tuples(st.sampled_from(["tunnel", "tunnel-tls"]), st.integers(0, 2**16))).map(
            tuple
        ),
    ),
    st.builds(Drain, st.none() | st.floats(0, 1e7), st.booleans()),
    st.builds(Close),
    st.builds(
        Signed,
        st.integers(0, 2**31),
        st.none() | st.text(),
        st.text(),
        st.none() | st.integers(0, 99),
    ),
)
SERIES = st.lists(
    st.tuples(
        st.tuples(st.text(), st.lists(st.text()).map(tuple), st.text()),
        st.floats(allow_nan=False, allow_infinity=False),
    )
).map(tuple)
FROM_WORKER = st.one_of(
    st.builds(Up),
    st.builds(DrainReport, st.integers(0, 2**31)),
    st.builds(Failed, st.text()),
    st.builds(
        Sign,
        st.integers(0, 2**31),
        st.text(),
        st.integers(0, 2**63 - 1),
        st.text(),
        st.floats(0, 1e12),
    ),
    st.builds(MetricsMessage, SERIES, SERIES),
)


@given(TO_WORKER)
def test_a_message_to_a_worker_is_one_line_and_comes_back_as_it_was(message: ToWorker) -> None:
    text = encode_line(message)
    assert text.count(b"\n") == 1
    assert text.endswith(b"\n")
    assert read_to_worker(text) == message


@given(FROM_WORKER)
def test_a_message_from_a_worker_is_one_line_and_comes_back_as_it_was(message: FromWorker) -> None:
    text = encode_line(message)
    assert text.count(b"\n") == 1
    assert read_from_worker(text) == message


@given(st.binary())
def test_anything_else_is_one_documented_error(text: bytes) -> None:
    for read in (read_to_worker, read_from_worker):
        with contextlib.suppress(msgspec.DecodeError):
            read(text)


def test_a_message_of_the_other_direction_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        read_to_worker(encode_line(Up()))
    with pytest.raises(msgspec.DecodeError):
        read_from_worker(encode_line(Close()))
