"""Signing certificates for the keys of sign-ins, after the store confirms each and the audit records it.

It runs in the one process that signs. This process does not trust the workers that ask: it reads from the
store whether the sign-in is active, its user, the key that it is bound to, and what the user's grants permit.
"""

import math
import os
import time
from collections.abc import Callable, Collection
from typing import Protocol, Self

from stagedoor.admin.certificates.authorities import load_user_ca
from stagedoor.authz.decide import combine_permissions, drop_expired, find_earliest, find_longest
from stagedoor.model.certificate import list_extensions
from stagedoor.model.errors import StagedoorError, StoreError
from stagedoor.model.event import Event, EventKind
from stagedoor.model.permission import Permission, Permissions
from stagedoor.model.rate import Rate, SourceRates
from stagedoor.model.units import HOUR_S
from stagedoor.model.webpass import KeyLogin
from stagedoor.settings.settings import Settings
from stagedoor.store import people
from stagedoor.store.database import Database, open_database
from stagedoor.store.journal import append
from stagedoor.store.policy import list_grants_about
from stagedoor.store.sign_in import certified
from stagedoor.store.sign_in.logins import find_sign_in_by_number
from stagedoor.wire.ssh.key import KeyRefused, parse_public_key

OF_A_USER = Rate(burst=60, interval_s=10.0)
"""The certificates of one user: enough for fifty new machines at once; a laptop renews twice an hour."""
OF_ALL = Rate(burst=2000, interval_s=0.05)
"""The certificates of all users, 20 a second: 10,000 sign-ins renew at a third of that."""
CERTIFICATE_S = HOUR_S
"""The longest time for which a certificate is valid. It never outlasts the sign-in; renewing it is cheap."""
_ALL = ""
_CERTIFIED = frozenset({Permission.ENTER, Permission.FORWARD, Permission.AGENT})
"""The permissions that a server that trusts the user CA takes from a certificate."""


class CertificateError(StagedoorError):
    """No certificate can be signed now. The text is for the user, and names no file of the gateway."""


class NoGrantError(CertificateError):
    """The user may enter no app now. Servers that trust the user CA check no grants, so none is signed."""


class TooManyCertificatesError(CertificateError):
    """Too many certificates were signed; the next one has to wait for `retry_after_s` seconds."""

    def __init__(self, text: str, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class UserCertificates(Protocol):
    """A signer of the keys of users who are signed in."""

    async def sign(self, user: str, sign_in_number: int, public_key: str, ends_at: float) -> str:
        """Return an OpenSSH user certificate, one line, with the serial `sign_in_number`.

        `public_key` is `type base64`; the caller knows that `user` holds it. The certificate expires at
        `ends_at` (seconds since the epoch), or after an hour if that is earlier. Raises CertificateError.
        """
        ...


SignSignIn = Callable[[str, str, int, float, Collection[str]], str]
"""Signs a public key of a user, with a serial, an end and extensions: `CertificateAuthority.sign_sign_in`."""


class UserSigner:
    """A signer of certificates for sign-ins, valid for `valid_s` at most. Belongs to one thread."""

    def __init__(
        self,
        database: Database,
        sign: SignSignIn,
        valid_s: float,
        now: Callable[[], float] = time.time,
        *,
        of_a_user: Rate = OF_A_USER,
        of_all: Rate = OF_ALL,
    ) -> None:
        self._database = database
        self._sign = sign
        self._valid_s = valid_s
        self._now = now
        self._of_a_user = SourceRates(of_a_user)
        self._of_all = SourceRates(of_all, entries=1)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open a signer with the user CA and the store of the settings. Raises StagedoorError."""
        authority = load_user_ca(settings)
        database = open_database(settings.store_location, create=False)
        return cls(database, authority.sign_sign_in, CERTIFICATE_S)

    def close_store(self) -> None:
        """Close the store; the signer cannot be used afterwards."""
        self._database.close()

    def sign(self, user: str, number: int, public_key: str, ends_at: float) -> str:
        """Return a certificate, one line, after the audit has recorded it. It blocks.

        `public_key` must be the key of the active sign-in `number` of `user`, and a grant must let the user
        enter an app. Raises CertificateError, StoreError if the audit cannot be written, and
        StagedoorError if the CA does not sign.
        """
        key = parse_public_key(public_key)
        if isinstance(key, KeyRefused):
            raise CertificateError(f"this key is not signed: {key.reason}")
        now = self._now()
        self._check_rate(user, now)
        sign_in = find_sign_in_by_number(self._database, number, now)
        if sign_in is None or sign_in.name != user:
            raise CertificateError("your sign-in is over; sign in again")
        if not isinstance(sign_in, KeyLogin) or sign_in.key_fingerprint != key.fingerprint:
            raise CertificateError(
                f"the key {key.fingerprint} is not the one of your sign-in; sign in again with it"
            )
        granted, granted_until = self._granted_permissions(user, now)
        ends = min(ends_at, sign_in.expires_at, now + self._valid_s, granted_until)
        if ends <= now:
            raise CertificateError("your sign-in is over; sign in again")
        self._audit(user, number, key.fingerprint, now, ends)
        return self._sign(key.line, user, number, ends, list_extensions(granted))

    def _granted_permissions(self, user: str, now: float) -> tuple[Permissions, float]:
        """Return the permissions for a certificate, from the user's grants for any app, and their end.

        The end is in seconds since the epoch, infinite for grants without an end. Raises CertificateError.
        """
        with self._database.read() as transaction:
            if people.is_disabled(transaction, user):
                raise CertificateError(f"the user {user!r} is disabled; ask an administrator")
            rules = list_grants_about(transaction, user)
        rules = drop_expired(rules, now)
        granted = combine_permissions(rules) & _CERTIFIED
        if Permission.ENTER not in granted:
            raise NoGrantError(
                "you may not enter any app, so your key gets no certificate; ask your administrator for "
                "a grant"
            )
        ends = (find_longest(rules, permission) for permission in granted)
        until = find_earliest(*(rule.expires_at for rule in ends if rule is not None))
        return granted, math.inf if until is None else until

    def _check_rate(self, user: str, now: float) -> None:
        for rates, name, whose in (
            (self._of_a_user, user, "you"),
            (self._of_all, _ALL, "all together"),
        ):
            if rates.take(name, now) is None:
                wait_s = max(math.ceil(rates.wait_s(name, now)), 1)
                raise TooManyCertificatesError(
                    f"{whose} asked for so many certificates that the next one is signed in {wait_s} s",
                    wait_s,
                )

    def _audit(self, user: str, number: int, fingerprint: str, now: float, ends: float) -> None:
        event = Event(
            now,
            EventKind.CERTIFICATE_SIGNED,
            f"signer-{os.getpid()}",
            identity=user,
            # As text: it has more digits than every reader of JSON keeps.
            fields={"sign_in": str(number), "key": fingerprint, "valid_before": int(ends)},
        )
        try:
            with self._database.write() as transaction:
                append(transaction, [event])
                certified.keep(transaction, user, number, ends, now)
        except StoreError as error:
            raise StoreError(
                f"no certificate is signed that the audit does not have: {error}",
                "the gateway cannot write its audit now, so it signs no certificate; try again in a moment",
            ) from error
