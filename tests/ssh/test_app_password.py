"""A password where the user name is an app's: stock ssh says why it is refused, and so does the log."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from stagedoor.admin import service as admin
from tests.fixtures.gateway import PASSWORD, SSH_TABLE, local
from tests.fixtures.laptop import Laptop, open_laptop


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    settings = SSH_TABLE + "passwords = true\n" + local("app01")
    with open_laptop(tmp_path_factory.mktemp("passwords"), settings) as opened:
        with opened.gateway.changed() as service:
            admin.add_user(service, "alice", password=PASSWORD)
            admin.add_grant(service, "user:alice", "app01")
        yield opened


def test_a_password_for_an_app_is_refused_with_its_reason(laptop: Laptop) -> None:
    answers = laptop.folder / "askpass"
    answers.write_text(f"#!/bin/sh\necho '{PASSWORD}'\n")
    answers.chmod(0o700)
    config = laptop.config("PubkeyAuthentication no", user="app01")
    config.write_text(config.read_text().replace("  BatchMode yes\n", ""))
    done = subprocess.run(
        ["ssh", "-F", config, "gw", "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=100,
        env={**os.environ, "SSH_ASKPASS": str(answers), "SSH_ASKPASS_REQUIRE": "force"},
    )
    assert done.returncode == 255
    said = done.stderr.decode()
    assert said.count("a password does not say who you are; use an SSH key or a token") == 1
    laptop.gateway.wait_for(
        lambda line: (
            line["event"] == "session" and "a password does not say who" in (line["detail"] or "")
        )
    )
