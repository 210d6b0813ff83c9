"""The notice on a terminal's page that access on request ends soon."""

import json
from collections.abc import Iterator

import pytest

from acceptance.chromium import Tab
from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.model.access_request import RequestRule
from stagedoor.model.target import Target
from stagedoor.store import people
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.web.browser.conftest import ready, sign_in
from tests.web.conftest import SETTINGS

PLACE = "document.getElementById('ending')"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("ends"), SETTINGS) as gateway:
        with gateway.service() as service:
            admin.add_user(service, "dev", password=PASSWORD)
            admin.add_user(service, "bob", password=PASSWORD)
            rule = RequestRule(0, "user:dev", "*", longest_s=7200, approvers=("user:bob",))
            requests.add_rule(service, rule)
        yield gateway.start()


def open_for(gateway: Gateway, seconds: float) -> None:
    with gateway.changed() as service:
        [rule] = admin.read_policy(service).request_rules.values()
        made = requests.make_request(service, "dev", [Target("app01")], rule, "INC-1", seconds)
        requests.decide(service, made.id, is_yes=True)


@pytest.mark.access(15)
@pytest.mark.parametrize(
    ("language", "text", "again"),
    [
        ("en", "access to app01 ends in 1 min; ask again to extend it", "Ask again"),
        ("zh-CN", "对 app01 的访问将在 1 分钟后结束；要延长请再次申请", "再次申请"),
    ],
)
def test_it_is_spoken_leads_to_the_form_and_leaves_the_terminals_size(
    tab: Tab, base: str, gateway: Gateway, language: str, text: str, again: str
) -> None:
    """At most two seconds until there is a minute left; then the access is extended."""
    open_for(gateway, 62)
    with gateway.changed() as service, service.change("user.language") as change:
        people.set_language(change.transaction, "dev", language)
    sign_in(tab, base, "/app/app01")
    ready(tab)
    assert tab.ask(f"[{PLACE}.role, {PLACE}.ariaLive]") == ["status", "polite"]
    box = "JSON.stringify(document.getElementById('screen').getBoundingClientRect())"
    before = tab.ask(box)
    tab.until(f"{PLACE}.firstChild?.textContent === {json.dumps(text)} && !{PLACE}.hidden")
    link = f"{PLACE}.querySelector('a')"
    assert tab.ask(f"[{link}.textContent, {link}.target]") == [again, "_blank"]
    assert tab.ask(f"new URL({link}.href).pathname + new URL({link}.href).search") == (
        "/requests?app=app01"
    )
    assert tab.ask(box) == before
    open_for(gateway, 600)
    tab.until(f"{PLACE}.hidden")
    assert not tab.trouble
    with gateway.changed() as service:
        for request in requests.list_requests(service, open_only=True):
            requests.leave_request(service, request.id)
    tab.until("document.getElementById('status').dataset.state === 'over'")
    assert tab.ask(f"{PLACE}.hidden")
