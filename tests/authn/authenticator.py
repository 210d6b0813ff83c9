"""A passkey authenticator with its browser, in software: what WebAuthn has them answer, and lies on
request."""

import hashlib
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.cose import ES256

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def to_text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def to_bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Authenticator:
    """Holds one passkey, made by `create`.

    What it says of itself can be set before it answers: `origin` is what its browser names, `framed` what
    that says of a frame, `flags` what it did with its person, `count` its counter, which goes up with each
    answer (0: it does not count).
    """

    def __init__(self, origin: str, flags: int = PRESENT | VERIFIED, count: int = 1) -> None:
        self.origin = origin
        self.framed: dict[str, object] = {}
        self.flags = flags
        self.count = count
        self.credential_id = secrets.token_bytes(32)
        self.handle = b""
        self.key = ec.generate_private_key(ec.SECP256R1())

    def create(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to `navigator.credentials.create(options)`."""
        asked = options["publicKey"]
        self.handle = to_bytes(asked["user"]["id"])
        public = dict(ES256.from_cryptography_key(self.key.public_key()))
        length = len(self.credential_id).to_bytes(2, "big")
        attested = bytes(16) + length + self.credential_id + cbor.encode(public)
        data = self._data(asked["rp"]["id"], self.flags | ATTESTED) + attested
        attestation = cbor.encode({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", asked["challenge"])
        return self._answer(client, {"attestationObject": to_text(attestation)})

    def get(self, options: Mapping[str, Any], kind: str = "webauthn.get") -> dict[str, Any]:
        """The answer to `navigator.credentials.get(options)`."""
        asked = options["publicKey"]
        data = self._data(asked["rpId"], self.flags)
        client = self._client(kind, asked["challenge"])
        signed = data + hashlib.sha256(client).digest()
        signature = self.key.sign(signed, ec.ECDSA(hashes.SHA256()))
        return self._answer(
            client,
            {
                "authenticatorData": to_text(data),
                "signature": to_text(signature),
                "userHandle": to_text(self.handle),
            },
        )

    def _data(self, rp_id: str, flags: int) -> bytes:
        count = self.count
        self.count += bool(count)
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + count.to_bytes(4, "big")

    def _client(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        said |= self.framed
        return json.dumps(said).encode()

    def _answer(self, client: bytes, response: dict[str, str]) -> dict[str, Any]:
        id_ = to_text(self.credential_id)
        said = {"clientDataJSON": to_text(client), **response}
        return {"id": id_, "rawId": id_, "type": "public-key", "response": said}
