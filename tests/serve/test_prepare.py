"""A gateway's messages before it serves: about another's folder, its certificate, another gateway."""

import os
import time
from pathlib import Path

import pytest

from stagedoor.model.errors import SettingsError
from stagedoor.model.units import DAY_S
from stagedoor.net.tls import read_validity
from stagedoor.serve.prepare import VerifiedSettings, check, warn_of_certificate
from stagedoor.serve.supervisor.gateway_file import GatewayFile
from stagedoor.settings.listeners import TunnelSettings
from stagedoor.settings.settings import Settings
from tests.fixtures.gateway import Gateway
from tests.net.peers import write_certificate


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be in another account's folder")
def test_root_does_not_serve_from_another_accounts_folder(tmp_path: Path) -> None:
    data_dir, file = tmp_path / "data", tmp_path / "stagedoor.toml"
    data_dir.mkdir()
    file.write_text(f'data_dir = "{data_dir}"\n')
    check(file)
    os.chown(data_dir, 65534, 65534)
    with pytest.raises(SettingsError, match="runuser -u nobody -- stagedoor serve"):
        check(file)
    assert list(data_dir.iterdir()) == []


def test_a_certificate_that_has_ended_or_ends_soon_is_told(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    settings = Settings(tunnel=TunnelSettings(certificate_file=certificate, key_file=key))
    begins_at, ends_at = read_validity(certificate)
    said = [
        warn_of_certificate(settings, at)
        for at in (begins_at - 1, ends_at - 20 * DAY_S, ends_at - DAY_S, ends_at + 1)
    ]
    words = [line and line.partition("_file) ")[2].split()[0] for line in said]
    assert words == ["is", None if ends_at - begins_at > 20 * DAY_S else "is", "expires", "expired"]
    assert warn_of_certificate(Settings(), time.time()) is None


def test_of_two_gateways_with_one_folder_each_learns_of_other_settings(tmp_path: Path) -> None:
    one, two = GatewayFile(), GatewayFile()
    same = VerifiedSettings(Settings(data_dir=tmp_path), "", "one.toml")
    other = VerifiedSettings(
        Settings(data_dir=tmp_path, tunnel=TunnelSettings(addresses=(":1",))), "", "two.toml"
    )
    assert one.announce(same) == []
    assert two.announce(same) == []
    [said] = two.announce(other)
    assert "(one.toml)" in said
    [said] = one.announce(same)
    assert "(two.toml)" in said
    two.remove()
    assert one.announce(same) == []
    one.remove()
    assert list((tmp_path / "gateways").iterdir()) == []


def test_a_gateway_that_died_is_no_other(tmp_path: Path) -> None:
    dead = GatewayFile()
    dead.announce(VerifiedSettings(Settings(data_dir=tmp_path), "", "dead.toml"))
    assert dead._held is not None
    os.close(dead._held._fd)  # as the kernel does
    other = Settings(data_dir=tmp_path, tunnel=TunnelSettings(addresses=(":1",)))
    one = GatewayFile()
    assert one.announce(VerifiedSettings(other, "", "one.toml")) == []
    one.remove()
    assert list((tmp_path / "gateways").iterdir()) == []


def test_the_file_of_a_gateway_that_just_starts_stays(tmp_path: Path) -> None:
    """It is empty, and not locked for a moment."""
    folder = tmp_path / "gateways"
    folder.mkdir()
    (folder / "starting.lock").touch()
    one = GatewayFile()
    assert one.announce(VerifiedSettings(Settings(data_dir=tmp_path), "", "one.toml")) == []
    one.remove()
    assert [file.stem for file in folder.iterdir()] == ["starting"]


def test_a_second_gateway_says_so_in_its_log(tmp_path: Path) -> None:
    """Costs two starts of a gateway: whether the supervisor asks is seen nowhere else."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with Gateway(tmp_path / "one").start():
        second = Gateway(tmp_path / "two")
        second.data_dir = tmp_path / "one" / "data"
        second.write_settings('[ssh]\naddresses = ["127.0.0.1:0"]\n')
        with second.start():
            second.wait_for(lambda line: "by other settings" in str(line["event"]))
