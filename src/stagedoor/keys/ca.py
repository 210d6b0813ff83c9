"""A certificate authority: OpenSSH certificates (PROTOCOL.certkeys), signed with ed25519."""

import secrets
from collections.abc import Callable, Mapping, Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_public_key,
)

from stagedoor.keys.files import public_line
from stagedoor.model.errors import StagedoorError
from stagedoor.model.units import MINUTE_S

USER_EXTENSIONS = ("permit-agent-forwarding", "permit-port-forwarding", "permit-pty")
"""What a user certificate allows unless told otherwise; a shell may allow less."""

_CLOCK_SKEW_S = 5 * MINUTE_S


class CertificateAuthority:
    """Signs host and user keys. `now` gives seconds since the epoch.

    Serial numbers are random, 63 bits, so that several processes with one key need not agree.
    """

    def __init__(self, key: Ed25519PrivateKey, now: Callable[[], float]) -> None:
        self._key = key
        self._now = now

    def public_line(self) -> str:
        """The CA's public key, for `TrustedUserCAKeys` or after `@cert-authority PATTERN`."""
        return public_line(self._key)

    def sign_host(self, public_key: str, principals: Sequence[str], valid_s: float) -> str:
        """A host certificate, one line: `ssh-ed25519-cert-v01@openssh.com AAAA…`.

        `public_key` is `type base64`; `principals` are the names that clients may ask for, of
        which there must be one: a host certificate without any holds for every name. Raises
        StagedoorError for a key that cannot be signed.
        """
        key_id = f"host {principals[0]}" if principals else ""
        return self._sign(SSHCertificateType.HOST, public_key, key_id, principals, valid_s, (), {})

    def sign_user(
        self,
        public_key: str,
        identity: str,
        principals: Sequence[str],
        valid_s: float,
        *,
        extensions: Sequence[str] = USER_EXTENSIONS,
        critical_options: Mapping[str, str] | None = None,
    ) -> str:
        """A user certificate; `identity` is its key id, which sshd writes to its log.

        `critical_options` are such as `{"source-address": "192.0.2.0/24"}` and
        `{"force-command": "…"}`. Raises StagedoorError.
        """
        return self._sign(
            SSHCertificateType.USER,
            public_key,
            identity,
            principals,
            valid_s,
            extensions,
            critical_options or {},
        )

    def _sign(
        self,
        kind: SSHCertificateType,
        public_key: str,
        key_id: str,
        principals: Sequence[str],
        valid_s: float,
        extensions: Sequence[str],
        critical_options: Mapping[str, str],
    ) -> str:
        if not principals:
            raise StagedoorError("a certificate needs at least one principal; name one")
        now = self._now()
        builder = (
            SSHCertificateBuilder()
            .type(kind)
            .public_key(_loaded(public_key))
            .serial(secrets.randbits(63))
            .key_id(key_id.encode())
            .valid_principals([name.encode() for name in principals])
            .valid_after(int(now - _CLOCK_SKEW_S))
            .valid_before(int(now + valid_s))
        )
        # PROTOCOL.certkeys: both lists are in lexical order.
        for name in sorted(extensions):
            builder = builder.add_extension(name.encode(), b"")
        for name, value in sorted(critical_options.items()):
            builder = builder.add_critical_option(name.encode(), value.encode())
        return builder.sign(self._key).public_bytes().decode("ascii")


def _loaded(public_key: str) -> Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey:
    try:
        key = load_ssh_public_key(public_key.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise StagedoorError(
            "this is no OpenSSH public key that can be certified; make one with: "
            "ssh-keygen -t ed25519"
        ) from None
    if not isinstance(key, Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey):
        raise StagedoorError("DSA keys are not certified; make another with: ssh-keygen -t ed25519")
    return key
