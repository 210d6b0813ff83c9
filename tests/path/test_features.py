"""What developers do over ssh all day, through our client and through nc, against the real gateway."""

import json
from pathlib import Path

import pytest

from acceptance.features import FEATURES, Feature
from stagedoor.demo.clients import FDPASS, NC, OURS, Client
from tests.path.conftest import House, here


@pytest.mark.parametrize("client", [OURS, NC], ids=["ours", "nc"])
@pytest.mark.parametrize("feature", FEATURES.values(), ids=list(FEATURES))
def test_it_works_through(house: House, client: Client, feature: Feature, tmp_path: Path) -> None:
    here(lambda: feature(house.through(client, tmp_path), tmp_path))


def test_it_works_where_ssh_took_the_socket_over(house: House, tmp_path: Path) -> None:
    """As `stagedoor ssh-config` sets it up; two drives that move the most and last the longest."""
    for name in ("scp (sftp protocol)", "ControlMaster, 10 sessions in one tunnel"):
        folder = tmp_path / name.split()[0]
        folder.mkdir()
        here(lambda folder=folder, name=name: FEATURES[name](house.through(FDPASS, folder), folder))


def test_ten_sessions_of_a_control_master_are_one_session_of_the_gateway(
    house: House, tmp_path: Path
) -> None:
    def sessions() -> set[str]:
        told = house.gateway.command("session", "list", "--all", "--limit", "10000", "--json")
        return {one["id"] for one in json.loads(told.stdout)}

    before = sessions()
    here(
        lambda: FEATURES["ControlMaster, 10 sessions in one tunnel"](
            house.through(OURS, tmp_path), tmp_path
        )
    )
    assert len(sessions() - before) == 1
