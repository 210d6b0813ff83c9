"""Signatures of `ssh-keygen -Y sign` (OpenSSH, PROTOCOL.sshsig): who holds a key?"""

import hashlib
from binascii import a2b_base64

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from stagedoor.wire.blob import Reader, TruncatedError, string

MAX_CHARS = 4096
"""Armoured. One of an ed25519 key has 300."""
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_MAGIC, _VERSION = b"SSHSIG", 1
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_TYPE = b"ssh-ed25519"


def signed_by(armoured: str, namespace: str, message: bytes) -> bytes | None:
    """The blob of the ed25519 key that signed `message` for `namespace`; None where it is no such
    signature. Whose key it is, the caller knows."""
    try:
        key, signed, signature = _parse(armoured, namespace, message)
        Ed25519PublicKey.from_public_bytes(_field(key)).verify(_field(signature), signed)
    except (ValueError, InvalidSignature):
        return None
    return key


def _parse(armoured: str, namespace: str, message: bytes) -> tuple[bytes, bytes, bytes]:
    """The key, what was signed, and the signature. Raises ValueError."""
    text = armoured.strip() if len(armoured) <= MAX_CHARS else ""
    if not (text.startswith(_BEGIN) and text.endswith(_END)):
        raise ValueError("it has no armour")
    lines = text.removeprefix(_BEGIN).removesuffix(_END)
    reader = Reader(a2b_base64("".join(lines.split()), strict_mode=True))
    if reader.take(len(_MAGIC)) != _MAGIC or reader.uint32() != _VERSION:
        raise ValueError("it is of another kind")
    key, space, reserved, algorithm, signature = (reader.string() for _ in range(5))
    reader.end()
    if space != namespace.encode() or algorithm not in _HASHES:
        raise ValueError("it is for something else")
    digest = _HASHES[algorithm](message).digest()
    signed = _MAGIC + b"".join(map(string, (space, reserved, algorithm, digest)))
    return key, signed, signature


def _field(blob: bytes) -> bytes:
    """The only one of an ed25519 key or signature (RFC 8709 §4, §6). Raises ValueError."""
    reader = Reader(blob)
    if reader.string() != _TYPE:
        raise TruncatedError("it is of another type")
    value = reader.string()
    reader.end()
    return value
