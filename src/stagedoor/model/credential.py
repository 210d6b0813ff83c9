"""Credentials as a client presents them, not yet verified. Their repr never shows the secret."""

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
    """A public key presented under a login name (RFC 4252 §7), as a blob and as `SHA256:…`.

    The listener verifies that the client has the private key. `key` is the key in `certificate`, if
    there is one. `is_signed_by_ca` verifies the CA's signature on the certificate, which costs time.
    """

    name: str
    key: bytes
    fingerprint: str
    certificate: Certificate | None = None
    is_signed_by_ca: Callable[[], bool] = field(default=lambda: False, repr=False, compare=False)


def find_login_secret(credential: "Credential | None") -> str | None:
    """Return the secret of a `stagedoor login`, or None for any other credential.

    Clients present such a secret as a token, or in place of a password.
    """
    if not isinstance(credential, PasswordCredential | TokenCredential):
        return None
    return credential.secret if credential.secret.startswith(LOGIN_SECRET) else None


@dataclass(frozen=True, slots=True)
class UnknownKey:
    """An unregistered key, `type base64`. The client at `source` has proved that it has the private key."""

    login_name: str
    public_key: str
    fingerprint: str
    source: Source


Credential = PasswordCredential | TokenCredential | KeyCredential
