"""From the form of an access request to the terminal, which opens by itself after the approval."""

import json
from collections.abc import Iterator

import pytest

from acceptance.chromium import Tab
from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.model.access_request import RequestRule
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.web.browser.conftest import click, ready, sign_in
from tests.web.conftest import SETTINGS

LOOKS = """
const send = window.fetch.bind(window);
const decided = new Promise((resolve) => { window.decide = resolve; });
window.looks = 0;
window.fetch = async (...what) => {
  window.looks += 1;
  if (IS_LATE) await decided;
  return window.looks === 2 && !IS_LATE ? new Response("away", { status: 502 }) : send(...what);
};
"""
"""Run in a new page, it counts the looks at the gateway. The first comes after the decision, or the second
meets a proxy whose gateway is away."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("asks"), SETTINGS) as gateway:
        with gateway.service() as service:
            admin.add_user(service, "dev", password=PASSWORD)
            admin.add_user(service, "bob", password=PASSWORD)
            requests.add_rule(service, RequestRule(0, "user:dev", "*", approvers=("user:bob",)))
        yield gateway.start()


def ask(tab: Tab, base: str, app: str) -> int:
    """Come to an app's form from its terminal, send it, and return the request's number."""
    sign_in(tab, base, f"/app/{app}")
    assert tab.ask("location.pathname + location.search") == f"/requests?app={app}"
    tab.ask("document.getElementById('reason').focus()")
    tab.type("INC-42, stuck queue")
    click(tab, "main form button[type=submit]")
    waits = (
        "document.querySelector('main[data-refresh]')?.textContent.includes('Waiting for user:bob')"
    )
    tab.until(f"{waits} && document.readyState === 'complete'")
    return int(tab.ask("location.pathname.split('/')[2]"))


def approve(gateway: Gateway, number: int) -> None:
    with gateway.changed() as service:
        requests.decide(service, number, approver="bob", is_yes=True)


@pytest.mark.access(3)
def test_the_terminal_opens_by_itself_after_the_approval(
    tab: Tab, base: str, gateway: Gateway
) -> None:
    number = ask(tab, base, "app01")
    approve(gateway, number)
    tab.until("location.pathname === '/app/app01'")
    ready(tab)
    assert not tab.trouble


@pytest.mark.access(3)
@pytest.mark.parametrize("is_late", [True, False], ids=["decided before the first look", "away"])
def test_a_page_that_waits_misses_no_decision(
    tab: Tab, base: str, gateway: Gateway, *, is_late: bool
) -> None:
    source = LOOKS.replace("IS_LATE", json.dumps(is_late))
    script = tab.call("Page.addScriptToEvaluateOnNewDocument", source=source)
    number = ask(tab, base, "app02")
    tab.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])
    tab.until(f"window.looks >= {1 if is_late else 3}")
    approve(gateway, number)
    tab.ask("window.decide?.()")  # the page may have gone on already
    tab.until("location.pathname === '/app/app02'")
    ready(tab)
    assert not tab.trouble
    with gateway.changed() as service:
        requests.leave_request(service, number)
