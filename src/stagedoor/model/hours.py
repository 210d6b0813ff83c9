"""Hours of the week in a time zone, as rules name them: `Mon-Fri 08:00-20:00 Europe/Berlin`. Pure."""

import re
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from stagedoor.model.errors import RefusedError

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(
    r"(?:(?P<days>[A-Za-z,-]+) )?(?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d) (?P<zone>[\w+/-]{1,64})",
    re.ASCII,
)
_DAY_MINUTES = 24 * 60


class Hours(Struct, frozen=True):
    """A range of local time on some days of the week, in minutes after midnight.

    `days` are 0 for Monday to 6 for Sunday. A range that ends before it begins lasts into the next day. Local
    time is that of the zone's clocks, so its length changes with them.
    """

    text: str
    days: frozenset[int]
    begin: int
    end: int
    zone: ZoneInfo

    def find_end(self, now: float) -> float | None:
        """Return when the range ends that `now` is in, in seconds since the epoch, or None outside of it."""
        today = datetime.fromtimestamp(now, self.zone).date()
        for day in (today, today - timedelta(days=1)):
            if day.weekday() in self.days:
                last = self.end if self.begin < self.end else self.end + _DAY_MINUTES
                begin, end = self._at(day, self.begin), self._at(day, last)
                if begin <= now < end:
                    return end
        return None

    def _at(self, day: date, minutes: int) -> float:
        """Return the instant when the zone's clocks show that time, the first one if they show it twice."""
        days, rest = divmod(minutes, _DAY_MINUTES)
        clock = time(rest // 60, rest % 60)
        return datetime.combine(day + timedelta(days=days), clock, self.zone).timestamp()


def parse_hours(text: str) -> Hours:
    """Parse `Mon-Fri 08:00-20:00 Europe/Berlin`; without days, it is every day. Raises ValueError."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a range of hours: write 'Mon-Fri 08:00-20:00 Europe/Berlin'"
        )
    begin, end = _parse_minutes(match["begin"]), _parse_minutes(match["end"])
    if begin in (_DAY_MINUTES, end):
        raise ValueError(f"{text!r} is not a range of hours: it ends when it begins")
    try:
        zone = ZoneInfo(match["zone"])
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(
            f"{match['zone']!r} is not a time zone, such as Europe/Berlin or UTC"
        ) from None
    return Hours(text, _parse_days(match["days"] or "mon-sun"), begin, end, zone)


def require_hours(text: str) -> Hours:
    """Parse hours that an administrator gives. Raises RefusedError."""
    try:
        return parse_hours(text)
    except ValueError as error:
        raise RefusedError(str(error)) from None


def _parse_minutes(text: str) -> int:
    hours, minutes = int(text[:2]), int(text[3:])
    if minutes > 59 or hours * 60 + minutes > _DAY_MINUTES:
        raise ValueError(f"{text!r} is not a time of day")
    return hours * 60 + minutes


def _parse_days(text: str) -> frozenset[int]:
    """Parse `Mon-Fri,Sun`. A range may go over Sunday."""
    days: set[int] = set()
    for part in text.lower().split(","):
        names = part.split("-")
        if len(names) > 2 or not set(names) <= set(_DAYS):
            raise ValueError(
                f"{part!r} is neither a day nor a range of days: write Mon, or Mon-Fri"
            )
        first, last = _DAYS.index(names[0]), _DAYS.index(names[-1])
        days |= {(first + offset) % 7 for offset in range((last - first) % 7 + 1)}
    return frozenset(days)
