"""A gateway whose user CA's key is in an ssh-agent: no file has it, and all that it signs is signed there."""

from pathlib import Path

import pytest

from tests.fixtures.gateway import SSH_TABLE, local
from tests.fixtures.laptop import new_key, open_laptop
from tests.fixtures.people import log_in_at
from tests.keys.test_ca import shown
from tests.net.test_ssh_agent import agent_with


@pytest.mark.identity(21, 26)
def test_logins_to_shells_and_certificates_are_signed_by_the_agent(tmp_path: Path) -> None:
    ca = new_key(tmp_path / "ca", "-t", "ecdsa")  # of a kind that a token has
    settings = SSH_TABLE + local("app01")
    settings += f'[keys]\nuser_ca_file = "{ca}.pub"\nuser_ca_agent = "{tmp_path}/agent"\n'
    with agent_with(tmp_path, "ca"):
        ca.unlink()
        with open_laptop(tmp_path / "laptop", settings) as laptop:
            assert not (laptop.gateway.data_dir / "keys" / "user_ca").exists()
            key = new_key(tmp_path / "key")
            sign_in = log_in_at(laptop.gateway, "dev", key)
            config = laptop.config(key=key)
            assert laptop.ssh("app01@gw", "echo in", config=config, check=True).stdout == b"in\n"
            done = laptop.ssh("gw", "cert", config=config, check=True)
            lines = shown(tmp_path, done.stdout.decode())
            assert f"Serial: {sign_in.number}" in lines
            assert any("Signing CA: ECDSA" in line for line in lines)
            (tmp_path / "agent").rename(tmp_path / "away")
            done = laptop.ssh("gw", "cert", config=config)
            assert (done.returncode, done.stdout) == (1, b"")
            not_signed = b"the gateway's user CA does not sign now; its log says why"
            assert not_signed in done.stderr
            assert not_signed in laptop.ssh("app01@gw", "true", config=config).stderr
            (tmp_path / "away").rename(tmp_path / "agent")
            laptop.ssh("gw", "cert", config=config, check=True)
