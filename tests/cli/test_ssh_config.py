"""`stagedoor ssh-config`: it trusts the host CA that it is given or that is a gateway's, and makes none."""

from pathlib import Path

import click
import pytest

from stagedoor.keys.files import format_public_line, load_or_create
from stagedoor.model.errors import SettingsError
from stagedoor.serve.prepare import prepare
from stagedoor.settings.file import load_settings
from tests.cli.conftest import Desk

GATEWAY = ("ssh-config", "--gateway", "127.0.0.1:8022", "--directory")


def test_a_laptop_without_a_host_ca_makes_none_and_is_told_what_to_fetch(
    desk: Desk, tmp_path: Path
) -> None:
    folder = tmp_path / "ssh"
    with pytest.raises(SettingsError, match=r"ask an administrator .* --host-ca FILE"):
        desk.out(*GATEWAY, str(folder))
    assert not desk.data_dir.exists()
    assert not folder.exists()


def test_a_good_known_hosts_stays_as_it_is(desk: Desk, tmp_path: Path) -> None:
    folder, ca = tmp_path / "ssh", tmp_path / "ca"
    load_or_create(ca)
    desk.out(*GATEWAY, str(folder), "--host-ca", f"{ca}.pub")
    before = (folder / "known_hosts").read_bytes()
    with pytest.raises(SettingsError, match="--host-ca"):
        desk.out(*GATEWAY, str(folder))
    assert (folder / "known_hosts").read_bytes() == before


def test_another_ca_than_the_known_hosts_has_must_be_named(desk: Desk, tmp_path: Path) -> None:
    """A developer of one gateway who runs a gateway of their own on the same machine."""
    folder, ca = tmp_path / "ssh", tmp_path / "ca"
    load_or_create(ca)
    desk.out(*GATEWAY, str(folder), "--host-ca", f"{ca}.pub")
    before = (folder / "known_hosts").read_bytes()
    settings = load_settings(desk.settings_file)
    prepare(settings)
    with pytest.raises(SettingsError, match=r"another host CA.*--host-ca"):
        desk.out(*GATEWAY, str(folder))
    assert (folder / "known_hosts").read_bytes() == before
    desk.out(*GATEWAY, str(folder), "--host-ca", f"{settings.host_ca_file}.pub")
    assert (
        format_public_line(load_or_create(settings.host_ca_file))
        in (folder / "known_hosts").read_text()
    )


def test_the_program_is_named_by_its_whole_path(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor runs ssh with a PATH of its own."""
    program, ca = tmp_path / "bin" / "stagedoor", tmp_path / "ca"
    program.parent.mkdir()
    program.touch()
    load_or_create(ca)
    written = (*GATEWAY, str(tmp_path / "ssh"), "--host-ca", f"{ca}.pub", "--print")
    for called, named in (("stagedoor", f"{program} tunnel"), ("pytest", "/stagedoor tunnel")):
        monkeypatch.setattr("sys.argv", [str(program.with_name(called))])
        assert f"{named} --gateway" in desk.out(*written)
    assert "ProxyCommand python3 /x/tun.py --gateway" in desk.out(
        *written, "--client", "python3 /x/tun.py"
    )


def test_on_the_gateway_s_own_machine_its_host_ca_is_the_default(
    desk: Desk, tmp_path: Path
) -> None:
    settings = load_settings(desk.settings_file)
    prepare(settings)
    folder = tmp_path / "ssh"
    for _ in range(2):
        desk.out(*GATEWAY, str(folder))
        assert (
            format_public_line(load_or_create(settings.host_ca_file))
            in (folder / "known_hosts").read_text()
        )


def test_the_settings_names_stand_for_the_address_that_is_not_given(
    desk: Desk, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pub"
    ca.write_text(format_public_line(load_or_create(tmp_path / "ca", "ca")) + "\n")
    shown = ("ssh-config", "--print", "--host-ca", str(ca))
    with pytest.raises(click.UsageError, match=r"tunnel\.public_url"):
        desk.out(*shown)
    with desk.settings_file.open("a") as file:
        file.write('[tunnel]\npublic_url = "https://gw.example"\n')
    assert "--gateway https://gw.example" in desk.out(*shown)
    with desk.settings_file.open("a") as file:
        file.write(
            '[ssh]\naddresses = [":2222"]\nhost_names = ["jump.example"]\npublic_port = 8023\n'
        )
    assert "HostName jump.example" in desk.out(*shown)
    assert "Port 8023" in desk.out(*shown)
