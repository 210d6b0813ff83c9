"""ID tokens: who signed in, as the provider signed it (Core §2, §3.1.3.7; RFC 7519; RFC 8725)."""

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
"""Signatures only: with a MAC the key set, which everybody may read, would be the key (RFC 8725 §2.1)."""
SKEW_S = 5 * MINUTE_S
"""Clocks of the provider and the gateway may differ by so much."""
MOST_KEYS = 50
MOST_CHARS = 255
"""Of a subject (Core §2), and of what else is kept."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified ID token says. Times are seconds since the epoch.

    `subject` is the person's name at the issuer, which never changes; `session_id` (`sid`) is the
    provider's own session, which back-channel logout names; `auth_time` is when they last proved
    themselves. `all` are all claims, for the mapping of names and groups.
    """

    issuer: str
    subject: str
    session_id: str | None
    auth_time: float | None
    acr: str | None
    all: Mapping[str, Any] = field(repr=False)


def read_keys(document: bytes) -> KeySet:
    """A JWK set (RFC 7517 §5). Keys of kinds that we do not know are left out. Raises OidcError."""
    fields = read_object(document, "the key set")
    listed = fields.get("keys")
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise OidcError("the key set has no list of keys, or too many")
    keys = [key for one in listed if (key := _public_key(one)) is not None]
    if not keys:
        raise OidcError("the key set has no key that can verify a signature")
    return KeySet(keys)


def verify(
    tokens: Tokens, keys: KeySet, *, issuer: str, client_id: str, nonce: str | None, now: float
) -> Claims:
    """The claims of an ID token for us, from `issuer`, that is good at `now`.

    `nonce` is that of the attempt; None for a token that came by a refresh token (Core §12.2), which
    need not repeat it. Raises UnknownKeyError where the keys may have been rotated, else OidcError.
    """
    algorithm, claims = signed(tokens.id_token, keys)
    if claims.get("iss") != issuer:
        raise OidcError("the ID token is of another issuer (iss)")
    check_audience(claims, client_id)
    check_times(claims, now)
    if nonce is not None and not _same(claims.get("nonce"), nonce):
        raise OidcError("the ID token's nonce is not that of this sign-in")
    if "at_hash" in claims and not _same(
        claims["at_hash"], _half_hash(tokens.access_token, algorithm)
    ):
        raise OidcError("the ID token is not of the access token beside it (at_hash)")
    return Claims(
        issuer,
        _subject(claims),
        text_of(claims, "sid"),
        number_of(claims, "auth_time"),
        text_of(claims, "acr"),
        claims,
    )


def with_userinfo(claims: Claims, document: bytes) -> Claims:
    """`claims` with those of the userinfo endpoint, which came over TLS from the issuer (Core §5.3).

    What the ID token says itself counts. Raises OidcError.
    """
    found = read_object(document, "the answer of userinfo")
    # Core §5.3.2: else somebody's access token could bring somebody else's names.
    if found.get("sub") != claims.subject:
        raise OidcError("userinfo speaks of somebody else (sub)")
    return replace(claims, all={**found, **claims.all})


def of_userinfo(issuer: str, document: bytes) -> Claims:
    """Who it is by userinfo alone, which came over TLS from `issuer`. Raises OidcError."""
    found = read_object(document, "the answer of userinfo")
    return Claims(issuer, _subject(found), None, None, None, found)


def signed(
    token: str | None, keys: KeySet, name: str = "the ID token"
) -> tuple[str, dict[str, Any]]:
    """The algorithm and the claims of a token whose signature is right. Raises UnknownKeyError, OidcError."""
    if token is None:
        raise OidcError("the provider sent no ID token: sso.scopes must have openid")
    registry = JWSRegistry(algorithms=list(ALGORITHMS))
    try:
        signed = jwt.decode(token, keys, algorithms=list(ALGORITHMS), registry=registry)
    except InvalidKeyIdError:
        raise UnknownKeyError(
            f"{name} is signed by a key that the provider does not publish"
        ) from None
    except JoseError as error:
        # Its text may repeat what is in the token.
        raise OidcError(f"{name} is refused: {error.error}") from None
    except (ValueError, TypeError, RecursionError):
        raise OidcError(f"{name} is no JWT") from None
    return str(signed.header.get("alg")), signed.claims


def _subject(claims: Mapping[str, Any]) -> str:
    """Core §2: at most 255 ASCII characters."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MOST_CHARS or not subject.isascii():
        raise OidcError("the provider names no subject (sub)")
    return subject


def check_audience(claims: Mapping[str, Any], client_id: str, name: str = "the ID token") -> None:
    """Core §3.1.3.7, items 3 to 5. Raises OidcError."""
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or client_id not in named:
        raise OidcError(f"{name} is for another client (aud): {ascii(audience)[:80]}")
    party = claims.get("azp")
    if (len(named) > 1 or party is not None) and party != client_id:
        raise OidcError(f"{name} was issued to another client (azp)")


def check_times(claims: Mapping[str, Any], now: float) -> None:
    """That it says when it was made and when it ends, and is good at `now`. Raises OidcError."""
    ends, issued = number_of(claims, "exp"), number_of(claims, "iat")
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
    begins = number_of(claims, "nbf")
    if begins is not None and begins > now + SKEW_S:
        raise OidcError(f"the ID token is not good for another {_minutes(begins - now)} (nbf)")


def _half_hash(access_token: str | None, algorithm: str) -> str:
    """Core §3.1.3.6: the left half of the access token's hash."""
    name = "sha512" if algorithm in ("EdDSA", "Ed25519") else f"sha{algorithm[-3:]}"
    digest = hashlib.new(name, (access_token or "").encode()).digest()
    return urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _public_key(value: object) -> Key | None:
    """A key that verifies signatures, None for any other."""
    if not isinstance(value, dict) or value.get("use", "sig") != "sig" or value.get("kty") == "oct":
        return None
    try:
        return JWKRegistry.import_key(value)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _same(found: object, expected: str) -> bool:
    return isinstance(found, str) and hmac.compare_digest(
        found.encode(errors="replace"), expected.encode()
    )


def text_of(claims: Mapping[str, Any], name: str) -> str | None:
    """A claim that is a name; None for anything else."""
    value = claims.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= MOST_CHARS else None


def number_of(claims: Mapping[str, Any], name: str) -> float | None:
    """A claim that is a time, seconds since the epoch; None for anything else."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _minutes(seconds: float) -> str:
    return f"{seconds / MINUTE_S:.0f} min"
