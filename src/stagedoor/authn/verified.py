"""The passwords that were verified recently, so that argon2 does not run for every tunnel.

An entry is a keyed BLAKE2b (RFC 7693) of the name, the user's current hash and the password, under a key
that lives as long as the process. So no password is kept, and once the user's hash changes, the old
entry matches no more.
"""

import secrets
from collections import Counter, OrderedDict
from hashlib import blake2b

from stagedoor.model.units import MINUTE_S


class VerifiedPasswords:
    """A set of at most `entries` passwords, each kept for `age_s` seconds after its verification.

    Using an entry does not keep it longer.
    """

    def __init__(self, entries: int = 10_000, age_s: float = 10 * MINUTE_S) -> None:
        self._key = secrets.token_bytes(32)
        self._entries = entries
        self._age_s = age_s
        self._until: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._names: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._until)

    def seal(self, name: str, password_hash: str, password: str) -> bytes:
        """Return the keyed hash of these three together, 32 bytes."""
        parts = [p.encode("utf-8", "surrogatepass") for p in (name, password_hash, password)]
        # The lengths come first, so that no other three parts make the same bytes.
        message = b"%d:%d:%s" % (len(parts[0]), len(parts[1]), b"".join(parts))
        return blake2b(message, digest_size=32, key=self._key).digest()

    def knows(self, name: str) -> bool:
        """Return whether a password of this name is remembered, and so could be guessed here."""
        return name in self._names

    def holds(self, seal: bytes, now: float) -> bool:
        """Return whether this seal was added less than `age_s` ago."""
        entry = self._until.get(seal)
        if entry is None:
            return False
        if entry[0] <= now:
            self._forget(seal)
            return False
        return True

    def put(self, seal: bytes, name: str, now: float) -> None:
        """Remember a seal. If there is no room, the oldest is dropped."""
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
