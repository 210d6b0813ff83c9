"""The cryptography of a login: signatures of owners, of CAs and of security keys."""

import hashlib
import subprocess
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.keys.ca import CertificateAuthority
from stagedoor.listeners.ssh.credentials import (
    is_signed_by_owner,
    is_user_verified,
    read_offered_key,
)
from stagedoor.wire.ssh.blob import encode_string
from tests.fixtures.laptop import new_key

SK = b"sk-ssh-ed25519@openssh.com"
TOUCHED, VERIFIED = 0x01, 0x04
MESSAGE = b"session id and request"


class SecurityKey:
    """A FIDO authenticator (OpenSSH's PROTOCOL.u2f), in software."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.blob = (
            encode_string(SK)
            + encode_string(self._key.public_key().public_bytes_raw())
            + encode_string(b"ssh:")
        )

    def sign(self, message: bytes, flags: int) -> bytes:
        counter = (7).to_bytes(4, "big")
        signed = hashlib.sha256(b"ssh:").digest() + bytes([flags]) + counter
        signature = self._key.sign(signed + hashlib.sha256(message).digest())
        return encode_string(SK) + encode_string(signature) + bytes([flags]) + counter


def certify(folder: Path, blob: bytes, *options: str) -> bytes:
    """Return a certificate of a new CA for the key `blob`, made by ssh-keygen."""
    ca = new_key(folder / "ca")
    kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode()
    file = folder / "sk.pub"
    file.write_text(f"{kind} {b64encode(blob).decode()}\n")
    command = ["ssh-keygen", "-q", "-s", ca, "-I", "id", "-n", "dev", *options, file]
    subprocess.run(command, check=True)
    return b64decode((folder / "sk-cert.pub").read_text().split()[1])


def test_a_security_key_lets_in_only_when_it_was_touched() -> None:
    key = SecurityKey()
    shown = read_offered_key("dev", key.blob)
    assert shown is not None
    assert is_signed_by_owner(shown, MESSAGE, key.sign(MESSAGE, TOUCHED))
    assert not is_signed_by_owner(shown, MESSAGE, key.sign(MESSAGE, 0))
    assert not is_signed_by_owner(shown, b"another", key.sign(MESSAGE, TOUCHED))


def test_a_certificate_may_say_that_its_security_key_need_not_be_touched(tmp_path: Path) -> None:
    key = SecurityKey()
    shown = read_offered_key("dev", certify(tmp_path, key.blob, "-O", "no-touch-required"))
    assert shown is not None
    assert shown.credential.is_signed_by_ca()
    assert is_signed_by_owner(shown, MESSAGE, key.sign(MESSAGE, 0))


def test_a_certificate_may_demand_that_its_security_key_asked_for_a_PIN(tmp_path: Path) -> None:
    key = SecurityKey()
    shown = read_offered_key("dev", certify(tmp_path, key.blob, "-O", "verify-required"))
    assert shown is not None
    assert not is_signed_by_owner(shown, MESSAGE, key.sign(MESSAGE, TOUCHED))
    assert is_signed_by_owner(shown, MESSAGE, key.sign(MESSAGE, TOUCHED | VERIFIED))


def test_no_byte_of_a_certificate_can_be_changed_under_its_CAs_signature(tmp_path: Path) -> None:
    blob = certify(tmp_path, SecurityKey().blob)
    forged = blob.replace(
        encode_string(encode_string(b"dev")), encode_string(encode_string(b"bob"))
    )
    assert forged != blob
    shown = read_offered_key("dev", forged)
    assert shown is not None
    assert shown.credential.certificate is not None
    assert shown.credential.certificate.principals == ("bob",)
    assert not shown.credential.is_signed_by_ca()


CERTIFICATE = b64decode(
    CertificateAuthority(Ed25519PrivateKey.generate(), lambda: 1_700_000_000.0)
    .sign_user(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFs9fb08HB9TbXYSQWC/0RsXIRrZkDTI+vKMTI7zHePp",
        "dev",
        ["dev"],
        3600,
        critical_options={"source-address": "127.0.0.1"},
    )
    .split()[1]
)


@given(st.integers(0, len(CERTIFICATE) - 1), st.integers(1, 255))
def test_a_certificate_with_any_byte_changed_is_none_or_is_not_its_CAs(at: int, flip: int) -> None:
    mutated = bytearray(CERTIFICATE)
    mutated[at] ^= flip
    shown = read_offered_key("dev", bytes(mutated))
    assert shown is None or not shown.credential.is_signed_by_ca()


@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda tail: CERTIFICATE[:100] + tail))
def test_any_bytes_at_all_are_a_key_or_none(blob: bytes) -> None:
    read_offered_key("dev", blob)


@pytest.mark.parametrize(
    "signature", [b"", b"\0\0", encode_string(b"ssh-ed25519"), encode_string(b"ssh-rsa") * 2]
)
def test_a_damaged_signature_is_only_a_wrong_one(signature: bytes) -> None:
    shown = read_offered_key("dev", SecurityKey().blob)
    assert shown is not None
    assert not is_signed_by_owner(shown, MESSAGE, signature)


@pytest.mark.identity(35)
def test_only_a_security_key_says_that_it_asked_its_person() -> None:
    key = SecurityKey()
    assert is_user_verified(key.sign(MESSAGE, TOUCHED | VERIFIED))
    assert not is_user_verified(key.sign(MESSAGE, TOUCHED))
    plain = encode_string(b"ssh-ed25519") + encode_string(bytes(64))
    assert not is_user_verified(plain)
    assert not is_user_verified(plain + bytes([VERIFIED]) + bytes(4)), (
        "flags behind another signature"
    )


def test_the_flags_of_a_signature_cannot_be_changed() -> None:
    key = SecurityKey()
    shown = read_offered_key("dev", key.blob)
    assert shown is not None
    signature = bytearray(key.sign(MESSAGE, TOUCHED))
    signature[-5] |= VERIFIED
    assert not is_signed_by_owner(shown, MESSAGE, bytes(signature))
