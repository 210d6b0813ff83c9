"""The names that the gateway prints can be typed: behind a load balancer, its own port cannot."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from stagedoor.admin.account import AccountService
from stagedoor.admin.context import WorkerContext
from stagedoor.listeners.ssh.page import AppPage, PageParts
from stagedoor.model.errors import SettingsError
from stagedoor.model.identity import Identity
from stagedoor.model.policy import Policy
from stagedoor.model.target import Target
from stagedoor.serve.parts.web import list_host_names
from stagedoor.settings.file import parse_settings
from stagedoor.settings.settings import Settings
from stagedoor.signin.site import _find_base

HERE = '[ssh]\naddresses = [":2222"]\nhost_names = ["gw.example"]\n'
APP01 = Target("app01")
DEV = cast("Identity", SimpleNamespace(name="dev"))


def settings(more: str = "") -> Settings:
    return parse_settings(HERE + more, "test")


def page(made: Settings) -> AppPage:
    login: Any = SimpleNamespace(gateway_address=("10.0.0.9", 2222), identity=DEV)
    return AppPage(login, PageParts(made.ssh.host_names, made.ssh.public_port))


@pytest.mark.parametrize(
    ("more", "jump", "direct"),
    [
        ("", "ssh -J dev@gw.example:2222 app01.ssh", "ssh -p 2222 app01@gw.example"),
        ("public_port = 22\n", "ssh -J dev@gw.example app01.ssh", "ssh app01@gw.example"),
        (
            "public_port = 8023\n",
            "ssh -J dev@gw.example:8023 app01.ssh",
            "ssh -p 8023 app01@gw.example",
        ),
    ],
)
def test_commands_name_the_public_port(more: str, jump: str, direct: str) -> None:
    made = settings(more)
    assert page(made).make_jump_command(APP01) == jump
    account = AccountService(WorkerContext(made, cast("Any", None), Policy))
    assert account.render_ssh_command(APP01) == direct


def test_links_lead_to_the_public_url() -> None:
    own = '[web]\naddresses = [":8088"]\n'
    assert _find_base(settings(f'{own}public_url = "https://shell.example/x"\n')) == (
        "https://shell.example/x"
    )
    assert _find_base(settings(f'{own}domain = "shell.example"\n')) == "https://shell.example"


def test_the_name_that_links_lead_to_is_answered() -> None:
    own = '[web]\nhost_names = ["a.example"]\npublic_url = "https://Shell.example:8443"\n'
    assert list_host_names(settings(own)) == {"a.example", "shell.example"}


@pytest.mark.parametrize(
    "wrong",
    [
        "public_port = 0\n",
        '[web]\npublic_url = "shell.example"\n',
        '[web]\npublic_url = "https://shell.example/?a"\n',
        '[tunnel]\npublic_url = "ftp://gw.example"\n',
    ],
)
def test_a_wrong_public_name_is_refused_with_its_setting(wrong: str) -> None:
    with pytest.raises(SettingsError, match="public_"):
        settings(wrong)
