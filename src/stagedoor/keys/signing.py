"""Signatures as by `ssh-keygen -Y sign` and `-Y verify`, which prove that a signer holds a key.

The format is that of OpenSSH's PROTOCOL.sshsig.
"""

import hashlib
from base64 import b64decode, b64encode
from binascii import a2b_base64
from collections.abc import Collection
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from stagedoor.keys.files import format_public_line
from stagedoor.wire.ssh.blob import Reader, encode_string, format_fingerprint
from stagedoor.wire.ssh.key import PublicKey, parse_public_key

ED25519 = frozenset({"ssh-ed25519"})
_RSA = {b"rsa-sha2-256": SHA256(), b"rsa-sha2-512": SHA512()}
"""`ssh-rsa`, which uses SHA-1, is not among them (RFC 8332 §1)."""
_ECDSA = {256: SHA256(), 384: SHA384(), 521: SHA512()}
"""The hash by the bits of the curve (RFC 5656 §6.2.1)."""
_TOUCHED = 0x01
"""A security key's flag for the presence of a person (PROTOCOL.u2f)."""
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
    return _MAGIC + b"".join(map(encode_string, parts))


def format_signature(signature: Signature) -> str:
    """Return the text of a `.sig` file."""
    parts = (
        signature.key,
        signature.namespace.encode(),
        b"",
        signature.hash_name,
        signature.signature,
    )
    blob = _MAGIC + _VERSION.to_bytes(4) + b"".join(map(encode_string, parts))
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
    if reader.take(len(_MAGIC)) != _MAGIC or reader.read_uint32() != _VERSION:
        raise ValueError("no SSH signature of version 1")
    key, namespace, reserved, hash_name, signature = (reader.read_string() for _ in range(5))
    reader.end()
    if reserved or hash_name not in _HASHES:
        raise ValueError("no SSH signature by a hash that is known")
    return Signature(key, namespace.decode(), signature, hash_name)


def find_fingerprint(line: str) -> str:
    """Return the `SHA256:…` of a public key in one line, `type base64`."""
    return format_fingerprint(b64decode(line.split()[1]))


def sign(key: Ed25519PrivateKey, message: str, namespace: str) -> tuple[str, str]:
    """Return the signature in its text form, and the fingerprint of the key."""
    line = format_public_line(key)
    raw = key.sign(encode_signed(message.encode(), namespace))
    signature = Signature(
        b64decode(line.split()[1]), namespace, encode_string(b"ssh-ed25519") + encode_string(raw)
    )
    return format_signature(signature), find_fingerprint(line)


def find_signer(message: str, text: str, namespace: str) -> str | None:
    """Return the fingerprint of the Ed25519 key that signed `message`, or None if the signature is wrong."""
    key = find_signing_key(text, namespace, message.encode())
    return None if key is None else key.fingerprint


def find_signing_key(
    text: str, namespace: str, message: bytes, types: Collection[str] | None = ED25519
) -> PublicKey | None:
    """Return the key that signed `message` for `namespace`, or None if the signature is wrong.

    The key must be of one of `types`; None allows every type that may be registered. The caller has to check
    whose key it is.
    """
    try:
        signature = read_signature(text)
        kind = Reader(signature.key).read_string().decode("ascii")
        if signature.namespace != namespace or (types is not None and kind not in types):
            return None
        key = parse_public_key(f"{kind} {b64encode(signature.key).decode('ascii')}")
        if isinstance(key, PublicKey):
            _verify(key, signature, encode_signed(message, namespace, signature.hash_name))
            return key
    except (ValueError, InvalidSignature, UnsupportedAlgorithm):
        pass
    return None


def _verify(key: PublicKey, signature: Signature, signed: bytes) -> None:
    """Verify a signature. Raises InvalidSignature, ValueError, UnsupportedAlgorithm."""
    reader = Reader(signature.signature)
    algorithm, raw = reader.read_string(), reader.read_string()
    if key.type.startswith("sk-"):
        signed = _signed_by_security_key(signature.key, reader.take(1) + reader.take(4), signed)
    reader.end()
    public = load_ssh_public_key(key.line.encode())
    if isinstance(public, rsa.RSAPublicKey) and algorithm in _RSA:
        public.verify(raw, signed, padding.PKCS1v15(), _RSA[algorithm])
        return
    if algorithm.decode("ascii") != key.type:
        raise ValueError("the signature is of another algorithm than the key")
    if isinstance(public, Ed25519PublicKey):
        public.verify(raw, signed)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        numbers = Reader(raw)
        r, s = (int.from_bytes(numbers.read_string()) for _ in range(2))
        numbers.end()
        public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(_ECDSA[key.bits]))
    else:
        raise ValueError("the key is of a type that signs nothing here")


def _signed_by_security_key(key: bytes, flags_and_counter: bytes, message: bytes) -> bytes:
    """Return the bytes that a security key signs (PROTOCOL.u2f, *SSH U2F Signatures*).

    Raises ValueError if the key was not touched.
    """
    if not flags_and_counter[0] & _TOUCHED:
        raise ValueError("the security key was not touched")
    fields, application = Reader(key), b""
    while fields:
        application = fields.read_string()  # the last one
    digests = (hashlib.sha256(part).digest() for part in (application, message))
    return next(digests) + flags_and_counter + next(digests)
