"""Logout tokens, with which a provider ends one of its sessions (Back-Channel Logout 1.0 §2.4, §2.6)."""

import hashlib
import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass

from joserfc.jwk import KeySet

from stagedoor.model.units import MINUTE_S
from stagedoor.oidc.errors import OidcError
from stagedoor.oidc.id_token import (
    MAX_CHARS,
    SKEW_S,
    check_audience,
    get_number,
    get_text,
    verify_signature,
)

EVENT = "http://schemas.openid.net/event/backchannel-logout"
AGE_S = 10 * MINUTE_S
"""The time for which a token is valid after it was issued, whatever it claims."""
MAX_TOKEN_CHARS = 16 * 1024
_NAME = "the logout token"


@dataclass(frozen=True, slots=True)
class Logout:
    """A verified logout. The provider's session `session_id` is over; None stands for all of `subject`'s.

    `id` identifies the token among all tokens of its issuer (SHA-256, 32 bytes). Remember it until
    `expires_at`, so that the token is not used twice.
    """

    issuer: str
    subject: str | None
    session_id: str | None
    id: bytes
    expires_at: float


def read_unverified_issuer(token: str) -> str | None:
    """Return the issuer that an unverified token names, or None.

    Use it only to choose the keys for the verification.
    """
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        issuer = claims["iss"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return issuer if isinstance(issuer, str) else None


def verify_logout(token: str, keys: KeySet, *, issuer: str, client_id: str, now: float) -> Logout:
    """Return the contents of a logout token for this client, issued by `issuer` and valid at `now`.

    The caller has to check that the token was not used before. Raises UnknownKeyError if the keys may
    have been rotated, and otherwise OidcError.
    """
    _, claims = verify_signature(token, keys, _NAME)
    if claims.get("iss") != issuer:
        raise OidcError(f"{_NAME} is of another issuer (iss)")
    check_audience(claims, client_id, _NAME)
    issued, ends = get_number(claims, "iat"), get_number(claims, "exp")
    if issued is None or not now - AGE_S <= issued <= now + SKEW_S:
        raise OidcError(f"{_NAME} was not made within the last {AGE_S / MINUTE_S:g} min (iat)")
    if ("exp" in claims and ends is None) or (ends is not None and ends <= now - SKEW_S):
        raise OidcError(f"{_NAME} is over (exp)")
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise OidcError(f"{_NAME} has no logout event (events)")
    # Otherwise an ID token could pass for a logout token.
    if "nonce" in claims:
        raise OidcError(f"{_NAME} has a nonce, and must not")
    id_ = claims.get("jti")
    if not isinstance(id_, str) or not 0 < len(id_) <= MAX_CHARS:
        raise OidcError(f"{_NAME} has no id (jti)")
    subject, session_id = get_text(claims, "sub"), get_text(claims, "sid")
    for name, value in (("sub", subject), ("sid", session_id)):
        if name in claims and value is None:
            raise OidcError(f"{_NAME}'s {name} is not a name")
    if subject is None and session_id is None:
        raise OidcError(f"{_NAME} names neither a session nor a person (sid, sub)")
    digest = hashlib.sha256(f"{issuer}\n{id_}".encode(errors="surrogatepass")).digest()
    return Logout(issuer, subject, session_id, digest, issued + AGE_S + SKEW_S)
