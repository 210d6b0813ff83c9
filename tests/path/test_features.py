"""The features of ssh that developers use all day, through nc, against the real gateway.

`test_resume_ssh.py` has those through our client, and `tests/acceptance/test_check.py` those where ssh takes
its socket over.
"""

import json
from pathlib import Path

import pytest

from acceptance.clients import NC, TUNNEL
from acceptance.features import FEATURES, Feature
from tests.path.conftest import GatewayEntry, here


@pytest.mark.parametrize("feature", FEATURES.values(), ids=list(FEATURES))
def test_it_works_through_nc(entry: GatewayEntry, feature: Feature, tmp_path: Path) -> None:
    here(lambda: feature(entry.through(NC, tmp_path), tmp_path))


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
