"""How many SSH connections may be open that have not logged in: `ssh.max_startups`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StartupLimits:
    """`start`: so many may wait. From there on `rate` per cent of the newcomers cost a place, and
    linearly more, up to all of them at `full`."""

    start: int = 100
    rate: int = 30
    full: int = 500


def parse_limits(text: str) -> StartupLimits:
    """Read `start:rate:full` (sshd_config(5) MaxStartups). Raises ValueError."""
    parts = text.split(":")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"{text!r} is not START:RATE:FULL, such as 100:30:500")
    start, rate, full = (int(part) for part in parts)
    if not (1 <= start <= full and 1 <= rate <= 100):
        raise ValueError(f"{text!r}: START is from 1 to FULL, RATE from 1 to 100 per cent")
    return StartupLimits(start, rate, full)
