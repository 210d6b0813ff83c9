"""With an identity provider, only some groups have passwords: by each access method."""

import json
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from stagedoor.admin import service as admin
from stagedoor.model.errors import RefusedError, SettingsError
from stagedoor.settings.file import load_settings
from stagedoor.signin.invitations import invite
from stagedoor.signin.links import make_link
from tests.fixtures.gateway import PASSWORD, Gateway, sso
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import basic, post
from tests.path.test_just_made import connect
from tests.ports import free_port
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS

TABLES = """
[ssh]
addresses = ["127.0.0.1:{port}"]
passwords = true

[accounts]
password_groups = ["oncall"]
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("limited")
    settings = SETTINGS + TABLES.format(port=free_port()) + sso(folder)
    with Gateway(folder, settings) as found:
        for name in ("dev", "glass"):
            found.add_user(name, "app01")
        with found.service() as service:
            admin.change_groups(service, "glass", add=["oncall"])
        yield found.start()


async def by_ssh(port: int, name: str) -> bool:
    """Return whether the SSH listener takes the password."""
    try:
        async with asyncssh.connect(
            "127.0.0.1", port, username=name, password=PASSWORD, known_hosts=None, client_keys=[]
        ):
            return True
    except asyncssh.PermissionDenied:
        return False


@pytest.mark.identity(34)
async def test_a_password_lets_nobody_in_but_those_groups(gateway: Gateway, port: int) -> None:
    asked = json.dumps({"target": "app01"}).encode()
    again = json.dumps({"name": "dev", "secret": PASSWORD})
    dev, glass = PlainBrowser(port), PlainBrowser(port)
    refused = dev.sign_in("dev")
    assert refused.status == 403
    assert "only some groups have passwords" in refused.text
    assert dev.send("POST", "/api/sign-in/again", again).status == 401
    assert post(port, "/api/ticket", asked, basic("dev"))[0] == 401
    assert connect(gateway, "dev", PASSWORD) == 407
    assert not await by_ssh(gateway.port("ssh"), "dev")
    # No client learns who is in the group, but by a password that is right.
    messages = {
        post(port, "/api/ticket", asked, basic(name, "wrong"))[1]["message"].replace(name, "")
        for name in ("dev", "glass", "nobody")
    }
    assert len(messages) == 1
    # A token is no password.
    assert connect(gateway, "dev", gateway.token("dev")) == 200

    assert glass.sign_in("glass").status == 303
    assert post(port, "/api/ticket", asked, basic("glass"))[0] == 200
    assert connect(gateway, "glass", PASSWORD) == 200
    assert await by_ssh(gateway.port("ssh"), "glass")
    changes = [e["fields"] for e in gateway.audit() if e["kind"] == "policy.changed"]
    assert [f["user"] for f in changes if f["action"] == "web.local-sign-in"] == ["glass"]
    said = [line for line in gateway.lines if line["event"] == "only these groups have passwords"]
    assert [line["groups"] for line in said] == [["oncall"]], "once"


def test_who_leaves_the_group_is_signed_out_and_told_why(gateway: Gateway, port: int) -> None:
    gateway.add_user("leaving", "app01")
    gateway.command("user", "group", "leaving", "--add", "oncall")
    wait_until(lambda: PlainBrowser(port).sign_in("leaving").status == 303)
    person = PlainBrowser(port)
    person.sign_in("leaving")
    gateway.command("user", "group", "leaving", "--remove", "oncall")
    wait_until(lambda: person.get("/").status == 303)
    said = person.send("POST", "/api/sign-in", "{}")
    assert "is in none of the groups that have passwords" in json.loads(said.text)["over"]


def test_an_invitation_and_a_link_know_of_it(gateway: Gateway, port: int) -> None:
    settings, url = load_settings(gateway.file), f"http://127.0.0.1:{port}"
    with gateway.service() as service:
        for name in ("dev", "newcomer"):
            with pytest.raises(RefusedError, match=r"none of accounts\.password_groups \(oncall\)"):
                invite(settings, service, name, service.clock() + 60, url=url)
        assert "newcomer" not in admin.read_policy(service).users
        invite(settings, service, "newcomer", service.clock() + 60, groups=("oncall",), url=url)
        # An administrator's link signs in who has no password, as ever.
        link = make_link(settings, service, "dev", url=url).url
    person = PlainBrowser(port)
    answer = person.post("/sign-in/link", secret=link.partition("#")[2])
    assert answer.status == 303
    person.cookie = answer.headers["set-cookie"].partition(";")[0]
    page = person.get("/account")
    assert page.status == 200
    assert "You have no password here" in page.text


def test_the_command_says_that_a_password_lets_nobody_in(gateway: Gateway) -> None:
    set_it = ("user", "password", "--password-stdin")
    said = gateway.command(*set_it, "dev", stdin=PASSWORD + "\n").stderr
    assert "in none of accounts.password_groups" in said
    assert "in none of" not in gateway.command(*set_it, "glass", stdin=PASSWORD + "\n").stderr


def test_without_a_provider_everybody_would_be_locked_out(tmp_path: Path) -> None:
    file = tmp_path / "stagedoor.toml"
    for text, why in (
        ('[accounts]\npassword_groups = ["oncall"]\n', r"needs an \[\[sso\]\] table"),
        ('[accounts]\npassword_groups = ["On Call"]\n', "not a group name"),
    ):
        file.write_text(text)
        with pytest.raises(SettingsError, match=why):
            load_settings(file)
