"""The home page's words about an app: the permissions there that not every developer has."""

import re

import pytest

from stagedoor.listeners.web.pages.assets import Assets
from stagedoor.listeners.web.pages.home import describe_permissions
from stagedoor.listeners.web.pages.markup import AppRow, PagePath, PageUser, render_home
from stagedoor.model.permission import DEFAULT, Permission, Permissions
from stagedoor.store.sessions import SessionRecord

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


@pytest.mark.parametrize(
    ("user", "watches"),
    [
        (PageUser("ann", True), True),
        (PageUser("ann", True, shows_recordings=True), False),
        (PageUser("ann", True, administers=True), False),
    ],
    ids=["watches", "replays", "administers"],
)
def test_a_person_who_comes_for_other_things_is_not_sent_for_a_grant(
    user: PageUser, watches: bool
) -> None:
    page = render_home(PagePath("", Assets()), user, [], [], [], live=[] if watches else None)
    assert "Ask an administrator" not in page
    assert ("no app that you may enter" in page) != watches
    assert ('id="live"' in page) == watches


def test_the_last_sessions_name_apps_and_lead_to_those_that_the_user_may_enter() -> None:
    targets = ("app01.staging.ssh", "app02.ssh", "gone.ssh")
    past = [
        SessionRecord(
            *("0", 1.0, 2.0, "dev", target, "::1", "web", "gw1", "closed", 1, 1), None, None, None
        )
        for target in targets
    ]
    apps = [
        AppRow("app01.staging", targets[0], "ready", "/app/app01.staging", "ssh"),
        AppRow("app02", targets[1], "ready", "/app/app02", "ssh", has_terminals=False),
    ]
    page = render_home(PagePath("", Assets()), PageUser("dev", True), apps, past, [])
    listed = page.partition('<h2 id="past">')[2]
    assert re.search(r'<a href="/app/app01.staging">app01 <span class="tag staging">', listed)
    assert re.search(r'<th scope="row">app02\s*</th>', listed)
    assert re.search(r'<th scope="row">gone\s*</th>', listed)
