"""The home page's words about an app: the permissions there that not every developer has."""

import pytest

from stagedoor.listeners.web.pages.assets import Assets
from stagedoor.listeners.web.pages.home import describe_permissions
from stagedoor.listeners.web.pages.markup import AppRow, PagePath, PageUser, render_home
from stagedoor.model.permission import DEFAULT, Permission, Permissions

FORWARD, AGENT, RECORD = Permission.FORWARD, Permission.AGENT, Permission.RECORD


@pytest.mark.parametrize(
    ("permissions", "said"),
    [
        (DEFAULT, ""),
        (DEFAULT | {FORWARD}, "You may forward ports (ssh -L) by direct login."),
        (
            DEFAULT | {FORWARD, AGENT, RECORD},
            "You may forward ports (ssh -L) and forward your agent (ssh -A) by direct login. "
            "Your terminals are recorded.",
        ),
    ],
)
def test_an_app_says_what_is_permitted_besides_entering(
    permissions: Permissions, said: str
) -> None:
    assert describe_permissions(permissions) == said
    app = AppRow("app01", "app01.ssh", "ready", "/app/app01", "ssh app01.ssh", permits=said)
    page = render_home(PagePath("", Assets()), PageUser("dev", False), [app], [], [])
    assert said in page
    assert ('class="permits"' in page) == bool(said)


def test_the_home_page_asks_for_no_password_where_ssh_takes_none() -> None:
    app = AppRow("app01", "app01.ssh", "ready", "/app/app01", "ssh app01@gw.example")
    page = render_home(PagePath("", Assets()), PageUser("dev", True), [app], [], [])
    assert "and no password" in page
    assert "asks for your password" not in page


def test_a_person_without_a_grant_reads_whom_to_ask_and_no_command() -> None:
    page = render_home(PagePath("", Assets()), PageUser("dev", True), [], [], [])
    assert "Ask an administrator for a grant" in page
    assert "stagedoor grant" not in page
