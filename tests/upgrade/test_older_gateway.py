"""Access on request where an older program serves the same store: it refuses, and lets no user in."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.model.access_request import RequestRule
from stagedoor.model.target import Target
from tests.fixtures.gateway import SSH_TABLE, Gateway, local
from tests.fixtures.laptop import Done, new_key, public, run_ssh, write_ssh_config
from tests.store.server import server_here
from tests.upgrade.programs import Programs, UpgradedGateway

BEFORE_REQUESTS, BEFORE_START_TIMES = "5e08427a", "1de310e2"
"""The last commits whose programs know no requests, and none that begin later."""
RULE = RequestRule(0, "user:dev", "*", approvers=("user:bob",))


@dataclass
class Pair:
    """Two gateways on one PostgreSQL store, which the newer has brought up to date under the older."""

    older: Gateway
    newer: Gateway
    key: Path

    def run_ssh(self, gateway: Gateway, *words: str) -> Done:
        config = write_ssh_config(gateway.folder / "config", self.key)
        return run_ssh(config, "-p", str(gateway.port("ssh")), *words)

    def enter(self, gateway: Gateway, app: str) -> Done:
        return self.run_ssh(gateway, f"{app}@127.0.0.1", "echo in")

    def refuses(self, app: str) -> bool:
        """Return whether the older gateway refuses `app`, once it has read the policy."""
        self.older.wait_for_policy()
        done = self.enter(self.older, app)
        assert b"Traceback" not in done.stderr
        return (done.returncode, done.stdout) == (255, b"") and b"no grant" in done.stderr


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """The older program is that of the commit in the parameter."""
    commit: str = request.param
    programs = Programs(tmp_path / "programs")
    programs.link.parent.mkdir()
    programs.make_commit("0.9.0", commit)
    programs.install("0.9.0")
    with server_here() as here:
        server = here.database()
        store = f'[store]\nurl = "{server.url}"\npassword_file = "{server.password_file}"\n'
        settings = SSH_TABLE + local("own") + local("later") + local("granted") + store
        for name in ("older", "newer"):
            (tmp_path / name).mkdir()
        with (
            UpgradedGateway(tmp_path / "older", programs, settings) as older,
            Gateway(tmp_path / "newer", settings) as newer,
        ):
            older.start()
            newer.start()
            key = new_key(tmp_path / "key")
            with newer.changed() as service:
                admin.add_user(service, "dev")
                admin.add_user(service, "bob")
                admin.add_keys(service, "dev", [public(key)])
                admin.add_grant(service, "user:dev", "granted")
            older.wait_for_policy()
            yield Pair(older, newer, key)


@pytest.mark.access(20)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("pair", [BEFORE_REQUESTS], indirect=True)
def test_a_program_without_requests_refuses_what_was_approved(pair: Pair) -> None:
    """It takes more than five seconds: two gateways and a PostgreSQL server start."""
    with pair.newer.changed() as service:
        rule = requests.add_rule(service, RULE)
        made = requests.make_request(service, "dev", [Target("own")], rule, "INC-1")
    assert pair.refuses("own"), "while it is pending"
    with pair.newer.changed() as service:
        requests.decide(service, made.id, approver="bob", is_yes=True)
    assert pair.refuses("own"), "although it is approved"
    for gateway in (pair.newer, pair.older):
        assert pair.enter(gateway, "granted").stdout == b"in\n"
    assert pair.enter(pair.newer, "own").stdout == b"in\n"
    assert pair.refuses("own"), "although its time runs"
    with pair.newer.changed() as service:
        glass = replace(RULE, approvals=0, is_break_glass=True, longest_s=600)
        requests.make_request(
            service, "dev", [Target("later")], requests.add_rule(service, glass), "x"
        )
    assert pair.enter(pair.newer, "later").stdout == b"in\n"
    assert pair.refuses("later"), "although break-glass is in use"


@pytest.mark.access(20)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("pair", [BEFORE_START_TIMES], indirect=True)
def test_a_program_without_later_requests_refuses_them_before_they_begin(pair: Pair) -> None:
    """It lets in by other requests. It takes more than five seconds, as the test above."""
    with pair.newer.changed() as service:
        rule = requests.add_rule(service, replace(RULE, approvers=(), approvals=0))
        requests.make_request(service, "dev", [Target("own")], rule, "INC-1")
        at = time.time() + 3600
        requests.make_request(service, "dev", [Target("later")], rule, "INC-2", None, at)
    pair.older.wait_for_policy()
    for gateway in (pair.older, pair.newer):
        assert pair.enter(gateway, "own").stdout == b"in\n"
        # A direct login would wait.
        jump = pair.run_ssh(gateway, "-W", "later.ssh:22", "dev@127.0.0.1")
        assert (jump.returncode, jump.stdout) == (255, b""), jump.stderr
        assert b"is open on request" in jump.stderr
