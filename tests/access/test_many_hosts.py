"""Ansible with fifty hosts: one request for all of them, and each goes on."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.admin.requests.request_service import MAX_WAITING_PER_USER
from stagedoor.model.access_request import MAX_TARGETS, RequestRule
from stagedoor.model.target import Target
from tests.fixtures.gateway import SSH_TABLE, local
from tests.fixtures.laptop import Laptop, Waiting, open_laptop
from tests.missing import missing
from tests.ssh.conftest import sockets
from tests.waiting import wait_until

__all__ = ["sockets"]

HOSTS = [f"host{number:02}" for number in range(MAX_TARGETS)]
MADE = re.compile(r"request (\d+) for (.+?) waits for user:bob")
PROGRAM = Path(sys.executable).parent / "ansible"


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    with open_laptop(tmp_path, SSH_TABLE + "".join(map(local, HOSTS)), ()) as laptop:
        with laptop.gateway.changed() as service:
            admin.add_user(service, "bob")
            requests.add_rule(service, RequestRule(0, "user:dev", "*", approvers=("user:bob",)))
        yield laptop


def run_ansible(laptop: Laptop, config: Path, sockets: Path) -> Waiting:
    """Run Ansible as it is, with five hosts at a time, each of which is a login name of the gateway."""
    if not PROGRAM.exists():
        missing("uv sync  # ansible-core is not installed")
    inventory = laptop.folder / "hosts"
    inventory.write_text(
        "".join(
            f"{host} ansible_host=gw ansible_user={host} ansible_ssh_common_args='-F {config}'\n"
            for host in HOSTS
        )
    )
    environment = {
        **os.environ,
        "ANSIBLE_HOME": str(laptop.folder / "ansible"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets),
    }
    command = (PROGRAM, "-i", inventory, "all", "-m", "raw", "-a", "echo in")
    return Waiting(*command, asks=MADE, env=environment, cwd=laptop.folder)


@pytest.mark.access(2)
@pytest.mark.timeout(300)
def test_the_hosts_of_ansible_wait_for_one_request_and_go_on(laptop: Laptop, sockets: Path) -> None:
    """It takes more than five seconds for fifty shells. Ansible runs as many at once as may wait."""
    config = laptop.config()
    asking = Waiting("ssh", "-F", config, "gw", "request", "host*", "INC-1", asks=MADE)
    number = int(asking.asked()[0])
    asking.kill()
    ansible = run_ansible(laptop, config, sockets)
    wait_until(lambda: len(list(sockets.iterdir())) == MAX_WAITING_PER_USER, what="ssh is in")
    with laptop.gateway.changed() as service:
        [request] = requests.list_requests(service, open_only=True)
        assert (request.id, request.targets) == (number, tuple(map(Target, HOSTS)))
        assert count_sessions(laptop) == 0
        requests.decide(service, number, approver="bob", is_yes=True)
    status, out = ansible.end()
    assert status == 0, (out, ansible.said)
    said = re.findall(r"^(host\d\d) \| CHANGED", out.decode(), re.MULTILINE)
    assert sorted(said) == HOSTS, out


def count_sessions(laptop: Laptop) -> int:
    return sum(event["kind"] == "session.opened" for event in laptop.gateway.audit())
