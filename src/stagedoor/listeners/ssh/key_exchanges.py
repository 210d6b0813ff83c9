"""How often a client may exchange keys (RFC 4253 §9). Pure: time is an argument, monotonic, in seconds.

RFC 4253 permits a new exchange at any time, and one costs the worker a millisecond. OpenSSH starts none
before its login is over. After that the default of stock clients is one an hour or one a gigabyte; a person
who sets `RekeyLimit 64K` still has as many as the data needs.
"""

from enum import Enum, auto

from stagedoor.model.units import KIB

BURST = 80
"""Exchanges after the login that neither time nor data has to pay for, as a shell may begin."""
EACH_S = 2.0
"""So many more a second."""
BYTES_EACH = 64 * KIB
"""One more for so many bytes on the connection, sent or received."""
WAITING_S = 60.0
"""Between two exchanges while a key waits for its person."""


class Phase(Enum):
    """How far the login of a connection is."""

    LOGIN = auto()
    WAITING = auto()
    """The client's key waits until its person has signed in."""
    LOGGED_IN = auto()


class KeyExchanges:
    """The key exchanges of one connection."""

    def __init__(self) -> None:
        self._left: float = BURST
        self._last: float | None = None

    def carried(self, size: int) -> None:
        """Count `size` bytes on the connection."""
        self._left = min(self._left + size / BYTES_EACH, BURST)

    def begin(self, phase: Phase, now: float) -> bool:
        """Record an exchange that the client began or answered. Return False if it is one too many."""
        last, self._last = self._last, now
        if last is None:
            return True
        match phase:
            case Phase.LOGIN:
                return False
            case Phase.WAITING:
                return now - last >= WAITING_S
            case Phase.LOGGED_IN:
                self._left = min(self._left + (now - last) * EACH_S, BURST) - 1
                return self._left >= 0
