"""The key revocation list for servers that trust the user CA, and ask nobody at a login."""

import time
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from stagedoor.admin.asking import ask
from stagedoor.admin.certificates.authorities import user_ca_line
from stagedoor.authz.decide import subjects_who_enter
from stagedoor.model.denial import Denial
from stagedoor.model.policy import Policy
from stagedoor.model.selector import subjects_of
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database
from stagedoor.store.sign_in import certified
from stagedoor.wire.krl import encode_revoked_serials

FRESH_S = 5.0
"""For so long a list is handed out again: anybody may ask for it, and each is a reading of the store."""


def revoked_sign_ins(database: Database, policy: Policy, now: float) -> Mapping[str, Sequence[int]]:
    """Return, by user, the numbers of the sign-ins whose certificates are refused before they expire.

    Their sign-in is over by that policy, or their user may enter no app any more. Blocks. Raises StoreError.
    """
    entering = subjects_who_enter(policy, now)
    void = [
        key
        for key, shown in policy.bound_keys.items()
        if policy.why_void(shown) is not None
        or entering.isdisjoint(subjects_of(shown.name, policy.users[shown.name].groups))
    ]
    return certified.revoked(database, now, void)


class RevocationList:
    """Belongs to one event loop. `policy` is the policy as it is now."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        policy: Callable[[], Policy],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Reads the user CA's public key. Raises StagedoorError."""
        self._ca = b64decode(user_ca_line(settings).split()[1])
        self._database = database
        self._policy = policy
        self._now = now
        self._made: tuple[float, bytes] | None = None

    async def bytes(self) -> bytes | Denial:
        """Return the list as OpenSSH's `RevokedKeys` reads it, at most `FRESH_S` old."""
        now = self._now()
        if self._made is not None and 0 <= now - self._made[0] < FRESH_S:
            return self._made[1]
        found = await ask(revoked_sign_ins, self._database, self._policy(), now)
        if isinstance(found, Denial):
            return found
        numbers = chain.from_iterable(found.values())
        self._made = (now, encode_revoked_serials(self._ca, numbers, int(now)))
        return self._made[1]
