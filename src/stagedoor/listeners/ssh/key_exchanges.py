"""The limit on a client's key exchanges (RFC 4253 §9). Pure: time is an argument, monotonic, in seconds.

RFC 4253 permits a new exchange at any time, and each costs the worker a millisecond. OpenSSH starts none
before its login is complete. After that, stock clients start one an hour or one a gigabyte by default; the
limit still suffices for a user who sets `RekeyLimit 64K`.
"""

from enum import Enum, auto

from stagedoor.model.units import KIB

BURST = 80
"""The exchanges that are allowed at once after the login."""
EACH_S = 2.0
"""The further exchanges that each second allows."""
BYTES_EACH = 64 * KIB
"""Each of so many bytes on the connection, sent or received, allows one more exchange."""
WAITING_S = 60.0
"""The shortest time between two exchanges while a key waits for its user."""


class Phase(Enum):
    """The phase of a connection's login."""

    LOGIN = auto()
    WAITING = auto()
    """The client's key waits until its user has signed in."""
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
        """Record an exchange that the client began or answered. Return False if that is one too many."""
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
