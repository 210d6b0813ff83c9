"""Session ids: in order of time, and not to be guessed."""

import os


def new_session_id(now: float) -> str:
    """26 hexadecimal digits: 44 bits of milliseconds since the epoch, then 60 random bits.

    Ids of different milliseconds sort by time (until the year 2527). An id is no credential; it
    is random so that others' sessions cannot be found by counting.
    """
    return f"{int(now * 1000) & 0xFFF_FFFF_FFFF:011x}{int.from_bytes(os.urandom(8)) >> 4:015x}"
