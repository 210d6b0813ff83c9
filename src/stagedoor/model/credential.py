"""What somebody shows to say who they are, not yet believed. Its repr never shows the secret."""

from collections.abc import Callable
from dataclasses import dataclass, field

from stagedoor.model.certificate import Certificate
from stagedoor.model.source import Source
from stagedoor.model.webpass import LOGIN_SECRET


@dataclass(frozen=True, slots=True)
class PasswordCredential:
    """A name and a password, or a token in the password's place (RFC 7617)."""

    name: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenCredential:
    """A bearer token without a name (RFC 6750)."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyCredential:
    """A public key under a login name (RFC 4252 §7), as a blob and as `SHA256:…`.

    The listener verifies that the client holds the private half. `key` is the key of
    `certificate`, if there is one; `signed_by_ca` verifies the CA's signature on that, and costs time.
    """

    name: str
    key: bytes
    fingerprint: str
    certificate: Certificate | None = None
    signed_by_ca: Callable[[], bool] = field(default=lambda: False, repr=False, compare=False)


def login_secret(credential: "Credential | None") -> str | None:
    """The secret of a login (`stagedoor login`), shown alone or in a password's place; None: it is none."""
    if not isinstance(credential, PasswordCredential | TokenCredential):
        return None
    return credential.secret if credential.secret.startswith(LOGIN_SECRET) else None


@dataclass(frozen=True, slots=True)
class UnknownKey:
    """A key that nobody knows, `type base64`, whose private half the client at `source` has shown."""

    login_name: str
    public_key: str
    fingerprint: str
    source: Source


Credential = PasswordCredential | TokenCredential | KeyCredential
