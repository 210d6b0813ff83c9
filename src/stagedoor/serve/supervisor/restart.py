"""The delay before a worker that died is started again. Pure."""

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0
GOOD_LIFE_S = 60.0
"""A worker that ran this long was healthy: its death counts as the first one again."""


def delay_s(deaths: int) -> float:
    """Return how long to wait before the next start, after `deaths` early deaths in a row (at least 1)."""
    return min(FIRST_DELAY_S * 2.0 ** min(deaths - 1, 30), LONGEST_DELAY_S)


def deaths_after(deaths: int, lived_s: float) -> int:
    """Return the number of early deaths in a row, after one more worker died at an age of `lived_s`."""
    return 1 if lived_s >= GOOD_LIFE_S else deaths + 1
