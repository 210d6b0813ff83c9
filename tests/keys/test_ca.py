"""Certificates as OpenSSH itself reads them."""

import subprocess
import time
from pathlib import Path

import pytest

from stagedoor.keys.ca import CertificateAuthority
from stagedoor.keys.files import load_or_create
from stagedoor.model.errors import StagedoorError
from tests.fixtures.laptop import new_key, public


@pytest.fixture
def ca(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(load_or_create(tmp_path / "ca"), time.time)


def public_key(folder: Path, name: str, *options: str) -> str:
    """Return the public half of a new key, without its comment."""
    return " ".join(public(new_key(folder / name, *options)).split()[:2])


def shown(folder: Path, certificate: str, keygen: str = "ssh-keygen") -> list[str]:
    path = folder / "shown-cert.pub"
    path.write_text(certificate + "\n")
    listing = subprocess.run([keygen, "-L", "-f", path], check=True, capture_output=True, text=True)
    return [line.strip() for line in listing.stdout.splitlines()]


@pytest.mark.parametrize("kind", [["-t", "ed25519"], ["-t", "ecdsa"], ["-t", "rsa", "-b", "2048"]])
def test_ssh_keygen_reads_a_user_certificate_of_each_kind_of_key(
    tmp_path: Path, ca: CertificateAuthority, kind: list[str]
) -> None:
    certificate = ca.sign_user(
        public_key(tmp_path, "id", *kind),
        "dev",
        ["dev", "crew"],
        3600,
        extensions=["permit-pty"],
        critical_options={"source-address": "192.0.2.0/24"},
    )
    lines = shown(tmp_path, certificate)
    assert any("user certificate" in line for line in lines)
    assert 'Key ID: "dev"' in lines
    principals = lines.index("Principals:")
    assert lines[principals + 1 : principals + 3] == ["dev", "crew"]
    assert "source-address 192.0.2.0/24" in lines
    assert lines[-1] == "permit-pty"
    listed = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "ca.pub"], check=True, capture_output=True, text=True
    )
    assert any(listed.stdout.split()[1] in line for line in lines if line.startswith("Signing CA"))


def test_serials_differ(tmp_path: Path, ca: CertificateAuthority) -> None:
    key = public_key(tmp_path, "id")
    serials = {
        next(line for line in shown(tmp_path, cert) if line.startswith("Serial"))
        for cert in (ca.sign_user(key, "dev", ["dev"], 60) for _ in range(3))
    }
    assert len(serials) == 3


def test_a_host_certificate_holds_for_its_names_and_has_no_extensions(
    tmp_path: Path, ca: CertificateAuthority
) -> None:
    lines = shown(tmp_path, ca.sign_host(public_key(tmp_path, "h"), ["app01.ssh", "app01-ssh"], 60))
    assert any("host certificate" in line for line in lines)
    assert "Extensions: (none)" in lines
    assert "Critical Options: (none)" in lines
    assert "app01-ssh" in lines


def test_a_certificate_for_everybody_or_every_host_is_never_made(
    tmp_path: Path, ca: CertificateAuthority
) -> None:
    key = public_key(tmp_path, "id")
    with pytest.raises(StagedoorError, match="principal"):
        ca.sign_host(key, [], 60)
    with pytest.raises(StagedoorError, match="principal"):
        ca.sign_user(key, "dev", [], 60)


@pytest.mark.parametrize("line", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "rubbish in here"])
def test_what_is_no_key_is_not_certified(ca: CertificateAuthority, line: str) -> None:
    with pytest.raises(StagedoorError, match="ssh-keygen"):
        ca.sign_user(line, "dev", ["dev"], 60)


def test_validity_starts_a_little_early_and_ends_on_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    ca = CertificateAuthority(load_or_create(tmp_path / "ca"), lambda: 1_800_000_000.5)
    lines = shown(tmp_path, ca.sign_user(public_key(tmp_path, "id"), "dev", ["dev"], 600))
    assert "Valid: from 2027-01-15T07:55:00 to 2027-01-15T08:10:00" in lines
