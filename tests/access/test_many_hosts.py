"""A program with many hosts, as Ansible runs ssh: one request for all of them, and each goes on."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.admin.requests.request_service import MOST_WAITING_OF_USER
from stagedoor.model.access_request import RequestRule
from stagedoor.model.target import Target
from tests.fixtures.gateway import SSH_TABLE, local
from tests.fixtures.laptop import Laptop, Waiting, open_laptop
from tests.ssh.conftest import sockets
from tests.ssh.test_pending_keys import ANSIBLE

__all__ = ["sockets"]

HOSTS = [f"host{number}" for number in range(MOST_WAITING_OF_USER)]
ASKS = re.compile(r"(host\d) is open on request .*; (ask: ssh )")
MADE = re.compile(r"request (\d+) for (.+?) waits for user:bob")


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    with open_laptop(tmp_path, SSH_TABLE + "".join(map(local, HOSTS)), ()) as laptop:
        with laptop.gateway.changed() as service:
            admin.add_user(service, "bob")
            requests.add_rule(service, RequestRule(0, "user:dev", "*", approvers=("user:bob",)))
        yield laptop


@pytest.mark.access(2)
def test_all_hosts_of_a_program_wait_for_one_request_and_go_on(
    laptop: Laptop, sockets: Path
) -> None:
    lines = (f"ControlPath {sockets}/%C", "ControlMaster auto", "ControlPersist 1")
    config = laptop.config(*ANSIBLE, *lines)
    waiting = [
        Waiting("ssh", "-F", config, f"{host}@gw", f"echo {host}", asks=ASKS) for host in HOSTS
    ]
    for program in waiting:
        program.asked()
    asking = Waiting("ssh", "-F", config, "gw", "request", "host*", "INC-1", asks=MADE)
    number = int(asking.asked()[0])
    assert asking.end()[0] == 1, "as many wait already as may"
    assert f"request {number} stays open: it is not decided yet" in asking.said
    with laptop.gateway.changed() as service:
        [request] = requests.list_requests(service, open_only=True)
        assert (request.id, request.targets) == (number, tuple(map(Target, HOSTS)))
        requests.decide(service, number, approver="bob", is_yes=True)
    assert [program.end() for program in waiting] == [
        (0, f"{host}\n".encode()) for host in HOSTS
    ], [program.said for program in waiting]
