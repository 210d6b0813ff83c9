"""ID tokens: the provider's signed statement of who signed in (Core §2, §3.1.3.7; RFC 7519; RFC 8725)."""

import hashlib
import hmac
import math
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet
from joserfc.jws import JWSRegistry

from stagedoor.model.units import MINUTE_S
from stagedoor.oidc.errors import OidcError, UnknownKeyError
from stagedoor.oidc.provider import read_object
from stagedoor.oidc.request import Tokens
from stagedoor.wire.oneline import is_word

ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
"""Only signatures: for a MAC, the public key set would be the secret key (RFC 8725 §2.1)."""
SKEW_S = 5 * MINUTE_S
"""The accepted difference between the clocks of the provider and the gateway."""
MARGIN_S = 10.0
"""Providers write whole seconds, and need a moment between the authentication and the token."""
MAX_KEYS = 50
MAX_CHARS = 255
"""The maximum length of a subject (Core §2), and of other claims that are stored."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The contents of a verified ID token. Times are seconds since the epoch.

    `subject` is the person's identifier at the issuer, which never changes. `session_id` (`sid`) is the
    provider's own session, which back-channel logout names. `auth_time` is when the person last
    authenticated. `all` has all claims, for mapping names and groups.
    """

    issuer: str
    subject: str
    session_id: str | None
    auth_time: float | None
    acr: str | None
    all: Mapping[str, Any] = field(repr=False)


def read_keys(document: bytes) -> KeySet:
    """Parse a JWK set (RFC 7517 §5). Keys of unknown kinds are left out. Raises OidcError."""
    fields = read_object(document, "the key set")
    listed = fields.get("keys")
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise OidcError("the key set has no list of keys, or too many")
    keys = [key for value in listed if (key := _public_key(value)) is not None]
    if not keys:
        raise OidcError("the key set has no key that can verify a signature")
    return KeySet(keys)


def verify(
    tokens: Tokens, keys: KeySet, *, issuer: str, client_id: str, nonce: str | None, now: float
) -> Claims:
    """Return the claims of an ID token for this client, issued by `issuer` and valid at `now`.

    `nonce` is that of the attempt, or None for a token from a refresh (Core §12.2), which need not
    repeat it. Raises UnknownKeyError if the keys may have been rotated, and otherwise OidcError.
    """
    algorithm, claims = verify_signature(tokens.id_token, keys)
    if claims.get("iss") != issuer:
        raise OidcError("the ID token is of another issuer (iss)")
    check_audience(claims, client_id)
    check_times(claims, now)
    if nonce is not None and not _is_equal(claims.get("nonce"), nonce):
        raise OidcError("the ID token's nonce is not that of this sign-in")
    if "at_hash" in claims and not _is_equal(
        claims["at_hash"], _half_hash(tokens.access_token, algorithm)
    ):
        raise OidcError("the ID token is not of the access token beside it (at_hash)")
    return Claims(
        issuer,
        _subject(claims),
        get_text(claims, "sid"),
        get_number(claims, "auth_time"),
        get_text(claims, "acr"),
        claims,
    )


def merge_userinfo(claims: Claims, document: bytes) -> Claims:
    """Return `claims` with those of the userinfo endpoint, which came over TLS from the issuer (Core §5.3).

    Claims of the ID token take precedence. Raises OidcError.
    """
    userinfo = read_object(document, "the answer of userinfo")
    # Core §5.3.2: otherwise one person's access token could bring another person's names.
    if userinfo.get("sub") != claims.subject:
        raise OidcError("userinfo is about another user (sub)")
    return replace(claims, all={**userinfo, **claims.all})


def read_userinfo(issuer: str, document: bytes) -> Claims:
    """Return the claims of userinfo alone, which came over TLS from `issuer`. Raises OidcError."""
    userinfo = read_object(document, "the answer of userinfo")
    return Claims(issuer, _subject(userinfo), None, None, None, userinfo)


def verify_signature(
    token: str | None, keys: KeySet, name: str = "the ID token"
) -> tuple[str, dict[str, Any]]:
    """Verify a token's signature, and return the algorithm and the claims.

    Raises UnknownKeyError, OidcError.
    """
    if token is None:
        raise OidcError("the provider sent no ID token: sso.scopes must have openid")
    registry = JWSRegistry(algorithms=list(ALGORITHMS))
    try:
        decoded = jwt.decode(token, keys, algorithms=list(ALGORITHMS), registry=registry)
    except InvalidKeyIdError:
        raise UnknownKeyError(
            f"{name} is signed by a key that the provider does not publish"
        ) from None
    except JoseError as error:
        # Its text may quote the token.
        raise OidcError(f"{name} is refused: {error.error}") from None
    except (ValueError, TypeError, RecursionError):
        raise OidcError(f"{name} is no JWT") from None
    return str(decoded.header.get("alg")), decoded.claims


def _subject(claims: Mapping[str, Any]) -> str:
    """Return the subject: at most 255 ASCII characters (Core §2), which a terminal may show."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_CHARS or not is_word(subject):
        raise OidcError("the provider names no subject (sub)")
    return subject


def check_audience(claims: Mapping[str, Any], client_id: str, name: str = "the ID token") -> None:
    """Check the audience (Core §3.1.3.7, items 3 to 5). Raises OidcError."""
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or client_id not in named:
        raise OidcError(f"{name} is for another client (aud): {ascii(audience)[:80]}")
    party = claims.get("azp")
    if (len(named) > 1 or party is not None) and party != client_id:
        raise OidcError(f"{name} was issued to another client (azp)")


def check_times(claims: Mapping[str, Any], now: float) -> None:
    """Check that the token has an issue time and an end, and is valid at `now`. Raises OidcError."""
    ends, issued = get_number(claims, "exp"), get_number(claims, "iat")
    if ends is None or issued is None:
        raise OidcError("the ID token does not say when it was issued and when it ends (iat, exp)")
    if issued > now + SKEW_S:
        raise OidcError(
            f"the ID token was issued {_minutes(issued - now)} in the future: "
            "the gateway's clock is behind, or the provider's is ahead"
        )
    if ends <= now - SKEW_S:
        raise OidcError(
            f"the ID token ended {_minutes(now - ends)} ago: the gateway's clock is ahead, or the "
            "provider's is behind"
        )
    begins = get_number(claims, "nbf")
    if begins is not None and begins > now + SKEW_S:
        raise OidcError(f"the ID token is not good for another {_minutes(begins - now)} (nbf)")


def _half_hash(access_token: str | None, algorithm: str) -> str:
    """Return the left half of the access token's hash (Core §3.1.3.6)."""
    name = "sha512" if algorithm in ("EdDSA", "Ed25519") else f"sha{algorithm[-3:]}"
    digest = hashlib.new(name, (access_token or "").encode()).digest()
    return urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _public_key(value: object) -> Key | None:
    """Return a key that verifies signatures, or None for any other key."""
    if not isinstance(value, dict) or value.get("use", "sig") != "sig" or value.get("kty") == "oct":
        return None
    try:
        return JWKRegistry.import_key(value)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _is_equal(value: object, expected: str) -> bool:
    return isinstance(value, str) and hmac.compare_digest(
        value.encode(errors="replace"), expected.encode()
    )


def get_text(claims: Mapping[str, Any], name: str) -> str | None:
    """Return a claim that is a name, or None for anything else."""
    value = claims.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= MAX_CHARS else None


def get_number(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a claim that is a time in seconds since the epoch, or None for anything else."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def measure_proof_age(claims: Claims) -> float | None:
    """Return the seconds between the person's authentication and the ID token.

    Return None if the provider does not report them.
    """
    issued = get_number(claims.all, "iat")
    if issued is None or claims.auth_time is None:
        return None
    return issued - claims.auth_time


def is_fresh(claims: Claims, since_s: float) -> bool | None:
    """Return True if the person authenticated within `since_s` seconds before the ID token was issued.

    Return None if that is unknown. Both times are the provider's, so the gateway's clock does not matter.
    """
    age_s = measure_proof_age(claims)
    return None if age_s is None else age_s <= since_s + MARGIN_S


def _minutes(seconds: float) -> str:
    return f"{seconds / MINUTE_S:.0f} min"
