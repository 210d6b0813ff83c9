"""Units, so that a number in the code shows what it measures.

Instants are seconds since the epoch (UTC) as `float`; durations are seconds and end in `_s`.
"""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

MINUTE_S = 60
HOUR_S = 60 * MINUTE_S
DAY_S = 24 * HOUR_S


def format_size(size_bytes: int) -> str:
    """Format a number of bytes for people, in the largest unit that gives one or more: `1.5 MiB`."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes} B"
