"""The trust of `stagedoor upgrade` in the files that the gateway's account writes."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stagedoor.model.errors import NotFoundError, StagedoorError
from stagedoor.serve.supervisor.gateway_file import GATEWAYS, GatewayNote, read_notes
from stagedoor.serve.upgrade_request import find_gateway, request_upgrade
from stagedoor.store.liveness.instances import hold_instance

STRANGER = 65534


def write(data_dir: Path, name: str, note: GatewayNote | bytes) -> Path:
    """Write the note of a gateway that runs as far as its lock says."""
    lock = hold_instance(data_dir / GATEWAYS, name)
    file = data_dir / GATEWAYS / f"{name}.lock"
    file.write_bytes(note if isinstance(note, bytes) else msgspec.json.encode(note))
    assert lock.instance == name
    return file


@pytest.fixture
def signals() -> Iterator[list[int]]:
    """The numbers of SIGUSR2 that this process got."""
    got: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: got.append(number))
    yield got
    signal.signal(signal.SIGUSR2, before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is led astray")
def test_root_signals_no_process_of_another_account(tmp_path: Path, signals: list[int]) -> None:
    write(tmp_path, "one", GatewayNote("", "one.toml", os.getpid()))
    os.chown(tmp_path, STRANGER, STRANGER)
    with pytest.raises(StagedoorError, match="belongs to another account"):
        request_upgrade(find_gateway(tmp_path, "one.toml"), lambda _: None)
    assert signals == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is led astray")
def test_root_reads_no_note_through_a_planted_link(tmp_path: Path) -> None:
    file = write(tmp_path, "one", b"")
    other = tmp_path / "other"
    other.write_bytes(msgspec.json.encode(GatewayNote("", "one.toml", 1)))
    file.unlink()
    file.symlink_to(other)
    os.chown(file, STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(StagedoorError):
        read_notes(tmp_path)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"settings": 1}', b'{"settings":"","file":"","pid":"x"}']
)
def test_a_note_that_cannot_be_read_is_no_gateway(tmp_path: Path, text: bytes) -> None:
    write(tmp_path, "one", text)
    assert read_notes(tmp_path) == {}
    with pytest.raises(NotFoundError, match="no gateway runs"):
        find_gateway(tmp_path, "one.toml")


def test_a_gateway_before_this_feature_is_to_be_restarted(tmp_path: Path) -> None:
    """Its default action on SIGUSR2 would be to end."""
    write(tmp_path, "one", b'{"settings": "0af", "file": "one.toml"}')
    with pytest.raises(NotFoundError, match="too old to hand over its sessions; restart it"):
        find_gateway(tmp_path, "one.toml")


def test_of_several_gateways_the_one_with_these_settings_is_meant(tmp_path: Path) -> None:
    write(tmp_path, "one", GatewayNote("", "one.toml", 1))
    write(tmp_path, "two", GatewayNote("", "two.toml", 2))
    write(tmp_path, "old", GatewayNote("", "two.toml", 3, retired=True))
    assert find_gateway(tmp_path, "two.toml").name == "two"
    with pytest.raises(NotFoundError, match="several gateways"):
        find_gateway(tmp_path, "three.toml")


def test_a_gateway_that_ends_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: list[int]
) -> None:
    file = write(tmp_path, "one", GatewayNote("", "one.toml", os.getpid()))
    gateway = find_gateway(tmp_path, "one.toml")
    file.unlink()
    monkeypatch.setattr("stagedoor.serve.upgrade_request.GONE_WITHIN_S", 0.1)
    with pytest.raises(StagedoorError, match="ended during the upgrade"):
        request_upgrade(gateway, lambda _: None)
    assert signals == [signal.SIGUSR2]
