"""The limit on SSH connections that have not logged in: `ssh.max_startups`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StartupLimits:
    """The limits of `ssh.max_startups`.

    Up to `start` connections may wait. Above that, each new one drops a waiting one with a
    probability of `rate` per cent, which grows linearly to 100 per cent at `full`.
    """

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
