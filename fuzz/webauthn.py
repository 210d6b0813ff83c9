"""Fuzz target: answers of a browser about a passkey. Any bytes are refused in one way.

The first byte says what the others are: the parts of an answer as raw bytes (each behind its length), which
no mutation of base64 in JSON would get to; else the whole answer as JSON.
"""

import hashlib
import json
from base64 import urlsafe_b64encode
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.webauthn import AttestedCredentialData

from stagedoor.authn import passkeys
from stagedoor.model.denial import Denial
from stagedoor.model.passkey import PasskeyRecord, RelyingParty

MAX_BYTES = 8192
RP = RelyingParty("gw.example", "https://gw.example")
CHALLENGE = bytes(range(32))
_KEY = ES256.from_cryptography_key(ec.generate_private_key(ec.SECP256R1()).public_key())
CREDENTIAL_ID = b"c" * 32
KNOWN = PasskeyRecord(
    passkeys.derive_passkey_id(CREDENTIAL_ID),
    "alice",
    "laptop",
    RP.id,
    bytes(AttestedCredentialData.create(bytes(16), CREDENTIAL_ID, _KEY)),
    1,
    0.0,
)


def check(received: bytes) -> None:
    kind, rest = received[:1], received[1:]
    answer = _from_parts(rest) if kind == b"p" else _from_json(rest)
    if answer is None:
        return
    shown = passkeys.read_passkey_id(answer)
    assert shown is None or len(shown) == len(KNOWN.id)
    challenge = passkeys.read_challenge(answer)
    assert challenge is None or 16 <= len(challenge) <= 64
    proved = passkeys.read_assertion(RP, CHALLENGE, KNOWN, answer)
    assert isinstance(proved, Denial), "the key is secret: no input may pass"
    made = passkeys.read_registration(RP, CHALLENGE, answer)
    if not isinstance(made, Denial):
        assert len(made.credential) <= passkeys.MAX_CREDENTIAL_BYTES
        assert challenge == CHALLENGE, "made for another question"
        # It is read again at each proof.
        public = AttestedCredentialData(made.credential)
        assert made.id == passkeys.derive_passkey_id(public.credential_id)


def _from_json(text: bytes) -> dict[str, Any] | None:
    """Return the object in a JSON answer, as the page's API reads it, or None."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _from_parts(data: bytes) -> dict[str, Any]:
    """Return an answer with the right challenge and origin, so that what is behind those is read."""
    said = {"challenge": _text(CHALLENGE), "origin": RP.origin, "crossOrigin": False}
    first, data = data[:1], data[1:]
    said["type"] = "webauthn.create" if first == b"c" else "webauthn.get"
    parts = []
    for _ in range(3):
        size, data = int.from_bytes(data[:2], "big"), data[2:]
        parts.append(data[:size])
        data = data[size:]
    # The digest of our name, which a mutation would not find.
    authenticator = hashlib.sha256(RP.id.encode()).digest() + parts[0]
    response = {
        "clientDataJSON": _text(json.dumps(said).encode()),
        "authenticatorData": _text(authenticator),
        "signature": _text(parts[1]),
        "userHandle": _text(parts[2]),
        "attestationObject": _text(_attestation(authenticator, data)),
    }
    id_ = _text(CREDENTIAL_ID)
    return {"id": id_, "rawId": id_, "type": "public-key", "response": response}


def _attestation(authenticator: bytes, rest: bytes) -> bytes:
    """Return a CBOR map: with `rest`, that of any statement; else one without."""
    size = len(authenticator).to_bytes(2, "big")
    data = b"\x68authData\x59" + size + authenticator
    return b"\xa3\x63fmt" + (rest or b"\x64none\x67attStmt\xa0") + data


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
