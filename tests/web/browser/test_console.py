"""The pages of administrators in Chromium: each look, and the keyboard alone."""

from collections.abc import Iterator

import pytest

from acceptance.chromium import Tab
from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests
from stagedoor.admin.roles import add_role
from stagedoor.model.access_request import RequestRule
from stagedoor.model.permission import Permission
from stagedoor.model.role import Role, RoleRule
from stagedoor.model.target import Target
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.waiting import wait_until
from tests.web.browser.conftest import become, click, ready
from tests.web.browser.looks import keep, needs_axe, problems_of
from tests.web.browser.states import LIVE, live_terminal
from tests.web.browser.test_accessibility import forward, seen
from tests.web.browser.test_chinese import ask_for_chinese, english
from tests.web.conftest import SETTINGS
from tests.web.test_brand import LOGO
from tests.web.test_console import PUBLIC_KEY

WATCH_AND_REPLAY = frozenset({Permission.WATCH, Permission.REPLAY})
PAGES = (
    "sessions",
    "requests",
    "people",
    "people?wanted=unknown-person",
    "people/dev",
    "grants",
    "grants/1",
    "grants/preview?subject=user:dev&app=secret&permission=enter",
    "grants/preview?subject=nonsense&app=secret&permission=enter",
    "audit?days=",
    "audit?q=kind:",
    "why?user=dev&app=secret",
    "why?user=dev&app=no+app",
    "health?checks",
    "sign-ins",
    "sign-ins?kind=key",
    "rules",
    "rules/role/1",
    "rules/request/preview?subject=group:developers&app=app*&approvers=user:boss&reason=*INC-*",
    "../app/app02",
    "../step-up?next=/admin/rules",
    "../recordings?text=nothing+like+it",
)
OPENED = {
    "sessions": "details.more summary",
    "grants": "details.add summary",
    "rules": "details.add summary",
    "rules#roles": "[aria-labelledby=roles] details.add summary",
}
"""Forms that a click opens, by their pages."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("console")
    (folder / "acme.svg").write_text(LOGO, encoding="ascii")
    brand = f'company = "A Company With a Long Name"\nlogo_file = "{folder / "acme.svg"}"\n'
    brand += 'help_url = "https://wiki.example.com/shells"\n'
    with Gateway(folder, SETTINGS.replace("[web]\n", f"[web]\n{brand}", 1)) as gateway:
        gateway.add_user("dev", "app01", "app02")
        gateway.add_user("boss", "app01")
        with gateway.service() as service:
            add_role(service, RoleRule(0, "user:boss", Role.ADMINISTRATOR))
            admin.add_keys(service, "dev", [f"{PUBLIC_KEY} a-laptop-with-a-rather-long-name"])
            admin.add_grant(service, "user:boss", "*", permissions=WATCH_AND_REPLAY)
            admin.change_groups(service, "dev", add=["developers", "a-group-with-a-long-name"])
            rule = RequestRule(0, "user:dev", "secret", approvers=("user:boss",))
            rule = access_requests.add_rule(service, rule)
            access_requests.make_request(service, "dev", [Target("secret")], rule, "INC-42, stuck")
        with live_terminal(gateway.start().port("web")):
            yield gateway


def at(tab: Tab, base: str, page: str) -> None:
    tab.open(f"{base}/admin/{page}")
    tab.until("document.querySelector('main h1') !== null")


@pytest.mark.access(38)
@needs_axe
@pytest.mark.parametrize("page", PAGES)
def test_each_page_can_be_read_and_reached_in_each_look(tab: Tab, base: str, page: str) -> None:
    become(tab, base, "boss")
    problems = problems_of(tab, f"admin-{page}", lambda: at(tab, base, page))
    assert not problems, "\n".join(problems)


@pytest.mark.access(38)
@needs_axe
@pytest.mark.parametrize("page", OPENED)
def test_each_form_can_be_read_and_reached_in_each_look(tab: Tab, base: str, page: str) -> None:
    def opens() -> None:
        at(tab, base, page)
        click(tab, OPENED[page])
        tab.until("document.querySelector('main details[open] input') !== null")

    become(tab, base, "boss")
    problems = problems_of(tab, f"admin-{page}-form", opens)
    assert not problems, "\n".join(problems)


@pytest.mark.access(38)
@pytest.mark.parametrize("page", PAGES)
def test_nothing_of_a_page_stays_english(tab: Tab, base: str, page: str) -> None:
    ask_for_chinese(tab)
    become(tab, base, "boss")
    at(tab, base, page)
    keep(tab, f"zh-cn-admin-{page}")
    assert [text for text in english(tab) if "的 enter files" not in text] == []


@pytest.mark.access(38)
def test_watch_beside_a_session_leads_to_its_terminal(tab: Tab, base: str) -> None:
    become(tab, base, "boss")
    at(tab, base, "sessions")
    click(tab, "td.act a[href*='/watch/']")
    ready(tab)
    assert tab.ask("document.getElementById('guest').textContent") == f"Watching dev: {LIVE}"
    tab.until("document.getElementById('people').textContent === 'dev types'")


def reach(tab: Tab, wanted: str) -> None:
    """Press Tab until the focus is on what has this id, name or text."""
    walked = []
    while (name := forward(tab)) != wanted:
        assert seen(tab), f"the focus on {name} is not to be seen"
        walked.append(name)
        assert len(walked) < 80, walked


def follow(tab: Tab, link: str) -> None:
    """Go to a page by the keyboard, from wherever the focus is."""
    reach(tab, link)
    send(tab)


def send(tab: Tab, text: str = "") -> None:
    """Type into the field that has the focus, and press Enter."""
    tab.type(text)
    tab.ask("window.isLeft = true")
    tab.enter()
    tab.until("!window.isLeft && document.readyState === 'complete'")


@pytest.mark.access(38)
def test_the_keyboard_alone_searches_asks_why_and_reads_a_grant(tab: Tab, base: str) -> None:
    become(tab, base, "boss")
    at(tab, base, "people")
    reach(tab, "wanted")
    send(tab, "dev")
    follow(tab, "dev")
    assert tab.ask("document.querySelector('h1').textContent.trim()") == "dev"
    reach(tab, "app")
    send(tab, "secret")
    assert "may not enter" in tab.ask("document.querySelector('h1').textContent")
    assert tab.ask("document.querySelector('main').textContent.includes('INC-42')") is False
    link = "document.querySelector('#changes + ul a[href*=preview]').search"
    assert "subject=user%3Adev&app=secret" in tab.ask(link)


@pytest.mark.access(38)
def test_the_keyboard_alone_makes_every_kind_of_change(
    tab: Tab, base: str, gateway: Gateway
) -> None:
    """It ends a session, adds and removes a grant, decides on a request, and finds all that in the audit."""

    def grants() -> list[str]:
        with gateway.service() as service:
            return [rule.app_pattern for rule in admin.read_policy(service).grants]

    become(tab, base, "boss")
    at(tab, base, "sessions")
    with live_terminal(gateway.port("web"), "app02"):
        follow(tab, "Confirm now")
        tab.until("document.activeElement.id === 'secret'")
        send(tab, PASSWORD)
        reach(tab, "wanted")
        send(tab, "app02")
        reach(tab, "End…")
        tab.enter()
        tab.until("document.querySelector('details.more[open]') !== null")
        assert forward(tab).startswith("why-")
        send(tab, "maintenance")
        gateway.wait_for(lambda line: "maintenance" in str(line))
    follow(tab, "Grants")
    reach(tab, "Add a grant")
    tab.enter()
    reach(tab, "subject")
    tab.type("user:dev")
    assert forward(tab) == "app"
    send(tab, "secret")
    assert tab.ask("document.getElementById('who').textContent") == "Who gains"
    assert "secret" not in grants()
    follow(tab, "Add this grant")
    assert "secret" in grants()
    follow(tab, "Remove the grant")
    assert "secret" not in grants()
    follow(tab, "All requests")
    follow(tab, "Request 1")
    reach(tab, "why")
    send(tab, "not today")
    assert "not today" in tab.ask("document.querySelector('main').textContent")
    follow(tab, "Audit")
    reach(tab, "q")
    send(tab, "user:boss")

    def are_found() -> bool:
        """Search again: the index follows the audit a moment later."""
        reach(tab, "q")
        send(tab)
        return bool(tab.ask("document.querySelectorAll('main tbody tr').length") >= 4)

    wait_until(are_found)
