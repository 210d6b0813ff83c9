"""Runs without a grant, by ssh and by `stagedoor run`: they wait for an approver, and start then."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.model.access_request import RequestRule
from stagedoor.model.permission import DEFAULT, Permission
from tests.access.test_ssh import WAITS, approve, ask
from tests.fixtures.gateway import PASSWORD, SSH_TABLE, local
from tests.fixtures.laptop import Laptop, Waiting, new_key, open_laptop, public
from tests.fixtures.people import log_in
from tests.ports import free_port

ASKS = re.compile(r"(own is open on request) \([^)]*(group:sre) decides\)")
RULES = {"own": DEFAULT | {Permission.RUN}, "other": DEFAULT}


@pytest.fixture(scope="module")
def web_port() -> int:
    return free_port()


@pytest.fixture
def laptop(tmp_path: Path, web_port: int) -> Iterator[Laptop]:
    web = f'[web]\naddresses = ["127.0.0.1:{web_port}"]\n'
    shells = local("own") + local("other")
    with open_laptop(tmp_path, SSH_TABLE + web + shells, ()) as laptop:
        with laptop.gateway.changed() as service:
            admin.change_groups(service, "dev", add=["dev"])
            admin.add_user(service, "bob", groups=["sre"], password=PASSWORD)
            log_in(service, "bob", public(new_key(laptop.folder / "bob")))
            for app, permissions in RULES.items():
                rule = RequestRule(0, "group:dev", app, permissions=permissions,
                                   longest_s=7200, approvers=("group:sre",))  # fmt: skip
                requests.add_rule(service, rule)
        yield laptop


def test_a_run_by_ssh_starts_once_an_approver_agrees(laptop: Laptop) -> None:
    config = laptop.config()
    command = ("ssh", "-F", config, "gw", "run", "own", "--", "echo it; exit 7")
    waiting = Waiting(*command, asks=ASKS)
    waiting.asked()
    asking, number = ask(laptop, config, "own", "a repair")
    approve(laptop, number)
    assert waiting.end() == (7, b"it\n")
    asking.kill()
    with laptop.gateway.service() as service:
        record = requests.read_request(service, number)
    assert record.request.began_at is not None, "otherwise runs could be started for hours"


def test_a_run_by_the_client_says_how_to_ask_and_starts_after_the_approval(
    laptop: Laptop, web_port: int, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(laptop.gateway.token())
    reach = ("--url", f"http://127.0.0.1:{web_port}", "--user", "dev", "--token-file", str(token))
    program = (sys.executable, "-m", "stagedoor", "run", *reach)
    command = (*program, "own", "--", "sh", "-c", "echo it; exit 7")
    refused = Waiting(*command, asks=ASKS)
    refused.asked()
    assert refused.end() == (255, b"")
    assert "ask: ssh dev@GATEWAY request own --allow run REASON" in refused.said
    env = {**os.environ, "STAGEDOOR_REASON": "a repair"}
    waiting = Waiting(*command, asks=WAITS, env=env, start_new_session=True)
    approve(laptop, int(waiting.asked()[0]))
    assert waiting.end() == (7, b"it\n")


def test_a_rule_that_permits_no_runs_lets_nothing_wait(laptop: Laptop) -> None:
    done = laptop.ssh("gw", "run", "other", "--", "true")
    assert done.returncode == 255
    assert b"open on request" not in done.stderr
