"""Signatures of messages as `ssh-keygen -Y sign` makes them (OpenSSH's PROTOCOL.sshsig), by Ed25519."""

import hashlib
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass

from stagedoor.wire.blob import Reader, string

_MAGIC = b"SSHSIG"
_VERSION = b"\0\0\0\1"
_HASH = b"sha512"
_KEY_TYPE = b"ssh-ed25519"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_ARMOUR = re.compile(f"{_BEGIN}\n([A-Za-z0-9+/=\n]{{1,4096}})\n{_END}\n?", re.ASCII)
_LINE = 70


@dataclass(frozen=True, slots=True)
class Signature:
    """`key` is the public key's blob (RFC 8709 §4), `raw` the 64 bytes of RFC 8032."""

    key: bytes
    namespace: str
    raw: bytes


def signed_bytes(message: bytes, namespace: str) -> bytes:
    """What the key signs for a message."""
    parts = (namespace.encode(), b"", _HASH, hashlib.sha512(message).digest())
    return _MAGIC + b"".join(map(string, parts))


def armoured(signature: Signature) -> str:
    """The text of a `.sig` file."""
    blob = _MAGIC + _VERSION
    blob += b"".join(map(string, (signature.key, signature.namespace.encode(), b"", _HASH)))
    blob += string(string(_KEY_TYPE) + string(signature.raw))
    text = b64encode(blob).decode("ascii")
    rows = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return "\n".join([_BEGIN, *rows, _END, ""])


def read_signature(text: str) -> Signature:
    """Raises ValueError for what is none of ours."""
    found = _ARMOUR.fullmatch(text)
    if found is None:
        raise ValueError("no SSH signature")
    reader = Reader(b64decode(found[1].replace("\n", ""), validate=True))
    if reader.take(len(_MAGIC)) != _MAGIC or reader.take(4) != _VERSION:
        raise ValueError("no SSH signature of version 1")
    key, namespace, reserved, hashed = (reader.string() for _ in range(4))
    inner = Reader(reader.string())
    reader.end()
    kind, raw = inner.string(), inner.string()
    inner.end()
    if reserved or hashed != _HASH or kind != _KEY_TYPE or len(raw) != 64:
        raise ValueError("no Ed25519 signature over SHA-512")
    return Signature(key, namespace.decode(), raw)
