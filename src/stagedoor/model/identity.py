"""Identities: the result of verifying a credential."""

from dataclasses import dataclass, field
from enum import StrEnum

from stagedoor.model.units import DAY_S

TOKEN_SOON_S = 7 * DAY_S
"""A token that ends within this time is reported to its user."""


class Method(StrEnum):
    """The ways to prove an identity."""

    PASSWORD = "password"  # noqa: S105 - the word, not a secret
    TOKEN = "token"  # noqa: S105 - the word, not a secret
    PUBLIC_KEY = "publickey"
    CERTIFICATE = "certificate"
    SSO = "sso"
    """Single sign-on with an identity provider."""
    MACHINE = "machine"
    """A token of a CI job or of a Kubernetes service account (`[[machines]]`)."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in of a browser or of a machine; everything opened with it ends with it.

    `id` is the SHA-256 of a secret of 256 random bits (32 bytes); `ends_at` is seconds since the epoch.
    """

    id: bytes = field(repr=False)
    ends_at: float

    @property
    def number(self) -> int:
        """Return the sign-in's number in certificate serials: the first 63 bits of its id."""
        return sign_in_number(self.id)


def sign_in_number(id_: bytes) -> int:
    """Return the number of the sign-in with the id `id_`: 63 bits, as random as the id."""
    return int.from_bytes(id_[:8]) >> 1


@dataclass(frozen=True, slots=True)
class Identity:
    """The user of a verified credential. Made by `authn`, and by `authz` where it answers about a user.

    `scopes` limits what the credential may be used for (`connect`, `connect:app01`,
    `connect:app*.staging`); None allows everything that the identity's grants allow. `credential_id`
    names the token, the key, the identity provider or the rule for machines, for the audit; it is None
    for a password, and for a passkey used in its place.

    The remaining fields do not count when identities are compared. `password_hash` is the hash that the
    password was verified against, None for other methods: when the password is changed, everything opened
    with the old one ends. `sign_in` is None for a user who presents a credential each time.
    `user_verified_at` is when a security key last verified its user by a PIN or a fingerprint, in seconds
    since the epoch; None for other credentials, and for a touch alone. `token_ends_at` is when the token
    ends, None for a token without end and for other methods. `user_created_at` is when the user was added,
    so that a later user of the same name does not inherit what this one has opened; None where the
    credential itself belongs to one of the two only.
    """

    name: str
    groups: frozenset[str]
    method: Method
    credential_id: str | None = None
    scopes: tuple[str, ...] | None = None
    password_hash: str | None = field(default=None, repr=False, compare=False)
    sign_in: SignIn | None = field(default=None, compare=False)
    user_verified_at: float | None = field(default=None, compare=False)
    token_ends_at: float | None = field(default=None, compare=False)
    user_created_at: float | None = field(default=None, compare=False)

    @property
    def is_person(self) -> bool:
        """Return True if a person proved this identity, though perhaps a while ago.

        Tokens and keys do not count, because programs may use them, and neither do credentials with scopes.
        """
        return self.method in (Method.PASSWORD, Method.SSO) and self.scopes is None

    def find_token_warning(self, now: float) -> float | None:
        """Return when the token ends if that is within a week, else None. Its user is warned then."""
        ends_at = self.token_ends_at
        return ends_at if ends_at is not None and ends_at - now <= TOKEN_SOON_S else None
