"""Logout tokens: a provider says that a session of its own is over (Back-Channel Logout 1.0 §2.4, §2.6)."""

import hashlib
import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass

from joserfc.jwk import KeySet

from stagedoor.model.units import MINUTE_S
from stagedoor.oidc.errors import OidcError
from stagedoor.oidc.id_token import MOST_CHARS, SKEW_S, check_audience, number_of, signed, text_of

EVENT = "http://schemas.openid.net/event/backchannel-logout"
AGE_S = 10 * MINUTE_S
"""A token is good for so long after it was made, whatever it says itself."""
MOST_TOKEN_CHARS = 16 * 1024
_NAME = "the logout token"


@dataclass(frozen=True, slots=True)
class Logout:
    """What is over: the provider's session `session_id`; None: all of `subject`'s. `id` tells the token from
    all others of its issuer (SHA-256, 32 bytes), and is to be remembered until `expires_at`."""

    issuer: str
    subject: str | None
    session_id: str | None
    id: bytes
    expires_at: float


def issuer_of(token: str) -> str | None:
    """Whom a token says that it is of. Believe nothing by it but whose keys to try."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        issuer = claims["iss"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return issuer if isinstance(issuer, str) else None


def verify_logout(token: str, keys: KeySet, *, issuer: str, client_id: str, now: float) -> Logout:
    """What a logout token for us, from `issuer`, says at `now`. Whether it was used before is for the caller
    to say. Raises UnknownKeyError where the keys may have been rotated, else OidcError."""
    _, claims = signed(token, keys, _NAME)
    if claims.get("iss") != issuer:
        raise OidcError(f"{_NAME} is of another issuer (iss)")
    check_audience(claims, client_id, _NAME)
    made, ends = number_of(claims, "iat"), number_of(claims, "exp")
    if made is None or not now - AGE_S <= made <= now + SKEW_S:
        raise OidcError(f"{_NAME} was not made within the last {AGE_S / MINUTE_S:g} min (iat)")
    if ("exp" in claims and ends is None) or (ends is not None and ends <= now - SKEW_S):
        raise OidcError(f"{_NAME} is over (exp)")
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise OidcError(f"{_NAME} tells of no logout (events)")
    # Else an ID token might pass for one.
    if "nonce" in claims:
        raise OidcError(f"{_NAME} has a nonce, and must not")
    id_ = claims.get("jti")
    if not isinstance(id_, str) or not 0 < len(id_) <= MOST_CHARS:
        raise OidcError(f"{_NAME} has no id (jti)")
    subject, session_id = text_of(claims, "sub"), text_of(claims, "sid")
    for name, value in (("sub", subject), ("sid", session_id)):
        if name in claims and value is None:
            raise OidcError(f"{_NAME}'s {name} is no name")
    if subject is None and session_id is None:
        raise OidcError(f"{_NAME} names neither a session nor a person (sid, sub)")
    digest = hashlib.sha256(f"{issuer}\n{id_}".encode(errors="surrogatepass")).digest()
    return Logout(issuer, subject, session_id, digest, made + AGE_S + SKEW_S)
