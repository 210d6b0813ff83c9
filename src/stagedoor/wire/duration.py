"""Durations as people write them: `90s`, `15m`, `8h`, `30d`, `2w`, `1d12h`."""

import re

from stagedoor.model.units import DAY_S, HOUR_S, MINUTE_S
from stagedoor.wire.rfc3339 import parse_time

_UNITS = {"s": 1, "m": MINUTE_S, "h": HOUR_S, "d": DAY_S, "w": 7 * DAY_S}
_DURATION = re.compile(r"(?:\d{1,6}[smhdw])+", re.ASCII)
_PART = re.compile(r"(\d+)([smhdw])", re.ASCII)


def parse_duration(text: str) -> int | None:
    """Return the seconds in `90s`, `15m`, `8h`, `30d`, `2w` or several of them (`1d12h`); otherwise None."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def parse_start(text: str, now: float) -> float | None:
    """Return the time that is `2h` after `now`, or `2026-12-31T09:00:00Z`; None for any other text."""
    duration = parse_duration(text)
    return parse_time(text) if duration is None else now + duration
