"""Durations and quantities."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.shells.kubernetes.duration import parse_duration, parse_quantity, show_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("2d", 172800),
        ("1d1h1m1s", 90061),
        ("0s", 0),
        ("", None),
        ("5", None),
        ("m", None),
        ("1m1h", None),
        ("1.5h", None),
        ("-1m", None),
        ("1 m", None),
        ("١m", None),
        ("9999999999s", None),
    ],
)
def test_durations(text: str, seconds: int | None) -> None:
    assert parse_duration(text) == seconds


@given(st.integers(0, 10**9))
def test_what_is_shown_is_read_back(seconds: int) -> None:
    assert parse_duration(show_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", "1"),
        ("500m", "0.5"),
        ("1.5Gi", str(3 * 2**29)),
        ("2M", "2000000"),
        ("1e3", "1000"),
        ("1E", str(10**18)),
        ("1Ei", str(2**60)),
        (".5", "0.5"),
        ("3.", "3"),
        ("1GB", None),
        ("-1", None),
        ("", None),
        ("1K", None),
        ("e3", None),
    ],
)
def test_quantities(text: str, amount: str | None) -> None:
    assert parse_quantity(text) == (None if amount is None else Decimal(amount))
