"""Times of RFC 3339.

The Kubernetes API writes them in seconds or microseconds (`Time`, `MicroTime`), Stagedoor's lists in
milliseconds.
"""

import re
from datetime import UTC, datetime, timedelta

_TIME = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(\.\d{1,12})?"
    r"(?:[Zz]|([+-])(\d{2}):(\d{2}))",
    re.ASCII,
)


def parse_time(text: str) -> float | None:
    """Return the seconds since the epoch, or None for text that RFC 3339 section 5.6 does not allow."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    offset_hours, offset_minutes = int(match[9] or 0), int(match[10] or 0)
    if offset_hours > 23 or offset_minutes > 59 or second > 60:
        return None
    # Section 5.7: second 60 is a leap second, which the epoch's count does not have.
    leap = second == 60
    try:
        instant = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
        offset = timedelta(hours=offset_hours, minutes=offset_minutes)
        instant += -offset if match[8] == "+" else offset
    except (ValueError, OverflowError):
        return None
    return instant.timestamp() + leap + float(match[7] or 0)


def show_time(at: float, *, micro: bool = False) -> str:
    """Format a time, rounded down, as `2026-11-26T09:06:33Z`.

    `micro` adds six digits of the second, which the times of a Lease must have.
    """
    instant = datetime.fromtimestamp(at, UTC)
    return instant.strftime("%Y-%m-%dT%H:%M:%S" + (".%fZ" if micro else "Z"))


def show_milliseconds(at: float) -> str:
    """Format a time as `2026-11-26T09:06:33.250Z`, for programs that read Stagedoor's lists."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
