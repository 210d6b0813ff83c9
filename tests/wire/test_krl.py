"""Revocation lists as ssh-keygen makes them, and damaged ones."""

import contextlib
import subprocess
from base64 import b64decode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.certificate import Certificate
from stagedoor.wire.ssh.krl import (
    RevocationError,
    Revocations,
    encode_revoked_serials,
    parse_revocations,
)
from tests.fixtures.laptop import new_key

OURS, THEIRS = b"our CA", b"another CA"


def certificate(serial: int = 0, key_id: str = "id", ca: bytes = OURS) -> Certificate:
    return Certificate(serial, key_id, ("dev",), 0, 2**64 - 1, ca, "SHA256:x")


def keygen(folder: Path, specification: str, *options: str) -> bytes:
    """Return what `ssh-keygen -k` makes of a specification (ssh-keygen(1), KEY REVOCATION LISTS)."""
    (folder / "spec").write_text(specification)
    command = ["ssh-keygen", "-q", "-k", "-f", folder / "krl", *options, folder / "spec"]
    subprocess.run(command, check=True)
    return (folder / "krl").read_bytes()


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    return new_key(tmp_path / "ca").with_suffix(".pub")


def blob(public: Path) -> bytes:
    return b64decode(public.read_text().split()[1])


@pytest.mark.parametrize(
    ("specification", "revoked", "free"),
    [
        ("serial: 5\nserial: 9\n", {5, 9}, {0, 4, 6, 10}),
        ("serial: 100-300\n", {100, 200, 300}, {99, 301}),
        ("".join(f"serial: {n}\n" for n in range(1, 200, 2)), {1, 3, 199}, {2, 198, 200}),
        ("serial: 1\nserial: 18446744073709551615\n", {1, 2**64 - 1}, {2, 2**64 - 2}),
        (f"serial: {2**63}-{2**63 + 5}\n", {2**63, 2**63 + 5}, {2**63 - 1, 2**63 + 6}),
    ],
)
def test_serials_are_revoked_one_by_one_in_ranges_and_as_bitmaps(
    tmp_path: Path, ca: Path, specification: str, revoked: set[int], free: set[int]
) -> None:
    revocations = parse_revocations(keygen(tmp_path, specification, "-s", str(ca)))
    authority = blob(ca)
    for serial in revoked:
        assert revocations.has_certificate(certificate(serial, ca=authority)), serial
        assert not revocations.has_certificate(certificate(serial, ca=THEIRS)), serial
    for serial in free:
        assert not revocations.has_certificate(certificate(serial, ca=authority)), serial


def test_key_ids_are_revoked_and_a_list_without_a_CA_holds_for_every_CA(
    tmp_path: Path,
) -> None:
    revocations = parse_revocations(keygen(tmp_path, "id: stolen laptop\n", "-s", "none"))
    assert revocations.has_certificate(certificate(key_id="stolen laptop"))
    assert revocations.has_certificate(certificate(key_id="stolen laptop", ca=THEIRS))
    assert not revocations.has_certificate(certificate(key_id="stolen"))


@pytest.mark.parametrize("how", ["key: ", "sha1: ", "sha256: "])
def test_keys_are_revoked_whole_or_by_their_hash_and_a_CA_takes_its_certificates_along(
    tmp_path: Path, ca: Path, how: str
) -> None:
    revocations = parse_revocations(keygen(tmp_path, how + ca.read_text()))
    assert revocations.has_key(blob(ca))
    assert not revocations.has_key(blob(ca) + b"x")
    assert revocations.has_certificate(certificate(ca=blob(ca)))


def test_public_keys_as_text_are_a_list_too(ca: Path) -> None:
    revocations = parse_revocations(b"# stolen\n\n" + ca.read_bytes())
    assert revocations.has_key(blob(ca))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"ssh-ed25519 damaged\n", "line 1 is not a public key"),
        (b"\xff\xfe", "neither"),
        (b"SSHKRL\n\0", "too early"),
        (b"SSHKRL\n\0\0\0\0\x02" + bytes(40), "version 1"),
        (b"SSHKRL\n\0\0\0\0\x01" + bytes(32) + b"\x09\0\0\0\0", "unknown kind"),
    ],
)
def test_a_list_that_is_not_understood_is_an_error_and_never_half_a_list(
    data: bytes, why: str
) -> None:
    with pytest.raises(RevocationError, match=why):
        parse_revocations(data)


@given(st.binary(max_size=300).map(lambda tail: b"SSHKRL\n\0\0\0\0\x01" + bytes(32) + tail))
def test_any_bytes_give_a_list_or_the_one_error(data: bytes) -> None:
    with contextlib.suppress(RevocationError):
        assert isinstance(parse_revocations(data), Revocations)


@given(st.sets(st.integers(0, 2**63 - 1), max_size=50), st.integers(0, 2**63 - 1))
def test_what_is_written_reads_back(serials: set[int], other: int) -> None:
    revocations = parse_revocations(encode_revoked_serials(OURS, serials, 1_800_000_000))
    for serial in serials | {other}:
        revoked = serial in serials and serial != 0
        assert revocations.has_certificate(certificate(serial)) == revoked
        assert not revocations.has_certificate(certificate(serial, ca=THEIRS))
        of_any = parse_revocations(encode_revoked_serials(b"", serials, 0))
        assert of_any.has_certificate(certificate(serial, ca=THEIRS)) == revoked
