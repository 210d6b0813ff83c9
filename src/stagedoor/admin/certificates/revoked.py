"""The key revocation list for servers that trust the user CA and do not ask the gateway at a login."""

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
from stagedoor.wire.ssh.krl import encode_revoked_serials

FRESH_S = 5.0
"""The time for which a list is reused: any client may request it, and making one reads the store."""


def revoked_sign_ins(database: Database, policy: Policy, now: float) -> Mapping[str, Sequence[int]]:
    """Return, by user, the numbers of the sign-ins whose certificates are refused before they expire.

    The sign-in is over by that policy, or its user may no longer enter any app. It blocks. Raises StoreError.
    """
    entering = subjects_who_enter(policy, now)
    void = [
        key
        for key, login in policy.bound_keys.items()
        if policy.why_void(login) is not None
        or entering.isdisjoint(subjects_of(login.name, policy.users[login.name].groups))
    ]
    return certified.list_revoked(database, now, void)


class RevocationList:
    """The revocation list as it is served. Belongs to one event loop."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        policy: Callable[[], Policy],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Read the user CA's public key. Raises StagedoorError. `policy` returns the current policy."""
        self._ca = b64decode(user_ca_line(settings).split()[1])
        self._database = database
        self._policy = policy
        self._now = now
        self._latest: tuple[float, bytes] | None = None

    async def bytes(self) -> bytes | Denial:
        """Return the list as OpenSSH's `RevokedKeys` reads it, at most `FRESH_S` old."""
        now = self._now()
        if self._latest is not None and 0 <= now - self._latest[0] < FRESH_S:
            return self._latest[1]
        revoked = await ask(revoked_sign_ins, self._database, self._policy(), now)
        if isinstance(revoked, Denial):
            return revoked
        numbers = chain.from_iterable(revoked.values())
        self._latest = (now, encode_revoked_serials(self._ca, numbers, int(now)))
        return self._latest[1]
