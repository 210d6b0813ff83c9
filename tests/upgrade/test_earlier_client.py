"""Client and gateway of the last version before tunnels resumed, each with today's other one."""

import os
import sys
from pathlib import Path

import pytest

from tests.fixtures.gateway import Gateway, local
from tests.fixtures.laptop import Laptop
from tests.upgrade.programs import Programs
from tests.upgrade.sessions import by_ssh

LAST, LAST_COMMIT = "0.2.0", "e48b1adf"


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the variables by which Python runs that version."""
    programs = Programs(tmp_path_factory.mktemp("programs"))
    programs.make_commit(LAST, LAST_COMMIT)
    return {"PYTHONPATH": str(programs.link.with_name(LAST))}


@pytest.mark.continuity(15)
@pytest.mark.parametrize("old", ["client", "gateway"])
def test_a_client_and_a_gateway_of_two_versions_have_a_plain_tunnel(
    tmp_path: Path, earlier: dict[str, str], old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = f'[ssh]\naddresses = ["127.0.0.1:0"]\n{local("app01")}'
    laptop = Laptop(tmp_path, settings)
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(laptop.gateway.token())
    with laptop.gateway as gateway:
        assert isinstance(gateway, Gateway)
        gateway.environment = earlier if old == "gateway" else {}
        gateway.start()
        if old == "client":
            monkeypatch.setitem(os.environ, "PYTHONPATH", earlier["PYTHONPATH"])
        tunnel = (
            f"{sys.executable} -m stagedoor tunnel --gateway 127.0.0.1:{gateway.port()} "
            f"--user dev --token-file {token} %h %p"
        )
        words = ("-o", "ProxyJump none", "-o", f"ProxyCommand {tunnel}", "app01.ssh")
        with by_ssh(laptop.config(), *words) as session:
            session.check(1)
            assert not (gateway.data_dir / "resume").exists(), "nothing keeps the session"
