"""`stagedoor serve --check`: settings are looked at as a start would, and nothing is made."""

import pytest

from stagedoor.keys.files import KeyFileError, load_or_create
from stagedoor.model.errors import SettingsError
from tests.cli.conftest import Desk
from tests.docs.pages import ROOT
from tests.net.peers import write_certificate


def test_settings_that_are_right_are_confirmed_and_nothing_is_made(desk: Desk) -> None:
    said = desk.out("serve", "--check")
    assert said == f"{desk.settings_file} is valid, and so are the files that it names.\n"
    assert not desk.data_dir.exists()


def test_settings_that_are_wrong_are_told_with_their_line(desk: Desk) -> None:
    with desk.settings_file.open("a") as file:
        file.write("[workers]\ncuont = 2\n")
    error = desk.run("serve", "--check").exception
    assert isinstance(error, SettingsError)
    assert error.exit_code == 2
    assert f"{desk.settings_file}:3: workers: there is no setting `cuont`" in str(error)
    assert "did you mean `count`" in str(error)


def test_a_file_that_they_name_is_looked_at_as_well(desk: Desk) -> None:
    certificate, key = write_certificate(desk.settings_file.parent)
    key.chmod(0o644)
    with desk.settings_file.open("a") as file:
        file.write(f'[tunnel]\ntls_addresses = [":0"]\ncertificate_file = "{certificate}"\n')
        file.write(f'key_file = "{key}"\n')
    assert "is world-readable" in str(desk.run("serve", "--check").exception)


@pytest.mark.parametrize("name", ["user_ca", "host_ca", "ssh_host_key"])
def test_keys_that_others_may_read_are_refused_as_at_a_start(desk: Desk, name: str) -> None:
    with desk.settings_file.open("a") as file:
        file.write('[ssh]\naddresses = ["127.0.0.1:0"]\n')
    key = desk.data_dir / "keys" / name
    load_or_create(key)
    desk.out("serve", "--check")
    key.chmod(0o644)
    error = desk.run("serve", "--check").exception
    assert isinstance(error, KeyFileError)
    assert f"chmod 600 {key}" in str(error)


def test_a_certificate_that_ends_soon_or_has_ended_is_named(desk: Desk) -> None:
    """It does not keep the gateway from starting, or from reloading what takes rights away."""
    certificate, key = write_certificate(desk.settings_file.parent)
    with desk.settings_file.open("a") as file:
        file.write(f'[tunnel]\ntls_addresses = [":0"]\ncertificate_file = "{certificate}"\n')
        file.write(f'key_file = "{key}"\n')
    done = desk.run("serve", "--check")
    assert done.exit_code == 0
    assert (
        f"Attention: the TLS certificate {certificate} (tunnel.certificate_file) expires"
        in done.stderr
    )


def test_systemd_reloads_only_what_was_checked() -> None:
    """Two lines: systemd runs the second if the first ends with 0 (systemd.service(5))."""
    unit = (ROOT / "deploy/stagedoor.service").read_text().splitlines()
    start, *reload = (line.partition("=")[2] for line in unit if line.startswith("Exec"))
    upgrade = start.removesuffix("serve") + "upgrade --or-reload"
    assert reload == [f"{start} --check", upgrade]
