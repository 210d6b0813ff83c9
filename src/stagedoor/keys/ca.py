"""A certificate authority for OpenSSH (PROTOCOL.certkeys), which signs with a key file or an agent's key."""

import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from stagedoor.keys.files import PrivateKey, format_public_line
from stagedoor.model.certificate import ALL_EXTENSIONS, SIGN_IN_KEY_ID
from stagedoor.model.errors import StagedoorError
from stagedoor.model.units import MINUTE_S
from stagedoor.wire.ssh.blob import encode_string
from stagedoor.wire.ssh.certificate import HOST, USER, UnsignedCertificate
from stagedoor.wire.ssh.key import KeyRefused, parse_public_key

_FOREVER = 2**64 - 1
"""`valid before` of a certificate that never expires (PROTOCOL.certkeys)."""
_CLOCK_SKEW_S = 5 * MINUTE_S
_NONCE_BYTES = 32


class SigningKey(Protocol):
    """A key that can sign. `line` is the public key, `type base64`; `blob` is the same, decoded."""

    @property
    def line(self) -> str:
        """Return the public key, `type base64`."""
        ...

    @property
    def blob(self) -> bytes:
        """Return the public key as a blob (RFC 4253 §6.6)."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return a signature over `data` in SSH's form (RFC 4253 §6.6). May block. Raises StagedoorError."""
        ...


class _FileKey:
    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.line = format_public_line(key)
        self.blob = b64decode(self.line.split()[1])

    def sign(self, data: bytes) -> bytes:
        return encode_string(b"ssh-ed25519") + encode_string(self._key.sign(data))


class CertificateAuthority:
    """Signs host and user keys. `now` returns seconds since the epoch.

    `principal_prefix` precedes each user's name in a user certificate (`keys.principal_prefix`). Serial
    numbers are random, 63 bits, so that several processes with the same key need no coordination.
    """

    def __init__(
        self,
        key: PrivateKey | SigningKey,
        now: Callable[[], float],
        principal_prefix: str = "",
    ) -> None:
        self._key: SigningKey = _FileKey(key) if isinstance(key, PrivateKey) else key
        self._now = now
        self._prefix = principal_prefix

    def format_public_line(self) -> str:
        """Return the CA's public key, for `TrustedUserCAKeys` or after `@cert-authority PATTERN`."""
        return self._key.line

    def sign_host(self, public_key: str, principals: Sequence[str], valid_s: float) -> str:
        """Return a host certificate as one line: `ssh-ed25519-cert-v01@openssh.com AAAA…`.

        `public_key` is `type base64`. `principals` are the names that clients may connect to; at least
        one is required, because a host certificate without principals is valid for every name. Raises
        StagedoorError for a key that cannot be signed.
        """
        key_id = f"host {principals[0]}" if principals else ""
        return self._sign(HOST, public_key, key_id, principals, self._now() + valid_s)

    def sign_user(
        self,
        public_key: str,
        identity: str,
        users: Sequence[str],
        valid_s: float,
        *,
        extensions: Sequence[str] = tuple(sorted(ALL_EXTENSIONS)),
        critical_options: Mapping[str, str] | None = None,
    ) -> str:
        """Return a user certificate for the names `users`; `identity` is its key id, which sshd logs.

        `critical_options` may be `{"source-address": "192.0.2.0/24"}` or `{"force-command": "…"}`.

        Raises StagedoorError.
        """
        return self._sign(
            USER,
            public_key,
            identity,
            [self._prefix + user for user in users],
            self._now() + valid_s,
            extensions=extensions,
            critical_options=critical_options or {},
        )

    def sign_sign_in(
        self,
        public_key: str,
        user: str,
        serial: int,
        valid_before: float,
        extensions: Collection[str],
    ) -> str:
        """Return a certificate for the key of a sign-in, valid for `user` alone.

        `serial` is the number of the sign-in. `valid_before` is seconds since the epoch. Raises
        StagedoorError.
        """
        return self._sign(
            USER,
            public_key,
            f"{SIGN_IN_KEY_ID}{serial} of {user}",
            [self._prefix + user],
            valid_before,
            serial=serial,
            extensions=sorted(extensions),
        )

    def _sign(
        self,
        kind: int,
        public_key: str,
        key_id: str,
        principals: Sequence[str],
        valid_before: float,
        *,
        serial: int | None = None,
        extensions: Sequence[str] = (),
        critical_options: Mapping[str, str] | None = None,
    ) -> str:
        if not principals:
            raise StagedoorError("a certificate needs at least one principal; name one")
        unsigned = UnsignedCertificate(
            kind,
            _blob(public_key),
            secrets.token_bytes(_NONCE_BYTES),
            secrets.randbits(63) if serial is None else serial,
            key_id,
            principals,
            int(self._now() - _CLOCK_SKEW_S),
            int(valid_before),
            extensions,
            critical_options or {},
        )
        signed = unsigned.to_sign(self._key.blob)
        blob = signed + encode_string(self._key.sign(signed))
        return f"{unsigned.type} {b64encode(blob).decode('ascii')}"


def _blob(public_key: str) -> bytes:
    key = parse_public_key(public_key)
    if isinstance(key, KeyRefused):
        raise StagedoorError(
            f"this key cannot be certified (ssh-keygen -t ed25519 makes one): {key.reason}"
        )
    return b64decode(key.line.split()[1])


def read_certificate_end(line: bytes) -> float | None:
    """Return the end of a certificate's validity in seconds since the epoch, or None if it never expires.

    `line` is the certificate's public line. Raises ValueError for anything else.
    """
    try:
        certificate = load_ssh_public_identity(line)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    if not isinstance(certificate, SSHCertificate):
        raise ValueError("a plain key, and no certificate")
    return None if certificate.valid_before >= _FOREVER else float(certificate.valid_before)
