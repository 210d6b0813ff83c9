"""Signatures of messages as `ssh-keygen -Y sign` makes them (OpenSSH's PROTOCOL.sshsig)."""

import hashlib
from base64 import b64encode
from binascii import a2b_base64
from dataclasses import dataclass

from stagedoor.wire.ssh.blob import Reader, string

MAX_CHARS = 8192
"""The limit on an armoured signature. An Ed25519 key's has 300 characters, the largest RSA key's 5,800."""
_MAGIC, _VERSION = b"SSHSIG", 1
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_HASH = b"sha512"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_LINE = 70


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature of a message.

    `key` is the public key's blob (RFC 4253 §6.6), and `signature` the signature's. `hash_name` names
    the hash of the message.
    """

    key: bytes
    namespace: str
    signature: bytes
    hash_name: bytes = _HASH


def encode_signed(message: bytes, namespace: str, hash_name: bytes = _HASH) -> bytes:
    """Return the bytes that the key signs for a message."""
    parts = (namespace.encode(), b"", hash_name, _HASHES[hash_name](message).digest())
    return _MAGIC + b"".join(map(string, parts))


def format_signature(signature: Signature) -> str:
    """Return the text of a `.sig` file."""
    parts = (
        signature.key,
        signature.namespace.encode(),
        b"",
        signature.hash_name,
        signature.signature,
    )
    blob = _MAGIC + _VERSION.to_bytes(4) + b"".join(map(string, parts))
    text = b64encode(blob).decode("ascii")
    rows = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return "\n".join([_BEGIN, *rows, _END, ""])


def read_signature(text: str) -> Signature:
    """Parse the text of a `.sig` file; white space does not count. Raises ValueError for any other text."""
    armoured = text.strip() if len(text) <= MAX_CHARS else ""
    if not (armoured.startswith(_BEGIN) and armoured.endswith(_END)):
        raise ValueError("no SSH signature")
    body = armoured.removeprefix(_BEGIN).removesuffix(_END)
    reader = Reader(a2b_base64("".join(body.split()), strict_mode=True))
    if reader.take(len(_MAGIC)) != _MAGIC or reader.uint32() != _VERSION:
        raise ValueError("no SSH signature of version 1")
    key, namespace, reserved, hash_name, signature = (reader.string() for _ in range(5))
    reader.end()
    if reserved or hash_name not in _HASHES:
        raise ValueError("no SSH signature by a hash that is known")
    return Signature(key, namespace.decode(), signature, hash_name)
