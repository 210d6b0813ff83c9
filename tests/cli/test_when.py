from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stagedoor.cli.show import format_duration
from stagedoor.cli.when import parse_begin, parse_duration, parse_end
from stagedoor.model.units import format_size

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("8h", 28_800), ("30d", 2_592_000), ("2w", 1_209_600)],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds
    assert parse_end(text, NOW) == NOW + seconds
    assert parse_begin(text, NOW) == NOW - seconds


def test_durations_can_be_joined() -> None:
    assert parse_duration("1d12h") == 129_600


def test_a_date_lasts_until_its_end_and_begins_at_its_start() -> None:
    assert parse_end("2030-05-01", NOW) == datetime(2030, 5, 2).timestamp()
    assert parse_begin("2030-05-01", NOW) == datetime(2030, 5, 1).timestamp()
    assert parse_end("2030-05-01T18:00", NOW) == datetime(2030, 5, 1, 18).timestamp()
    assert parse_end("2030-05-01T18:00+00:00", NOW) == 1_903_888_800
    assert parse_end("never", NOW) is None


@pytest.mark.parametrize(
    "text", ["", "8", "h", "-8h", "8h ", "8 h", "1.5h", "\u0661h", "9999999d", "2030-13-01", "nie"]
)
def test_what_is_no_time_is_refused_with_the_forms_that_are(text: str) -> None:
    for parse in (parse_end, parse_begin):
        with pytest.raises(ValueError, match="is not a time: write 8h, 30d"):
            parse(text, NOW)


@given(st.text())
@example("0001-01-01T00:00+23:59")
@example("9999-12-31")
@example("999999w999999w")
def test_any_text_is_a_time_or_one_error(text: str) -> None:
    for parse in (parse_end, parse_begin):
        try:
            moment = parse(text, NOW)
        except ValueError:
            continue
        assert moment is None or datetime.fromtimestamp(moment, UTC)


def test_figures_are_printed_for_people() -> None:
    assert [format_duration(s) for s in (0, 59, 61, 3600, 90_061)] == [
        "0s",
        "59s",
        "1m1s",
        "1h",
        "1d1h",
    ]
    assert [format_size(n) for n in (0, 1023, 1024, 5 * 1024**2, 3 * 1024**3)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3.0 GiB",
    ]
