"""The keys and certificates that clients offer, and the proof that they have the private key.

This is the only cryptography of a login that asyncssh does not do itself; `authn` decides whose key a key is.
"""

from base64 import b64encode
from dataclasses import dataclass
from functools import partial

import asyncssh

from stagedoor.model.certificate import ALL_EXTENSIONS, FORCE_COMMAND, VERIFY_REQUIRED
from stagedoor.model.credential import Credential, KeyCredential
from stagedoor.model.identity import Identity
from stagedoor.wire.ssh.blob import Reader, TruncatedError, format_fingerprint
from stagedoor.wire.ssh.certificate import SignedCertificate, is_certificate, parse_certificate
from stagedoor.wire.ssh.key import PublicKey, parse_public_key

# No `ssh-rsa`: that is RSA with SHA-1 (RFC 8332 §1), which asyncssh would still verify.
SIGNATURE_ALGORITHMS = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
NO_TOUCH = "no-touch-required"
_USER_VERIFIED = 0x04
"""The flag in a security key's signature for a verified PIN or fingerprint (WebAuthn §6.1)."""


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A key or certificate that a client has offered. `key` is asyncssh's, and only verifies."""

    credential: KeyCredential
    key: asyncssh.SSHKey

    @property
    def line(self) -> str:
        """Return the key as `type base64`."""
        blob = self.credential.key
        return f"{Reader(blob).read_string().decode('ascii')} {b64encode(blob).decode('ascii')}"

    @property
    def permitted_extensions(self) -> frozenset[str]:
        """Return the extensions of the certificate, or all of them for a plain key."""
        certificate = self.credential.certificate
        return ALL_EXTENSIONS if certificate is None else certificate.extensions & ALL_EXTENSIONS

    @property
    def force_command(self) -> str | None:
        """Return the command that the certificate forces, or None."""
        certificate = self.credential.certificate
        return certificate.critical_options.get(FORCE_COMMAND) if certificate else None


@dataclass(frozen=True, slots=True)
class VerifiedCredential:
    """The identity verified last, with its login name and its credential."""

    identity: Identity
    login_name: str
    credential: Credential
    key: ClientKey | None = None


def read_offered_key(login_name: str, blob: bytes) -> ClientKey | None:
    """Read the key of a publickey request (RFC 4252 §7). Return None for a kind that is not accepted."""
    signed = None
    if is_certificate(blob):
        signed = parse_certificate(blob)
        if signed is None:
            return None
        blob = signed.key
    key = _key(blob)
    if key is None:
        return None
    certificate = signed.certificate if signed else None
    credential = KeyCredential(
        login_name, blob, format_fingerprint(blob), certificate, partial(_is_signed_by_ca, signed)
    )
    return ClientKey(credential, key)


def is_signed_by_owner(offered: ClientKey, message: bytes, signature: bytes) -> bool:
    """Return whether `signature` over `message` was made with the private key.

    A security key must have been touched, unless its certificate has no-touch-required
    (PROTOCOL.certkeys). A registered key cannot have that option.
    """
    certificate = offered.credential.certificate
    untouched = certificate is not None and NO_TOUCH in certificate.extensions
    offered.key.set_touch_required(not untouched)
    if not _verify(offered.key, message, signature):
        return False
    wants_pin = certificate is not None and VERIFY_REQUIRED in certificate.critical_options
    # As in sshd(8), the option applies to security keys only.
    return not wants_pin or not _is_security_key(signature) or is_user_verified(signature)


def is_user_verified(signature: bytes) -> bool:
    """Return whether a security key verified its user, by a PIN or a fingerprint, for this signature.

    The caller has verified the signature, which includes the flags. PROTOCOL.u2f: string algorithm, string
    signature, byte flags, uint32 counter.
    """
    if not _is_security_key(signature):
        return False
    reader = Reader(signature)
    reader.read_string()
    reader.read_string()
    return bool(reader.read_byte() & _USER_VERIFIED)


def _is_signed_by_ca(signed: SignedCertificate | None) -> bool:
    if signed is None:
        return False
    ca = _key(signed.certificate.ca)
    return ca is not None and _verify(ca, signed.signed_bytes, signed.signature)


def _key(blob: bytes) -> asyncssh.SSHKey | None:
    """Return the key in `blob`, or None if its type or size could not be registered."""
    try:
        key_type = Reader(blob).read_string().decode("ascii")
    except (TruncatedError, UnicodeDecodeError):
        return None
    parsed = parse_public_key(f"{key_type} {b64encode(blob).decode('ascii')}")
    if not isinstance(parsed, PublicKey):
        return None
    try:
        return asyncssh.import_public_key(parsed.line)
    except asyncssh.KeyImportError:
        return None


def _verify(key: asyncssh.SSHKey, message: bytes, signature: bytes) -> bool:
    try:
        algorithm = Reader(signature).read_string().decode("ascii")
    except (TruncatedError, UnicodeDecodeError):
        return False
    return algorithm in SIGNATURE_ALGORITHMS and key.verify(message, signature)


def _is_security_key(signature: bytes) -> bool:
    return Reader(signature).read_string().startswith(b"sk-")
