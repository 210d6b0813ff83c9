"""Revoked keys and certificates: the file that this gateway obeys, and the list that it serves to others."""

from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from stagedoor.admin.blocking import call_blocking
from stagedoor.admin.certificates.authorities import read_user_ca
from stagedoor.admin.context import WorkerContext
from stagedoor.authn.decide_key import check_key_revocation
from stagedoor.authz.decide import list_entering_subjects
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.policy import Policy
from stagedoor.store.database import Database
from stagedoor.store.sign_in import certified
from stagedoor.wire.ssh.key import PublicKey, parse_public_key
from stagedoor.wire.ssh.krl import (
    RevocationError,
    Revocations,
    encode_revoked_serials,
    parse_revocations,
)

RefusedKeys = Callable[[str], Denial | None]
"""Returns why a key, `type base64`, is refused: it was revoked, or the list cannot be read. Else None."""
FRESH_S = 5.0
"""The time for which a list is reused: any client may request it, and making one reads the store."""


class RevokedKeysFile:
    """The keys and certificates of `ssh.revoked_keys_file`; without a file, none is revoked.

    The file is read again when stat(2) shows a change.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._read_version: tuple[int, int, int] | None = None
        self._revocations: Revocations | Denial = Revocations()

    def read(self) -> Revocations | Denial:
        """Return the revoked keys, or why no key can be checked now."""
        if self._file is None:
            return self._revocations
        try:
            stat = self._file.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen != self._read_version:
                self._revocations = parse_revocations(self._file.read_bytes())
                self._read_version = seen
        except (OSError, RevocationError) as error:
            # As sshd_config(5) RevokedKeys: a list that cannot be read refuses every key.
            self._read_version = None
            self._revocations = Denial.with_fix(
                Reason.CREDENTIAL_WRONG,
                "no key is accepted, since the list of revoked keys cannot be read",
                f"ssh.revoked_keys_file {self._file}: {error}",
                "ask an administrator",
            )
        return self._revocations

    def explain_refusal(self, public_key: str) -> Denial | None:
        """Return why a key is refused, or None. It is a `RefusedKeys`."""
        revocations = self.read()
        if isinstance(revocations, Denial):
            return revocations
        return check_key_revocation(b64decode(public_key.split()[1]), revocations)


def require_unrevoked(lines: Iterable[str], refused: RefusedKeys) -> None:
    """Raise RefusedError if one of these lines of `.pub` files is a revoked key."""
    for line in lines:
        key = parse_public_key(line)
        if isinstance(key, PublicKey) and (denial := refused(key.line)) is not None:
            raise RefusedError(denial.message)


def list_revoked_sign_ins(
    database: Database, policy: Policy, now: float
) -> Mapping[str, Sequence[int]]:
    """Return, by user, the numbers of the sign-ins whose certificates are refused before they expire.

    The sign-in is over by that policy, or its user may no longer enter any app. It blocks. Raises StoreError.
    """
    entering = list_entering_subjects(policy, now)
    void = [
        key
        for key, login in policy.bound_keys.items()
        if policy.explain_void(login) is not None
        or entering.isdisjoint(policy.find_subjects(login.name))
    ]
    return certified.list_revoked(database, now, void)


class RevocationList:
    """The list for servers that trust the user CA and do not ask the gateway at a login.

    Belongs to one event loop.
    """

    def __init__(self, context: WorkerContext) -> None:
        """Read the user CA's public key. Raises StagedoorError."""
        self._ca = b64decode(read_user_ca(context.settings).split()[1])
        self._context = context
        self._latest: tuple[float, bytes] | None = None

    async def encode(self) -> bytes | Denial:
        """Return the list as OpenSSH's `RevokedKeys` reads it, at most `FRESH_S` old."""
        now = self._context.now()
        if self._latest is not None and 0 <= now - self._latest[0] < FRESH_S:
            return self._latest[1]
        revoked = await call_blocking(
            list_revoked_sign_ins, self._context.database, self._context.policy(), now
        )
        if isinstance(revoked, Denial):
            return revoked
        numbers = chain.from_iterable(revoked.values())
        self._latest = (now, encode_revoked_serials(self._ca, numbers, int(now)))
        return self._latest[1]
