"""`stagedoor ca`: what it prints and signs, held to ssh-keygen."""

import subprocess
from pathlib import Path

import pytest

from stagedoor.keys.files import KeyFileError, read_public_line
from stagedoor.model.errors import SettingsError
from stagedoor.serve.prepare import prepare
from stagedoor.settings.file import load_settings
from tests.cli.conftest import Desk
from tests.fixtures.laptop import new_key


@pytest.fixture
def prepared(desk: Desk) -> Desk:
    """An installation whose gateway has been started once."""
    prepare(load_settings(desk.settings_file))
    return desk


def shown(certificate: Path) -> str:
    return subprocess.run(
        ["ssh-keygen", "-L", "-f", certificate], check=True, capture_output=True, text=True
    ).stdout


def key(folder: Path, name: str) -> Path:
    return new_key(folder / name)


@pytest.mark.parametrize(
    "argv",
    [
        ("ca", "show", "host"),
        ("ca", "show", "user"),
        ("ca", "sign-host", "--name", "x"),
        ("app", "list"),
    ],
    ids=" ".join,
)
def test_no_command_makes_a_ca(desk: Desk, tmp_path: Path, argv: tuple[str, ...]) -> None:
    """As a developer runs them on a laptop, or an account that is not the gateway's."""
    desk.settings_file.write_text(f'data_dir = "{desk.data_dir}"\n[[shells.local]]\napp = "a"\n')
    file = [str(key(tmp_path, "host"))] if "sign-host" in argv else []
    if argv == ("app", "list"):
        assert "local" in desk.out(*argv)
    else:
        with pytest.raises(SettingsError, match=r"there is no (host|user) CA.*stagedoor serve"):
            desk.out(*argv, *file)
    assert not (desk.data_dir / "keys").exists()


def test_both_public_keys_are_shown(prepared: Desk, tmp_path: Path) -> None:
    desk = prepared
    host, user = desk.out("ca", "show", "host"), desk.out("ca", "show", "user")
    assert host.endswith(" stagedoor host CA\n")
    assert user.endswith(" stagedoor user CA\n")
    assert host.split()[1] != user.split()[1]
    other = key(tmp_path, "other")
    assert (
        desk.out("ca", "show", "host", "--ca", str(other)).split()[1]
        == (read_public_line(tmp_path / "other.pub").split()[1])
    )


@pytest.mark.parametrize("half", ["", ".pub"])
def test_a_host_key_is_signed_from_either_half(prepared: Desk, tmp_path: Path, half: str) -> None:
    desk = prepared
    host = key(tmp_path, "host")
    output = tmp_path / "cert.pub"
    names = ["--name", "app01.ssh", "--name", "app01-ssh"]
    assert desk.out("ca", "sign-host", *names, "--output", str(output), f"{host}{half}") == ""
    seen = shown(output)
    assert "host certificate" in seen
    assert [line.strip() for line in seen.splitlines() if "app01" in line][-2:] == [
        "app01.ssh",
        "app01-ssh",
    ]


def test_a_gateway_with_the_public_half_shows_it_and_signs_nothing(
    desk: Desk, tmp_path: Path
) -> None:
    ca = key(tmp_path, "ca")
    desk.settings_file.write_text(
        f'data_dir = "{desk.data_dir}"\n[keys]\nhost_ca_file = "{ca}.pub"\n'
    )
    assert (
        desk.out("ca", "show", "host").split()[1]
        == read_public_line(tmp_path / "ca.pub").split()[1]
    )
    with pytest.raises(SettingsError, match="is its public half"):
        desk.out("ca", "sign-host", "--name", "x", f"{ca}.pub")
    signed = desk.out("ca", "sign-host", "--ca", str(ca), "--name", "x", f"{ca}.pub")
    assert signed.startswith("ssh-ed25519-cert-v01@openssh.com ")


def test_what_cannot_be_signed_is_named(prepared: Desk, tmp_path: Path) -> None:
    desk = prepared
    with pytest.raises(SettingsError, match="no key file"):
        desk.out("ca", "sign-host", "--name", "x", str(tmp_path / "none"))
    (tmp_path / "bad").write_text("nonsense")
    (tmp_path / "bad").chmod(0o600)
    with pytest.raises(KeyFileError, match="bad"):
        desk.out("ca", "sign-host", "--name", "x", str(tmp_path / "bad"))
