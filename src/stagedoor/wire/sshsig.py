"""Signatures of messages as `ssh-keygen -Y sign` makes them (OpenSSH's PROTOCOL.sshsig)."""

import hashlib
from base64 import b64encode
from binascii import a2b_base64
from dataclasses import dataclass

from stagedoor.wire.blob import Reader, string

MAX_CHARS = 8192
"""Armoured. One of an Ed25519 key has 300, one of the largest RSA key 5,800."""
_MAGIC, _VERSION = b"SSHSIG", 1
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_HASH = b"sha512"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_LINE = 70


@dataclass(frozen=True, slots=True)
class Signature:
    """`key` is the public key's blob (RFC 4253 §6.6), `signature` that of a signature. `hashed` is how the
    message was hashed."""

    key: bytes
    namespace: str
    signature: bytes
    hashed: bytes = _HASH


def signed_bytes(message: bytes, namespace: str, hashed: bytes = _HASH) -> bytes:
    """What the key signs for a message."""
    parts = (namespace.encode(), b"", hashed, _HASHES[hashed](message).digest())
    return _MAGIC + b"".join(map(string, parts))


def armoured(made: Signature) -> str:
    """The text of a `.sig` file."""
    parts = (made.key, made.namespace.encode(), b"", made.hashed, made.signature)
    blob = _MAGIC + _VERSION.to_bytes(4) + b"".join(map(string, parts))
    text = b64encode(blob).decode("ascii")
    rows = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return "\n".join([_BEGIN, *rows, _END, ""])


def read_signature(text: str) -> Signature:
    """White space does not count. Raises ValueError for what is no signature."""
    armour = text.strip() if len(text) <= MAX_CHARS else ""
    if not (armour.startswith(_BEGIN) and armour.endswith(_END)):
        raise ValueError("no SSH signature")
    body = armour.removeprefix(_BEGIN).removesuffix(_END)
    reader = Reader(a2b_base64("".join(body.split()), strict_mode=True))
    if reader.take(len(_MAGIC)) != _MAGIC or reader.uint32() != _VERSION:
        raise ValueError("no SSH signature of version 1")
    key, namespace, reserved, hashed, signature = (reader.string() for _ in range(5))
    reader.end()
    if reserved or hashed not in _HASHES:
        raise ValueError("no SSH signature by a hash that is known")
    return Signature(key, namespace.decode(), signature, hashed)
