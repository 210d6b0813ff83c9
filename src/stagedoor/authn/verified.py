"""Passwords that were verified a short while ago, so that argon2 runs once and not per tunnel.

An entry is an HMAC-SHA-256 under a key that lives as long as the process, over the name, the
user's present hash and the password: no password is kept, and a changed password or another
user's hash makes another entry.
"""

import hmac
import secrets
from collections import Counter, OrderedDict

from stagedoor.model.units import MINUTE_S


class VerifiedPasswords:
    """At most `entries`, each for `age_s` seconds since it was verified (not since it was used)."""

    def __init__(self, entries: int = 10_000, age_s: float = 10 * MINUTE_S) -> None:
        self._key = secrets.token_bytes(32)
        self._entries = entries
        self._age_s = age_s
        self._until: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._names: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._until)

    def seal(self, name: str, password_hash: str, password: str) -> bytes:
        """The HMAC that stands for these three together."""
        parts = [p.encode("utf-8", "surrogatepass") for p in (name, password_hash, password)]
        # Lengths in front, so that no other three parts make the same bytes.
        message = b"%d:%d:%s" % (len(parts[0]), len(parts[1]), b"".join(parts))
        return hmac.digest(self._key, message, "sha256")

    def knows(self, name: str) -> bool:
        """Whether there is a password of this name to be guessed here."""
        return name in self._names

    def holds(self, seal: bytes, now: float) -> bool:
        """Whether this seal was put in less than `age_s` ago."""
        entry = self._until.get(seal)
        if entry is None:
            return False
        if entry[0] <= now:
            self._forget(seal)
            return False
        return True

    def put(self, seal: bytes, name: str, now: float) -> None:
        """Remember; the oldest goes when there is no room."""
        if seal in self._until:
            self._forget(seal)
        self._until[seal] = (now + self._age_s, name)
        self._names[name] += 1
        while len(self._until) > self._entries:
            self._forget(next(iter(self._until)))

    def _forget(self, seal: bytes) -> None:
        _, name = self._until.pop(seal)
        self._names[name] -= 1
        if not self._names[name]:
            del self._names[name]
