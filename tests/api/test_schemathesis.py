"""schemathesis reads the description of the API and looks for what does not keep to it, as each role."""

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.admin import roles
from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.model.access_request import RequestRule
from stagedoor.model.role import Role, RoleRule
from stagedoor.store.sign_in.passes import record_step_up
from tests.api.test_remote import KEY
from tests.fixtures.gateway import Gateway
from tests.fixtures.people import log_in
from tests.web.conftest import SETTINGS

CONFIG = Path(__file__).parent / "schemathesis.toml"
PERSON = "a person"
NO_ROLE = "nick"
ASKING = "a token to ask"
APPROVERS = ("user:administrator",)
PROGRAM = Path(sys.executable).parent / "schemathesis"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path, SETTINGS) as gateway:
        with gateway.service() as service:
            admin.add_user(service, NO_ROLE)
            for role in Role:
                admin.add_user(service, role.value)
                roles.add_role(service, RoleRule(0, f"user:{role}", role))
            admin.add_grant(service, "user:owner", "*")
            requests.add_rule(service, RequestRule(0, f"user:{NO_ROLE}", "*", approvers=APPROVERS))
        yield gateway.start()


def authorization(gateway: Gateway, who: str) -> str:
    people = {PERSON: "administrator", NO_ROLE: NO_ROLE}
    with gateway.changed() as service:
        if who not in people:
            scopes = ("request",) if who == ASKING else ("api:read", "api:write")
            name = NO_ROLE if who == ASKING else who
            return f"Bearer {admin.create_token(service, name, scopes=scopes).text}"
        secret, sign_in = log_in(service, people[who], KEY)
        with service.change("test") as change:
            record_step_up(change.transaction, sign_in.id, service.clock())
        return "Basic " + base64.b64encode(f"{people[who]}:{secret}".encode()).decode()


@pytest.mark.access(22)
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("who", "phases", "examples"),
    [
        (PERSON, "coverage,stateful", 3),
        ("owner", "fuzzing,stateful", 2),
        ("operator", "fuzzing,stateful", 1),
        ("auditor", "stateful", 1),
        (NO_ROLE, "stateful", 1),
        (ASKING, "fuzzing,stateful", 1),
    ],
    ids=[PERSON, "owner", "operator", "auditor", "no role", ASKING],
)
def test_nothing_is_found(gateway: Gateway, who: str, phases: str, examples: int) -> None:
    """As an administrator, and as each of those who may do a part and get each kind of refusal.

    What each role may do is in `test_rights`. It takes more than five seconds for its thousands of requests.
    """
    url = f"http://127.0.0.1:{gateway.port('web')}/api/v1/openapi.json"
    header = f"Authorization: {authorization(gateway, who)}"
    options = ["-H", header, "-n", str(examples), "--no-color", "--phases", phases]
    done = subprocess.run(
        [PROGRAM, "--config-file", CONFIG, "run", url, *options],
        capture_output=True,
        text=True,
        cwd=gateway.folder,  # it leaves a cache
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr
    faults = [line for line in gateway.lines if line.get("level") == "error"]
    assert faults == []
