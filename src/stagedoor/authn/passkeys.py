"""The options that browsers get for passkeys, and the checks of their responses (WebAuthn Level 3 §7). Pure.

fido2 does the cryptography. This module checks the rest: that a PIN or fingerprint verified the person, and
that the counter has not gone back, which would reveal a copy.
"""

import hashlib
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fido2.server import Fido2Server
from fido2.utils import websafe_encode
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialParameters,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.passkey import PasskeyRecord, RelyingParty

_VERIFIED = UserVerificationRequirement.REQUIRED
_ALGORITHMS = (-7, -8, -257)
"""ES256, EdDSA and RS256 (IANA COSE registry). Every authenticator supports one of them."""
_BASE64URL = (
    "clientDataJSON",
    "attestationObject",
    "authenticatorData",
    "signature",
    "userHandle",
)
"""The members of the inner response that are bytes in base64url (WebAuthn Level 3 §5.1)."""
_ID_CHARS = 16
MAX_CREDENTIAL_BYTES = 4096
NOT_RIGHT = Denial(
    Reason.CREDENTIAL_WRONG, "the passkey's answer was wrong, or came too late; try again"
)
"""The exact reason is never given, because it would help an attacker."""
CLONED = Denial(
    Reason.CREDENTIAL_WRONG,
    "this passkey's counter went back, so a copy of it may be in use; remove it on your account's page, and "
    "tell your administrators",
)

Response = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """A passkey that a browser has just made. See `model.passkey.PasskeyRecord`."""

    id: str
    credential: bytes = field(repr=False)
    sign_count: int


def derive_passkey_id(credential_id: bytes) -> str:
    """Return our id of a passkey: 64 bits of its credential id's digest, in hexadecimal."""
    return hashlib.sha256(credential_id).hexdigest()[:_ID_CHARS]


def hash_user(name: str) -> bytes:
    """Return the 32 bytes that identify a user to authenticators without revealing the name (§14.6.1)."""
    return hashlib.sha256(f"stagedoor passkeys of {name}".encode()).digest()


def make_registration_options(
    rp: RelyingParty, user: str, known: Sequence[PasskeyRecord], challenge: bytes
) -> dict[str, Any]:
    """Return the options for making a passkey, as JSON (§5.4).

    An authenticator that has a `known` passkey makes no second one.
    """
    options, _ = _server(rp).register_begin(
        PublicKeyCredentialUserEntity(id=hash_user(user), name=user, display_name=user),
        [AttestedCredentialData(key.credential) for key in known if key.rp_id == rp.id],
        resident_key_requirement=ResidentKeyRequirement.PREFERRED,
        user_verification=_VERIFIED,
        challenge=challenge,
    )
    return dict(options)


def read_registration(
    rp: RelyingParty, challenge: bytes, response: Response
) -> NewPasskey | Denial:
    """Verify a registration and return the passkey that the browser has made (§7.1)."""
    try:
        _check_types(response)
        data = _server(rp).register_complete(_state(challenge), response)
        credential = data.credential_data
        is_framed = _is_framed(response)
    except Exception:  # untrusted input can fail anywhere in the library
        return NOT_RIGHT
    if (
        is_framed
        or credential is None
        or len(credential) > MAX_CREDENTIAL_BYTES
        or credential.public_key.get(3) not in _ALGORITHMS
    ):
        return NOT_RIGHT
    return NewPasskey(derive_passkey_id(credential.credential_id), bytes(credential), data.counter)


def make_assertion_options(
    rp: RelyingParty, known: Sequence[PasskeyRecord], challenge: bytes
) -> dict[str, Any]:
    """Return the options for proving possession of a passkey, as JSON (§5.5).

    It must be one of the `known` passkeys, or any passkey of this site if there are none.
    """
    credentials = [AttestedCredentialData(key.credential) for key in known if key.rp_id == rp.id]
    options, _ = _server(rp).authenticate_begin(
        credentials or None, user_verification=_VERIFIED, challenge=challenge
    )
    return dict(options)


def read_passkey_id(response: Response) -> str | None:
    """Return the unverified id of the passkey that a response names, or None if it names none."""
    try:
        _check_types(response)
        return derive_passkey_id(AuthenticationResponse.from_dict(response).raw_id)
    except Exception:  # as above
        return None


def read_challenge(response: Response) -> bytes | None:
    """Return the challenge that a response names, or None if it names none of 16 to 64 bytes.

    Do not trust it before `read_assertion` or `read_registration` has verified the response.
    """
    try:
        data = json.loads(_base64url(response["response"]["clientDataJSON"]))
        challenge = _base64url(data["challenge"])
    except Exception:  # as above
        return None
    return challenge if 16 <= len(challenge) <= 64 else None


def read_assertion(
    rp: RelyingParty, challenge: bytes, passkey: PasskeyRecord, response: Response
) -> int | Denial:
    """Verify an assertion and return its counter (§7.2), 0 if the authenticator does not count."""
    if passkey.rp_id != rp.id:
        return NOT_RIGHT
    try:
        _check_types(response)
        known = AttestedCredentialData(passkey.credential)
        _server(rp).authenticate_complete(_state(challenge), [known], response)
        answer = AuthenticationResponse.from_dict(response).response
        handle, count = answer.user_handle, answer.authenticator_data.counter
        is_framed = _is_framed(response)
    except Exception:  # as above
        return NOT_RIGHT
    if is_framed:
        return NOT_RIGHT
    if handle is not None and handle != hash_user(passkey.user):
        return NOT_RIGHT
    # §7.2 step 22: if either counter is not zero, it must have grown.
    if (count or passkey.sign_count) and count <= passkey.sign_count:
        return CLONED
    return count


def _check_types(response: Response) -> None:
    """Raise TypeError if a number is in place of base64url.

    The library would pass it to `bytes`, which allocates as many bytes.
    """
    inner = response["response"]
    for value in (response.get("id"), response.get("rawId"), *map(inner.get, _BASE64URL)):
        if not isinstance(value, str | None):
            raise TypeError("not base64url")


def _is_framed(response: Response) -> bool:
    """Return whether the response was made in a frame on another site's page.

    See §7.1 steps 10 and 11, §7.2 steps 13 and 14. Our pages forbid framing, so no legitimate browser sends
    such a response.
    """
    data = json.loads(_base64url(response["response"]["clientDataJSON"]))
    return data.get("crossOrigin", False) is not False or "topOrigin" in data


def _server(rp: RelyingParty) -> Fido2Server:
    entity = PublicKeyCredentialRpEntity(id=rp.id, name="Stagedoor")
    # Only the origin that asked; by default the library accepts every site below the id.
    server = Fido2Server(entity, verify_origin=lambda origin: origin == rp.origin)
    server.allowed_algorithms = [
        PublicKeyCredentialParameters(type=PublicKeyCredentialType.PUBLIC_KEY, alg=algorithm)
        for algorithm in _ALGORITHMS
    ]
    return server


def _state(challenge: bytes) -> dict[str, Any]:
    return {"challenge": websafe_encode(challenge), "user_verification": _VERIFIED}


def _base64url(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
