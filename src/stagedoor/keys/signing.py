"""Signatures that `ssh-keygen -Y verify` can check."""

from base64 import b64decode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stagedoor.keys.files import public_line
from stagedoor.wire.blob import Reader, fingerprint
from stagedoor.wire.sshsig import Signature, armoured, read_signature, signed_bytes


def fingerprint_of(line: str) -> str:
    """`SHA256:…` of a public key in one line, `type base64`."""
    return fingerprint(b64decode(line.split()[1]))


def sign(key: Ed25519PrivateKey, message: str, namespace: str) -> tuple[str, str]:
    """The signature, in its text form, and the fingerprint of the key."""
    line = public_line(key)
    raw = key.sign(signed_bytes(message.encode(), namespace))
    return armoured(Signature(b64decode(line.split()[1]), namespace, raw)), fingerprint_of(line)


def signer_of(message: str, text: str, namespace: str) -> str | None:
    """The fingerprint of the key that made this signature of the message; None where none did."""
    try:
        signature = read_signature(text)
        if signature.namespace != namespace:
            return None
        reader = Reader(signature.key)
        kind, public = reader.string(), reader.string()
        reader.end()
        if kind != b"ssh-ed25519":
            return None
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(signature.raw, signed_bytes(message.encode(), namespace))
    except (ValueError, InvalidSignature):
        return None
    return fingerprint(signature.key)
