"""When a worker that died is started again. Pure."""

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0
GOOD_LIFE_S = 60.0
"""A worker that lived this long was well: the next death counts as the first."""


def delay_s(deaths: int) -> float:
    """How long to wait before the next start, after so many early deaths in a row (at least 1)."""
    return min(FIRST_DELAY_S * 2.0 ** min(deaths - 1, 30), LONGEST_DELAY_S)


def deaths_after(deaths: int, lived_s: float) -> int:
    """Early deaths in a row, now that a worker has died after `lived_s` seconds."""
    return 1 if lived_s >= GOOD_LIFE_S else deaths + 1
