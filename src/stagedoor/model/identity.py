"""Who somebody was found to be."""

from dataclasses import dataclass, field
from enum import StrEnum

from stagedoor.model.units import DAY_S

TOKEN_SOON_S = 7 * DAY_S


class Method(StrEnum):
    """How an identity was proven."""

    PASSWORD = "password"  # noqa: S105 - the word, not a secret
    TOKEN = "token"  # noqa: S105 - the word, not a secret
    PUBLIC_KEY = "publickey"
    CERTIFICATE = "certificate"
    SSO = "sso"
    """By an identity provider."""
    MACHINE = "machine"
    """By a token of a CI's job or of a Kubernetes service account (`[[machines]]`)."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """A signing in, of a browser or of a machine, from which an identity comes: what it opened ends with it.

    `id` is the SHA-256 of a secret of 256 random bits (32 bytes); `ends_at` is seconds since the epoch.
    """

    id: bytes = field(repr=False)
    ends_at: float

    @property
    def number(self) -> int:
        """What names it in the serial of a certificate: the first 63 bits of its id."""
        return sign_in_number(self.id)


def sign_in_number(id_: bytes) -> int:
    """The number of the sign-in with that id (63 bits, as random as the id)."""
    return int.from_bytes(id_[:8]) >> 1


@dataclass(frozen=True, slots=True)
class Identity:
    """The proof that a credential was verified. Made by `authn` only.

    `scopes` limits what the credential may be used for (`connect`, `connect:app01`,
    `connect:app*.staging`); None means all that the identity's grants allow.
    `credential_id` names the token, the key, the identity provider or the rule for machines, for the audit;
    None for a password, or the passkey that stood for it.
    `password_hash` is what the password was verified against, None for other methods: what a
    password opened ends when it is changed. `sign_in` is None for a user who shows a credential of their
    own each time. `present_at` is when the credential itself proved that a person was there (a security key
    that asked for a PIN or a finger), seconds since the epoch; None where it does not say. `token_ends_at` is
    when the token does, None for one without an end and for other methods. None of them counts as part of who
    somebody is.
    """

    name: str
    groups: frozenset[str]
    method: Method
    credential_id: str | None = None
    scopes: tuple[str, ...] | None = None
    password_hash: str | None = field(default=None, repr=False, compare=False)
    sign_in: SignIn | None = field(default=None, compare=False)
    present_at: float | None = field(default=None, compare=False)
    token_ends_at: float | None = field(default=None, compare=False)

    @property
    def is_person(self) -> bool:
        """Whether somebody proved it themselves a while ago: not by a token or key that a program may
        hold, and not for one app alone."""
        return self.method in (Method.PASSWORD, Method.SSO) and self.scopes is None

    def token_ends_soon(self, now: float) -> float | None:
        """When the token ends, where that is in a week or less: its person is warned."""
        ends_at = self.token_ends_at
        return ends_at if ends_at is not None and ends_at - now <= TOKEN_SOON_S else None
