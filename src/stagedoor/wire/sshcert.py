"""OpenSSH certificates, version 01, read from the blob that a client shows (PROTOCOL.certkeys).

    string type, string nonce, the key's own fields, uint64 serial, uint32 kind, string key id,
    string principals, uint64 valid after, uint64 valid before, string critical options,
    string extensions, string reserved, string CA key, string signature

Only reading: whether the CA is believed says `authn`, and whether its signature is right whoever
has the cryptography.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from stagedoor.model.certificate import Certificate
from stagedoor.wire.blob import Reader, TruncatedError, fingerprint, string

MAX_PRINCIPALS = 256
"""What OpenSSH takes at most."""
_USER = 1
_SUFFIX = b"-cert-v01@openssh.com"
# How many strings make up the key, by the type of the key (RFC 4253 §6.6, RFC 5656 §3.1,
# RFC 8709 §4, OpenSSH's PROTOCOL.u2f).
_KEY_STRINGS = {
    b"ssh-ed25519": 1,
    b"ssh-rsa": 2,
    b"ecdsa-sha2-nistp256": 2,
    b"ecdsa-sha2-nistp384": 2,
    b"ecdsa-sha2-nistp521": 2,
    b"sk-ssh-ed25519": 2,
    b"sk-ecdsa-sha2-nistp256": 3,
}


@dataclass(frozen=True, slots=True)
class SignedCertificate:
    """`key` is the certified public key as a blob; `signature` is the CA's over `signed`."""

    key: bytes
    certificate: Certificate
    signed: bytes
    signature: bytes


def is_certificate(blob: bytes) -> bool:
    """Whether the blob of a public key announces a certificate."""
    try:
        return _SUFFIX in Reader(blob).string()
    except TruncatedError:
        return False


def parse_certificate(blob: bytes) -> SignedCertificate | None:
    """Read a user certificate; None if it is none, is damaged or is a host's."""
    try:
        return _parsed(blob)
    except (TruncatedError, UnicodeDecodeError):
        return None


def _parsed(blob: bytes) -> SignedCertificate | None:
    reader = Reader(blob)
    kind = reader.string()
    key_type = kind.removesuffix(_SUFFIX)
    if key_type == kind or key_type not in _KEY_STRINGS:
        return None
    plain_type = key_type + b"@openssh.com" if key_type.startswith(b"sk-") else key_type
    reader.string()  # the nonce
    key = string(plain_type)
    key += b"".join(string(reader.string()) for _ in range(_KEY_STRINGS[key_type]))
    serial = reader.uint64()
    if reader.uint32() != _USER:
        return None
    key_id = reader.string().decode("utf-8")
    principals = _strings(reader.string())
    valid_after, valid_before = reader.uint64(), reader.uint64()
    critical_options = _options(reader.string())
    extensions = _options(reader.string())
    reader.string()  # reserved
    ca = reader.string()
    signed = blob[: reader.at]
    signature = reader.string()
    reader.end()
    # A CA's key is plain: PROTOCOL.certkeys forbids chains.
    if is_certificate(ca) or len(principals) > MAX_PRINCIPALS:
        return None
    certificate = Certificate(
        serial,
        key_id,
        principals,
        valid_after,
        valid_before,
        ca,
        fingerprint(ca),
        critical_options,
        frozenset(extensions),
    )
    return SignedCertificate(key, certificate, signed, signature)


def _strings(packed: bytes) -> tuple[str, ...]:
    reader = Reader(packed)
    found = []
    while reader:
        found.append(reader.string().decode("utf-8"))
    return tuple(found)


def _options(packed: bytes) -> Mapping[str, str]:
    """Names and values, in order of name, each once; a value is a string within a string."""
    reader = Reader(packed)
    found: dict[str, str] = {}
    last = ""
    while reader:
        name = reader.string().decode("utf-8")
        value = Reader(reader.string())
        if name in found or name < last:
            raise TruncatedError("its options are not in order")
        found[name] = value.string().decode("utf-8") if value else ""
        value.end()
        last = name
    return MappingProxyType(found)
