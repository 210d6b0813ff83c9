"""Revoked keys: a key revocation list as `ssh-keygen -k` makes it, or public keys as text.

Sources: OpenSSH's PROTOCOL.krl, ssh-keygen(1) KEY REVOCATION LISTS, sshd_config(5) RevokedKeys.
"""

import hashlib
from base64 import b64decode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from stagedoor.model.certificate import Certificate
from stagedoor.wire.ssh.blob import Reader, TruncatedError, encode_string
from stagedoor.wire.ssh.key import KeyRefused, parse_public_key

_MAGIC = b"SSHKRL\n\0"
_FORMAT = 1
_CERTIFICATES, _KEYS, _SHA1, _SIGNATURE, _SHA256 = 1, 2, 3, 4, 5
_EXTENSION = 255
_SERIAL_LIST, _SERIAL_RANGE, _SERIAL_BITMAP, _KEY_ID = 0x20, 0x21, 0x22, 0x23
_CERTIFICATE_EXTENSION = 0x39
_ANY_CA = b""
"""The CA of a section that names none; it applies to every CA."""


class RevocationError(ValueError):
    """The list cannot be read. The text is the reason, in one line."""


@dataclass(slots=True)
class _Certificates:
    serials: set[int] = field(default_factory=set)
    ranges: list[tuple[int, int]] = field(default_factory=list)
    bitmaps: list[tuple[int, int]] = field(default_factory=list)
    key_ids: set[str] = field(default_factory=set)

    def has(self, certificate: Certificate) -> bool:
        serial = certificate.serial
        if certificate.key_id in self.key_ids:
            return True
        if serial == 0:  # PROTOCOL.krl: zero means that the CA assigned no serial
            return False
        return (
            serial in self.serials
            or any(low <= serial <= high for low, high in self.ranges)
            or any(
                serial >= start and (bits >> (serial - start)) & 1
                for start, bits in self.bitmaps
                if serial - start < bits.bit_length()
            )
        )


class Revocations:
    """The contents of a revocation list; a new instance is empty."""

    def __init__(self) -> None:
        self._keys: set[bytes] = set()
        self._sha1: set[bytes] = set()
        self._sha256: set[bytes] = set()
        self._by_ca: dict[bytes, _Certificates] = {}

    def has_key(self, key: bytes) -> bool:
        """Return True if a public key, given as a blob, is revoked."""
        return (
            key in self._keys
            or hashlib.sha256(key).digest() in self._sha256
            or hashlib.sha1(key, usedforsecurity=False).digest() in self._sha1
        )

    def has_certificate(self, certificate: Certificate) -> bool:
        """Return True if a certificate is revoked, by its serial, its key id or its CA."""
        if self.has_key(certificate.ca):
            return True
        return any(
            ca in self._by_ca and self._by_ca[ca].has(certificate)
            for ca in (certificate.ca, _ANY_CA)
        )

    def _read_krl(self, data: bytes) -> None:
        reader = Reader(data)
        reader.take(len(_MAGIC))
        if reader.read_uint32() != _FORMAT:
            raise RevocationError("its format is not version 1")
        reader.read_uint64()  # the list's version
        reader.read_uint64()  # the time of creation
        reader.read_uint64()  # flags, of which none is defined
        reader.read_string()  # reserved
        reader.read_string()  # comment
        while reader:
            kind = reader.read_byte()
            if kind == _SIGNATURE:
                # Only signatures follow, and the writer of the file is trusted anyway.
                return
            section = Reader(reader.read_string())
            if kind == _CERTIFICATES:
                self._read_certificates(section)
            elif kind == _EXTENSION:
                _refuse_if_critical(section)
            elif kind in (_KEYS, _SHA1, _SHA256):
                into = {_KEYS: self._keys, _SHA1: self._sha1, _SHA256: self._sha256}[kind]
                while section:
                    into.add(section.read_string())
            else:
                raise RevocationError(f"it has a section of an unknown kind ({kind})")

    def _read_certificates(self, section: Reader) -> None:
        ca = section.read_string()
        section.read_string()  # reserved
        certificates = self._by_ca.setdefault(ca, _Certificates())
        readers: dict[int, Callable[[Reader], None]] = {
            _SERIAL_LIST: lambda part: _until_end(
                part, lambda: certificates.serials.add(part.read_uint64())
            ),
            _SERIAL_RANGE: lambda part: certificates.ranges.append(
                (part.read_uint64(), part.read_uint64())
            ),
            _SERIAL_BITMAP: lambda part: certificates.bitmaps.append(
                (part.read_uint64(), int.from_bytes(part.read_string(), "big"))
            ),
            _KEY_ID: lambda part: _until_end(
                part, lambda: certificates.key_ids.add(part.read_string().decode("utf-8"))
            ),
            _CERTIFICATE_EXTENSION: _refuse_if_critical,
        }
        while section:
            kind = section.read_byte()
            if kind not in readers:
                raise RevocationError(f"it has certificates listed in an unknown way ({kind})")
            part = Reader(section.read_string())
            readers[kind](part)
            part.end()

    def _read_text(self, text: str) -> None:
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            key = parse_public_key(line)
            if isinstance(key, KeyRefused):
                raise RevocationError(f"line {number} is not a public key: {key.reason}")
            self._sha256.add(_digest(key.fingerprint))


def parse_revocations(data: bytes) -> Revocations:
    """Parse a list. Raises RevocationError, because a partly understood list would admit revoked keys."""
    revocations = Revocations()
    try:
        if data.startswith(_MAGIC):
            revocations._read_krl(data)
        else:
            revocations._read_text(data.decode("ascii"))
    except TruncatedError as error:
        raise RevocationError(str(error)) from None
    except UnicodeDecodeError:
        raise RevocationError("it is neither a list of ssh-keygen -k nor public keys") from None
    return revocations


def encode_revoked_serials(ca: bytes, serials: Iterable[int], made_at: int) -> bytes:
    """Return a list that revokes certificates by their serials.

    `ca` is the public key of the CA that signed them; if it is empty, they are revoked for every CA.
    `made_at`, seconds since the epoch, is also the list's version.
    """
    krl = _MAGIC + _FORMAT.to_bytes(4, "big")
    krl += made_at.to_bytes(8, "big") * 2  # the list's version, and the time of creation
    krl += bytes(8)  # flags
    krl += encode_string(b"") + encode_string(b"stagedoor")  # reserved, comment
    # PROTOCOL.krl: zero is no serial, and serials are in ascending order.
    ordered = sorted({serial for serial in serials if serial})
    if not ordered:
        return krl
    numbers = b"".join(serial.to_bytes(8, "big") for serial in ordered)
    section = (
        encode_string(ca) + encode_string(b"") + bytes([_SERIAL_LIST]) + encode_string(numbers)
    )
    return krl + bytes([_CERTIFICATES]) + encode_string(section)


def _until_end(part: Reader, read_value: Callable[[], object]) -> None:
    while part:
        read_value()


def _refuse_if_critical(part: Reader) -> None:
    name = part.read_string()
    critical = part.read_byte()
    part.read_string()
    if critical:
        raise RevocationError(f"it has a critical extension that is not understood: {name!r}")


def _digest(fingerprint: str) -> bytes:
    text = fingerprint.removeprefix("SHA256:")
    return b64decode(text + "=" * (-len(text) % 4))
