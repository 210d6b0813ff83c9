"""The bound on a shell's messages beside what it prints. Pure.

Messages that carry no data (global requests, new key exchanges, channels that are refused) cost work and
an answer each. An honest sshd sends a few; how many grows with the data, for each side has to open
windows and to renew keys.
"""

BURST = 4000
EACH_S = 100
"""So many more a second."""
PER_DATA = 2
"""So many more for each data packet, either way: asyncssh's sshd sends an empty message before each."""
_DATA = (94, 95)
"""SSH_MSG_CHANNEL_DATA and SSH_MSG_CHANNEL_EXTENDED_DATA (RFC 4254 §5.2)."""
_COST = {20: 50, 90: 20}
"""SSH_MSG_KEXINIT and SSH_MSG_CHANNEL_OPEN: they cost as much work as so many others."""


class MessageRateLimit:
    """The bound of one connection. `now` is monotonic, in seconds."""

    def __init__(self, now: float) -> None:
        self._left: float = BURST
        self._at = now

    def sent_data(self) -> None:
        """Count a data packet to the shell."""
        self._left = min(self._left + PER_DATA, BURST)

    def heard(self, kind: int, now: float) -> bool:
        """Count a message of this kind from the shell. Return False if the shell sends too many."""
        if kind in _DATA:
            self._left = min(self._left + PER_DATA, BURST)
            return True
        since_s, self._at = now - self._at, now
        self._left = min(self._left + since_s * EACH_S, BURST) - _COST.get(kind, 1)
        return self._left >= 0
