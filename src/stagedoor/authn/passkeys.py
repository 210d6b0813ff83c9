"""What a browser is asked about a passkey, and whether its answer is right (WebAuthn Level 3 §7). Pure.

The cryptography is fido2's. What must hold besides is here: the person was verified by PIN or finger, and a
counter that goes back tells of a copy.
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
"""ES256, EdDSA and RS256 (IANA COSE registry): between them every authenticator has one."""
_ID_CHARS = 16
MOST_CREDENTIAL_BYTES = 4096
NOT_RIGHT = Denial(
    Reason.CREDENTIAL_WRONG, "the passkey's answer was not right, or came too late; try again"
)
"""Why exactly is for nobody's eyes: it would tell an attacker what to change."""
CLONED = Denial(
    Reason.CREDENTIAL_WRONG,
    "this passkey's counter went back, so a copy of it may be in use; remove it on your account's page, and "
    "tell your administrators",
)

Response = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """As a browser has made it. See `model.passkey.PasskeyRecord`."""

    id: str
    credential: bytes = field(repr=False)
    sign_count: int


def passkey_id(credential_id: bytes) -> str:
    """What a passkey is called here: 64 bits of its credential id's digest."""
    return hashlib.sha256(credential_id).hexdigest()[:_ID_CHARS]


def user_handle(name: str) -> bytes:
    """What authenticators know a user by: it need not tell who that is (§14.6.1)."""
    return hashlib.sha256(f"stagedoor passkeys of {name}".encode()).digest()


def registration_options(
    rp: RelyingParty, user: str, known: Sequence[PasskeyRecord], challenge: bytes
) -> dict[str, Any]:
    """What the browser makes a passkey by, as JSON (§5.4). One that is `known` is not made twice."""
    options, _ = _server(rp).register_begin(
        PublicKeyCredentialUserEntity(id=user_handle(user), name=user, display_name=user),
        [AttestedCredentialData(one.credential) for one in known if one.rp_id == rp.id],
        resident_key_requirement=ResidentKeyRequirement.PREFERRED,
        user_verification=_VERIFIED,
        challenge=challenge,
    )
    return dict(options)


def read_registration(
    rp: RelyingParty, challenge: bytes, response: Response
) -> NewPasskey | Denial:
    """The passkey that a browser has made (§7.1)."""
    try:
        data = _server(rp).register_complete(_state(challenge), response)
        made = data.credential_data
        framed = _is_framed(response)
    except Exception:  # what a stranger sends can fail anywhere in the library
        return NOT_RIGHT
    if (
        framed
        or made is None
        or len(made) > MOST_CREDENTIAL_BYTES
        or made.public_key.get(3) not in _ALGORITHMS
    ):
        return NOT_RIGHT
    return NewPasskey(passkey_id(made.credential_id), bytes(made), data.counter)


def assertion_options(
    rp: RelyingParty, known: Sequence[PasskeyRecord], challenge: bytes
) -> dict[str, Any]:
    """What the browser proves possession by, as JSON (§5.5); of `known` ones, or of any if there are none."""
    credentials = [AttestedCredentialData(one.credential) for one in known if one.rp_id == rp.id]
    options, _ = _server(rp).authenticate_begin(
        credentials or None, user_verification=_VERIFIED, challenge=challenge
    )
    return dict(options)


def shown_passkey(response: Response) -> str | None:
    """The id of the passkey that an answer says it is by; None where it says nothing of the kind."""
    try:
        return passkey_id(AuthenticationResponse.from_dict(response).raw_id)
    except Exception:  # as above
        return None


def shown_challenge(response: Response) -> bytes | None:
    """The challenge that an answer says it is to, believed only once the signature over it is verified."""
    try:
        data = json.loads(_base64url(response["response"]["clientDataJSON"]))
        challenge = _base64url(data["challenge"])
    except Exception:  # as above
        return None
    return challenge if 16 <= len(challenge) <= 64 else None


def read_assertion(
    rp: RelyingParty, challenge: bytes, passkey: PasskeyRecord, response: Response
) -> int | Denial:
    """The counter of an answer that is right (§7.2), 0 where the authenticator does not count."""
    if passkey.rp_id != rp.id:
        return NOT_RIGHT
    try:
        known = AttestedCredentialData(passkey.credential)
        _server(rp).authenticate_complete(_state(challenge), [known], response)
        answer = AuthenticationResponse.from_dict(response).response
        handle, count = answer.user_handle, answer.authenticator_data.counter
        framed = _is_framed(response)
    except Exception:  # as above
        return NOT_RIGHT
    if framed:
        return NOT_RIGHT
    if handle is not None and handle != user_handle(passkey.user):
        return NOT_RIGHT
    # §7.2 step 22: where either counts, it must go up.
    if (count or passkey.sign_count) and count <= passkey.sign_count:
        return CLONED
    return count


def _is_framed(response: Response) -> bool:
    """Return whether another site's page had ours in a frame (§7.1 steps 10 and 11, §7.2 steps 13 and 14).

    Our pages refuse to be framed, so a browser makes no such answer.
    """
    data = json.loads(_base64url(response["response"]["clientDataJSON"]))
    return data.get("crossOrigin", False) is not False or "topOrigin" in data


def _server(rp: RelyingParty) -> Fido2Server:
    entity = PublicKeyCredentialRpEntity(id=rp.id, name="Stagedoor")
    # The one origin that asked. By itself the library takes every site below the id.
    server = Fido2Server(entity, verify_origin=lambda origin: origin == rp.origin)
    server.allowed_algorithms = [
        PublicKeyCredentialParameters(type=PublicKeyCredentialType.PUBLIC_KEY, alg=one)
        for one in _ALGORITHMS
    ]
    return server


def _state(challenge: bytes) -> dict[str, Any]:
    return {"challenge": websafe_encode(challenge), "user_verification": _VERIFIED}


def _base64url(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
