"""OpenSSH certificates, version 01, parsed from the blob that a client presents (PROTOCOL.certkeys).

    string type, string nonce, the key's own fields, uint64 serial, uint32 kind, string key id,
    string principals, uint64 valid after, uint64 valid before, string critical options,
    string extensions, string reserved, string CA key, string signature

This module parses certificates and produces the bytes to sign. `authn` decides whether the CA is
trusted, and the caller, which has the cryptography, verifies the signature.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from stagedoor.model.certificate import Certificate
from stagedoor.wire.ssh.blob import Reader, TruncatedError, encode_string, format_fingerprint

MAX_PRINCIPALS = 256
"""The maximum that OpenSSH accepts."""
USER, HOST = 1, 2
"""The kinds of certificates."""
_SUFFIX = b"-cert-v01@openssh.com"
# The number of strings in a key, by its type (RFC 4253 §6.6, RFC 5656 §3.1,
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
    """A certificate and its signature, not verified.

    `key` is the certified public key as a blob; `signature` is the CA's signature over `signed_bytes`.
    """

    key: bytes
    certificate: Certificate
    signed_bytes: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class UnsignedCertificate:
    """The contents of a certificate that a CA is to sign for `key`, a public key's blob.

    `nonce` is 32 random bytes, so that the requester cannot choose the bytes to sign. The certificate
    is valid from `valid_after` until before `valid_before`, in seconds since the epoch.
    """

    kind: int
    key: bytes
    nonce: bytes
    serial: int
    key_id: str
    principals: Sequence[str]
    valid_after: int
    valid_before: int
    extensions: Iterable[str] = ()
    critical_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """Return the first word of the certificate's line: `ssh-ed25519-cert-v01@openssh.com`."""
        plain = Reader(self.key).read_string().removesuffix(b"@openssh.com")
        return (plain + _SUFFIX).decode("ascii")

    def to_sign(self, ca: bytes) -> bytes:
        """Return the bytes that the CA with the public key `ca` signs. Its signature follows as a string."""
        reader = Reader(self.key)
        reader.read_string()
        extensions = ((name, "") for name in self.extensions)
        return b"".join(
            (
                encode_string(self.type.encode("ascii")),
                encode_string(self.nonce),
                self.key[reader.at :],
                self.serial.to_bytes(8, "big"),
                self.kind.to_bytes(4, "big"),
                encode_string(self.key_id.encode()),
                encode_string(b"".join(encode_string(name.encode()) for name in self.principals)),
                self.valid_after.to_bytes(8, "big"),
                self.valid_before.to_bytes(8, "big"),
                encode_string(_pack(self.critical_options.items())),
                encode_string(_pack(extensions)),
                encode_string(b""),
                encode_string(ca),
            )
        )


def is_certificate(blob: bytes) -> bool:
    """Return True if the blob of a public key announces a certificate."""
    try:
        return _SUFFIX in Reader(blob).read_string()
    except TruncatedError:
        return False


def parse_certificate(blob: bytes) -> SignedCertificate | None:
    """Parse a user certificate. Return None if it is damaged, or is no user certificate."""
    try:
        return _parse(blob)
    except (TruncatedError, UnicodeDecodeError):
        return None


def _parse(blob: bytes) -> SignedCertificate | None:
    reader = Reader(blob)
    kind = reader.read_string()
    key_type = kind.removesuffix(_SUFFIX)
    if key_type == kind or key_type not in _KEY_STRINGS:
        return None
    plain_type = key_type + b"@openssh.com" if key_type.startswith(b"sk-") else key_type
    reader.read_string()  # the nonce
    key = encode_string(plain_type)
    key += b"".join(encode_string(reader.read_string()) for _ in range(_KEY_STRINGS[key_type]))
    serial = reader.read_uint64()
    if reader.read_uint32() != USER:
        return None
    key_id = reader.read_string().decode("utf-8")
    principals = _strings(reader.read_string())
    valid_after, valid_before = reader.read_uint64(), reader.read_uint64()
    critical_options = _options(reader.read_string())
    extensions = _options(reader.read_string())
    reader.read_string()  # reserved
    ca = reader.read_string()
    signed = blob[: reader.at]
    signature = reader.read_string()
    reader.end()
    # A CA's key is a plain key: PROTOCOL.certkeys forbids chains.
    if is_certificate(ca) or len(principals) > MAX_PRINCIPALS:
        return None
    certificate = Certificate(
        serial,
        key_id,
        principals,
        valid_after,
        valid_before,
        ca,
        format_fingerprint(ca),
        critical_options,
        frozenset(extensions),
    )
    return SignedCertificate(key, certificate, signed, signature)


def _strings(packed: bytes) -> tuple[str, ...]:
    reader = Reader(packed)
    texts = []
    while reader:
        texts.append(reader.read_string().decode("utf-8"))
    return tuple(texts)


def _options(packed: bytes) -> Mapping[str, str]:
    """Parse names and values, ordered by name and without repetition. A value is a string within a string."""
    reader = Reader(packed)
    options: dict[str, str] = {}
    last = ""
    while reader:
        name = reader.read_string().decode("utf-8")
        value = Reader(reader.read_string())
        if name in options or name < last:
            raise TruncatedError("its options are not in order")
        options[name] = value.read_string().decode("utf-8") if value else ""
        value.end()
        last = name
    return MappingProxyType(options)


def _pack(options: Iterable[tuple[str, str]]) -> bytes:
    """Encode options in lexical order (PROTOCOL.certkeys). One without a value has an empty string."""
    return b"".join(
        encode_string(name.encode())
        + encode_string(encode_string(value.encode()) if value else b"")
        for name, value in sorted(options)
    )
