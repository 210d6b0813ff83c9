"""The features of ssh that developers use all day, through our client and nc, against the real gateway."""

import json
from pathlib import Path

import pytest

from acceptance.features import FEATURES, Feature
from stagedoor.demo.clients import FDPASS, NC, TUNNEL, DemoClient
from tests.path.conftest import GatewayEntry, here


@pytest.mark.parametrize("client", [TUNNEL, NC], ids=["ours", "nc"])
@pytest.mark.parametrize("feature", FEATURES.values(), ids=list(FEATURES))
def test_it_works_through(
    entry: GatewayEntry, client: DemoClient, feature: Feature, tmp_path: Path
) -> None:
    here(lambda: feature(entry.through(client, tmp_path), tmp_path))


def test_it_works_where_ssh_took_the_socket_over(entry: GatewayEntry, tmp_path: Path) -> None:
    """As `stagedoor ssh-config` sets it up; two drives that move the most and last the longest."""
    for name in ("scp (sftp protocol)", "ControlMaster, 10 sessions in one tunnel"):
        folder = tmp_path / name.split()[0]
        folder.mkdir()
        here(lambda folder=folder, name=name: FEATURES[name](entry.through(FDPASS, folder), folder))


def test_ten_sessions_of_a_control_master_are_one_session_of_the_gateway(
    entry: GatewayEntry, tmp_path: Path
) -> None:
    def sessions() -> set[str]:
        listed = entry.gateway.command("session", "list", "--all", "--limit", "10000", "--json")
        return {session["id"] for session in json.loads(listed.stdout)}

    before = sessions()
    here(
        lambda: FEATURES["ControlMaster, 10 sessions in one tunnel"](
            entry.through(TUNNEL, tmp_path), tmp_path
        )
    )
    assert len(sessions() - before) == 1
