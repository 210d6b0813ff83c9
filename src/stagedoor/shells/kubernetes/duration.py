"""The durations and quantities in annotations. Pure."""

import re
from decimal import Decimal

from stagedoor.model.units import DAY_S, HOUR_S, MINUTE_S

_UNITS = {"d": DAY_S, "h": HOUR_S, "m": MINUTE_S, "s": 1}
_DURATION = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,8})m)?(?:(\d{1,9})s)?", re.ASCII)
_QUANTITY = re.compile(
    r"(?P<number>\d{1,20}(?:\.\d{0,9})?|\.\d{1,9})(?P<suffix>m|k|[MGTPE]|[KMGTPE]i|[eE]\d{1,2})?",
    re.ASCII,
)
_SCALE = {
    "m": Decimal("0.001"),
    "k": Decimal(10) ** 3,
    **{unit: Decimal(10) ** (3 * power) for power, unit in enumerate("MGTPE", 2)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}


def parse_duration(text: str) -> int | None:
    """Parse `90s`, `30m`, `1h30m` or `2d` into seconds. Return None for anything else, even a number."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        return None
    return sum(
        int(count) * unit
        for count, unit in zip(match.groups(), _UNITS.values(), strict=True)
        if count is not None
    )


def show_duration(seconds: int) -> str:
    """Return the shortest text that `parse_duration` reads back, as `1h30m`."""
    if seconds == 0:
        return "0s"
    parts = []
    for letter, unit in _UNITS.items():
        count, seconds = divmod(seconds, unit)
        if count:
            parts.append(f"{count}{letter}")
    return "".join(parts)


def parse_quantity(text: str) -> Decimal | None:
    """Parse a quantity that is not negative (apimachinery `resource.Quantity`): `500m`, `1.5Gi`, `1e3`.

    The result is in cores, bytes or pieces, depending on the resource. Return None for anything else.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    number, suffix = Decimal(match["number"]), match["suffix"] or ""
    if suffix[:1] in ("e", "E") and suffix[1:].isdigit():
        return number * Decimal(10) ** int(suffix[1:])
    return number * _SCALE.get(suffix, Decimal(1))
