"""Who signed this? OpenSSH makes the signatures, of each kind of key that may be registered."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.keys.signing import (
    Signature,
    encode_signed,
    find_signing_key,
    format_signature,
    read_signature,
)
from stagedoor.wire.ssh.blob import encode_string

SPACE, MESSAGE = "key@stagedoor", b"a message"
TOUCHED, UNTOUCHED = 0x01, 0x00


def made(folder: Path, *kind: str) -> tuple[Path, str]:
    """A key's file, and its fingerprint."""
    file = folder / "key"
    subprocess.run(["ssh-keygen", "-qN", "", "-f", file, *kind], check=True)
    shown = subprocess.run(["ssh-keygen", "-lf", file], capture_output=True, text=True, check=True)
    return file, shown.stdout.split()[1]


def sign(file: Path, *options: str, message: bytes = MESSAGE) -> str:
    argv = ["ssh-keygen", "-Y", "sign", "-f", str(file), "-n", SPACE, *options]
    return subprocess.run(argv, input=message, capture_output=True, check=True).stdout.decode()


@pytest.mark.parametrize(
    "kind",
    [
        ("-t", "ed25519"),
        ("-t", "rsa", "-b", "2048"),
        *(("-t", "ecdsa", "-b", bits) for bits in ("256", "384", "521")),
    ],
    ids=lambda kind: "-".join(kind[1::2]),
)
def test_a_key_of_each_kind_shows_who_holds_it(tmp_path: Path, kind: tuple[str, ...]) -> None:
    file, fingerprint = made(tmp_path, *kind)
    for options in ((), ("-O", "hashalg=sha256")):
        text = sign(file, *options)
        for way in (text, text.replace("\n", "\r\n"), f"\n{text}\n  "):
            key = find_signing_key(way, SPACE, MESSAGE, None)
            assert key is not None
            assert key.fingerprint == fingerprint
        assert find_signing_key(text, SPACE, b"another message", None) is None
        assert find_signing_key(text, "login@stagedoor", MESSAGE, None) is None
        assert (find_signing_key(text, SPACE, MESSAGE) is not None) == ("ed25519" in kind)


def test_a_signature_is_of_one_key_and_whole(tmp_path: Path) -> None:
    file, _ = made(tmp_path, "-t", "ed25519")
    text = sign(file)
    good = read_signature(text)
    assert format_signature(good) == text
    (tmp_path / "other").mkdir()
    other, _ = made(tmp_path / "other", "-t", "ed25519")
    stranger = read_signature(sign(other))
    bad = [
        Signature(good.key, SPACE, stranger.signature),
        Signature(stranger.key, SPACE, good.signature),
        Signature(good.key, SPACE, good.signature + b"x"),
        Signature(good.key, SPACE, good.signature[:-1]),
        Signature(good.key, SPACE, encode_string(b"ssh-rsa") + encode_string(good.signature[-64:])),
        Signature(good.key + b"x", SPACE, good.signature),
        Signature(encode_string(b"ssh-dss"), SPACE, good.signature),
        Signature(b"", SPACE, b""),
    ]
    for one in bad:
        assert find_signing_key(format_signature(one), SPACE, MESSAGE, None) is None


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_anything_may_be_in_a_signature(key: bytes, signature: bytes) -> None:
    assert (
        find_signing_key(format_signature(Signature(key, SPACE, signature)), SPACE, MESSAGE, None)
        is None
    )


@pytest.mark.parametrize("flags", [TOUCHED, UNTOUCHED], ids=["touched", "untouched"])
@pytest.mark.parametrize("curve", [False, True], ids=["sk-ed25519", "sk-ecdsa"])
def test_a_security_key_has_to_be_touched(tmp_path: Path, curve: bool, flags: int) -> None:
    """No machine of tests has one: made here as PROTOCOL.u2f says, and shown to ssh-keygen as well."""
    application, counter = b"ssh:", (7).to_bytes(4)
    signed = encode_signed(MESSAGE, SPACE)
    covered = hashlib.sha256(application).digest() + bytes([flags]) + counter
    covered += hashlib.sha256(signed).digest()
    if curve:
        pair = ec.generate_private_key(ec.SECP256R1())
        point = pair.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        kind, fields = (
            b"sk-ecdsa-sha2-nistp256@openssh.com",
            encode_string(b"nistp256") + encode_string(point),
        )
        numbers = utils.decode_dss_signature(pair.sign(covered, ec.ECDSA(hashes.SHA256())))
        raw = b"".join(encode_string(n.to_bytes(n.bit_length() // 8 + 1)) for n in numbers)
    else:
        edwards = Ed25519PrivateKey.generate()
        point = edwards.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        kind, fields, raw = (
            b"sk-ssh-ed25519@openssh.com",
            encode_string(point),
            edwards.sign(covered),
        )
    key = encode_string(kind) + fields + encode_string(application)
    text = format_signature(
        Signature(key, SPACE, encode_string(kind) + encode_string(raw) + bytes([flags]) + counter)
    )
    signing_key = find_signing_key(text, SPACE, MESSAGE, None)
    assert (signing_key is not None) == (flags == TOUCHED)
    (tmp_path / "sig").write_text(text)
    argv = ["ssh-keygen", "-Y", "check-novalidate", "-n", SPACE, "-s", str(tmp_path / "sig")]
    done = subprocess.run(argv, input=MESSAGE, capture_output=True)
    assert done.returncode == 0, "it holds; that nobody touched the key, ssh-keygen does not mind"
