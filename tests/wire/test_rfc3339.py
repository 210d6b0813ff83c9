"""Times of the Kubernetes API."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.wire.rfc3339 import parse_time, show_time

AT = datetime(2026, 11, 26, 9, 6, 33, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-26T09:06:33Z", AT),
        ("2026-11-26t09:06:33z", AT),
        ("2026-11-26T09:06:33.250000Z", AT + 0.25),
        ("2026-11-26T10:36:33+01:30", AT),
        ("2026-11-26T04:06:33-05:00", AT),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC).timestamp()),
        ("1970-01-01T00:00:00Z", 0.0),
        ("2026-11-26 09:06:33Z", None),
        ("2026-11-26T09:06:33", None),
        ("2026-11-26T09:06:33+0130", None),
        ("2026-11-26T09:06:33+24:00", None),
        ("2026-13-26T09:06:33Z", None),
        ("2026-02-30T09:06:33Z", None),
        ("2026-11-26T24:06:33Z", None),
        ("2026-11-26T09:06:61Z", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("", None),
        ("٢٠٢٦-11-26T09:06:33Z", None),
    ],
)
def test_reading(text: str, at: float | None) -> None:
    assert parse_time(text) == at


def test_writing() -> None:
    assert show_time(AT + 0.9) == "2026-11-26T09:06:33Z"
    assert show_time(AT + 0.25, micro=True) == "2026-11-26T09:06:33.250000Z"
    assert show_time(AT, micro=True) == "2026-11-26T09:06:33.000000Z"


@given(st.integers(0, 4_000_000_000_000_000))
def test_what_is_written_is_read_back(microseconds: int) -> None:
    at = microseconds / 1e6
    moment = parse_time(show_time(at, micro=True))
    assert moment == pytest.approx(at, abs=2e-6)


@given(st.text())
def test_any_text_is_a_time_or_none(text: str) -> None:
    assert parse_time(text) is None or isinstance(parse_time(text), float)
