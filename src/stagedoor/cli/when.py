"""The parsing of times as people write them: `8h`, `30d`, `2026-12-31`, `2026-12-31T18:00`, `never`."""

import re
import time
from datetime import UTC, datetime, timedelta

import click

from stagedoor.model.units import DAY_S
from stagedoor.wire.duration import parse_duration, parse_start

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

FORMS = "8h, 30d, 1d12h, a date (2026-12-31) or a date and time (2026-12-31T18:00, local time)"


def parse_end(text: str, now: float) -> float | None:
    """Return the end that `text` names: a duration from `now`, a time, or the end of a day.

    It is in seconds since the epoch, None for `never`. A time without an offset is local. Raises ValueError.
    """
    if text == "never":
        return None
    duration = parse_duration(text)
    if duration is not None:
        return _check_year(now + duration, text)
    return _parse_instant(text, end_of_day=True)


def parse_begin(text: str, now: float) -> float:
    """Return the beginning that `text` names: a duration before `now`, a time, or the start of a day.

    It is in seconds since the epoch. A time without an offset is local. Raises ValueError.
    """
    duration = parse_duration(text)
    if duration is not None:
        return _check_year(now - duration, text)
    return _parse_instant(text, end_of_day=False)


def _parse_instant(text: str, *, end_of_day: bool) -> float:
    try:
        moment = datetime.fromisoformat(text)
        if end_of_day and _DATE.fullmatch(text):
            moment += timedelta(days=1)
        at = moment.timestamp()  # a moment without an offset is taken as local time
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is not a time: write {FORMS}") from None
    return _check_year(at, text)


def _check_year(at: float, text: str) -> float:
    """Return `at`, seconds since the epoch. Raises ValueError if its year in UTC has not four digits."""
    try:
        datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is not within the years 1 to 9999: write {FORMS}") from None
    return at


def end(ctx: click.Context, param: click.Parameter, value: str) -> float | None:
    """Parse an option's value by `parse_end`, as its callback."""
    try:
        return parse_end(value, time.time())
    except ValueError as error:
        raise click.BadParameter(f"{error}, or never", ctx, param) from None


def begin(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Parse an option's value by `parse_begin`, as its callback; None if it is not given."""
    if value is None:
        return None
    try:
        return parse_begin(value, time.time())
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def take_duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Parse an option's value as seconds, as its callback; None if it is not given."""
    if value is None:
        return None
    seconds = parse_duration(value)
    if not seconds:
        raise click.BadParameter(f"{value!r} is not a duration: write 15m, 8h or 1d12h", ctx, param)
    return float(seconds)


def take_start(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Parse an option's value by `parse_start`, as its callback; None if it is not given."""
    if value is None:
        return None
    starts_at = parse_start(value, time.time())
    if starts_at is None:
        raise click.BadParameter(
            f"{value!r} is not a time: write 2h or 2026-12-31T09:00:00Z", ctx, param
        )
    try:
        return _check_year(starts_at, value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def parse_limit(ctx: click.Context, param: click.Parameter, value: str) -> float | None:
    """Parse an option's value as seconds, as its callback: a duration, `0`, or None for `default`."""
    if value == "default":
        return None
    seconds = 0 if value == "0" else parse_duration(value)
    if seconds is None or seconds > 7 * DAY_S:
        raise click.BadParameter(
            f"{value!r} is not a duration up to 7d: write 15m, 8h, 0 or default", ctx, param
        )
    return float(seconds)
