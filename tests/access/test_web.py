"""The pages of access requests, by HTTP alone: attacks first."""

import html
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.person import set_disabled
from stagedoor.admin.requests import access_requests as requests
from stagedoor.admin.roles import add_role
from stagedoor.admin.sign_ins import end_sign_ins, list_sign_ins
from stagedoor.client.attach.secret_prompt import PersonPrompt
from stagedoor.model.access_request import RequestRule, RequestState
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.model.role import Role, RoleRule
from stagedoor.model.target import Target
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.fixtures.laptop import Waiting, open_terminal, read_question
from tests.fixtures.people import Answer, PlainBrowser
from tests.web.conftest import SETTINGS
from tests.web.outer import attach_command, outer

WAITS = re.compile(r"access: request (\d+) waits (for) group:sre")
RULE = RequestRule(0, "group:dev", "app*", longest_s=7200, approvers=("group:sre",))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("requests"), SETTINGS) as gateway:
        with gateway.service() as service:
            for name, group in (("dev", "dev"), ("ned", "dev"), ("bob", "sre"), ("eve", "other")):
                admin.add_user(service, name, groups=[group], password=PASSWORD)
            requests.add_rule(service, RULE)
        yield gateway.start()


@pytest.fixture
def port(gateway: Gateway) -> int:
    return gateway.port("web")


@pytest.fixture(autouse=True)
def no_request_is_left(gateway: Gateway) -> Iterator[None]:
    yield
    with gateway.changed() as service:
        for request in requests.list_requests(service, open_only=True):
            requests.leave_request(service, request.id)


def signed_in(port: int, name: str) -> PlainBrowser:
    browser = PlainBrowser(port)
    assert browser.sign_in(name).status == 303
    return browser


def ask(browser: PlainBrowser, app: str = "app01", reason: str = "INC-1") -> int:
    answer = browser.post("/requests", app=app, reason=reason, minutes="30")
    assert answer.status == 303, answer.text
    return find_number(answer)


def find_number(answer: Answer) -> int:
    """Return the number of the request to whose page the answer leads."""
    return int(answer.headers["location"].rpartition("/")[2].partition("?")[0])


def find_rule(service: admin.AdminService) -> RequestRule:
    rules = admin.read_policy(service).request_rules.values()
    return next(rule for rule in rules if rule.subject == RULE.subject)


def state(gateway: Gateway, number: int) -> RequestState:
    with gateway.service() as service:
        return requests.read_request(service, number).request.find_state(service.clock())


@pytest.mark.access(12)
def test_a_link_that_is_opened_decides_nothing(gateway: Gateway, port: int) -> None:
    number = ask(signed_in(port, "dev"))
    bob = signed_in(port, "bob")
    for act in ("approve", "deny", "withdraw", "review"):
        assert bob.get(f"/requests/{number}/{act}").status in (404, 405)
    assert bob.get(f"/requests/{number}").status == 200
    assert state(gateway, number) is RequestState.PENDING


def test_no_page_of_another_site_decides(gateway: Gateway, port: int) -> None:
    number = ask(signed_in(port, "dev"))
    bob = signed_in(port, "bob")
    for origin in (None, "null", "https://evil.example"):
        elsewhere = PlainBrowser(port, host=bob.host, cookie=bob.cookie, origin=origin)
        assert elsewhere.post(f"/requests/{number}/approve").status == 403
        assert elsewhere.post("/requests", app="app02", reason="x").status == 403
    assert state(gateway, number) is RequestState.PENDING


@pytest.mark.access(9)
def test_only_an_approver_who_is_another_person_decides(gateway: Gateway, port: int) -> None:
    dev, eve = signed_in(port, "dev"), signed_in(port, "eve")
    number = ask(dev)
    own = dev.post(f"/requests/{number}/approve")
    assert (own.status, "is your own" in own.text) == (403, True)
    hidden = [eve.post(f"/requests/{n}/approve").text for n in (number, 999_999)]
    assert hidden[0] == hidden[1]
    assert "there is no such request" in hidden[0]
    assert eve.get(f"/requests/{number}").status == 403
    token = PlainBrowser(port)
    assert token.sign_in("bob", gateway.token("bob")).status == 303
    assert "only a person" in token.post(f"/requests/{number}/approve").text
    assert state(gateway, number) is RequestState.PENDING


@pytest.mark.access(9, 10)
@pytest.mark.parametrize("lost", ["group", "account", "sign-in", "cookie"])
def test_a_form_that_an_approver_opened_before_decides_nothing_after_the_loss(
    gateway: Gateway, port: int, lost: str
) -> None:
    """The form is sent at once, before the workers read the change."""
    number, name = ask(signed_in(port, "ned")), f"lost-{lost}"
    with gateway.changed() as service:
        admin.add_user(service, name, groups=["sre"], password=PASSWORD)
    approver = signed_in(port, name)
    assert f"/requests/{number}/approve" in approver.get(f"/requests/{number}").text
    if lost == "cookie":
        assert approver.post("/sign-out").status == 303
    with gateway.service() as service:
        match lost:
            case "group":
                admin.change_groups(service, name, remove=["sre"])
            case "account":
                set_disabled(service, name, disabled=True)
            case "sign-in":
                end_sign_ins(service, list_sign_ins(service, name), "lost")
    for act in ("approve", "deny"):
        assert approver.post(f"/requests/{number}/{act}").status in (303, 400, 403)
    assert state(gateway, number) is RequestState.PENDING


def test_an_approval_is_given_once_and_for_no_longer_than_was_asked(
    gateway: Gateway, port: int
) -> None:
    bob, elsewhere = signed_in(port, "bob"), signed_in(port, "bob")
    number = ask(signed_in(port, "ned"))
    for minutes in ("31", "999999", "-1", "1e9", "NaN"):
        assert bob.post(f"/requests/{number}/approve", minutes=minutes).status == 400, minutes
    assert state(gateway, number) is RequestState.PENDING
    assert bob.post(f"/requests/{number}/approve", minutes="10").status == 303
    for person in (bob, elsewhere):
        for act in ("approve", "deny"):
            again = person.post(f"/requests/{number}/{act}", minutes="30")
            assert (again.status, "is approved already" in again.text) == (400, True)
    with gateway.service() as service:
        record = requests.read_request(service, number)
    assert (record.request.lasts_s, len(record.decisions)) == (600, 1)


def test_what_a_reason_holds_is_text(port: int) -> None:
    reason = "<script>alert(1)</script> \"'&"
    number = ask(signed_in(port, "dev"), reason=reason)
    for path in (f"/requests/{number}", "/requests"):
        page = signed_in(port, "bob").get(path).text
        assert "<script>alert" not in page
        assert html.escape(reason).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page


@pytest.mark.access(19)
def test_a_user_who_may_ask_for_nothing_sees_the_refusal_as_before(port: int) -> None:
    eve = signed_in(port, "eve")
    refused = eve.get("/app/app01")
    assert refused.status == 403
    assert "no grant for" in refused.text
    assert "equest" not in refused.text
    assert "equest" not in eve.get("/").text
    wrong = eve.post("/requests", app="app01", reason="x")
    assert (wrong.status, "you may not ask for that" in wrong.text) == (403, True)


@pytest.mark.access(3)
def test_the_refusal_is_a_form_and_the_terminal_opens_after_the_approval(
    gateway: Gateway, port: int
) -> None:
    dev, bob = signed_in(port, "dev"), signed_in(port, "bob")
    leads = dev.get("/app/app01")
    assert (leads.status, leads.headers["location"]) == (303, "/requests?app=app01")
    form = dev.get(leads.headers["location"]).text
    assert "app01 is open on request (2 h at most; group:sre decides)" in form
    assert 'value="app01"' in form
    wrong = dev.post("/requests", app="app01", reason="")
    assert (wrong.status, "give a reason" in wrong.text) == (403, True)
    number = ask(dev, reason="INC-2, stuck")
    from_form = f"/requests/{number}?opens=terminal"
    waits = dev.get(from_form).text
    assert '<meta http-equiv="refresh" content="2">' in waits
    gateway.wait_for_policy()
    assert dev.get("/requests?app=app01").headers["location"] == from_form

    assert f'href="/requests/{number}"' in bob.get("/requests").text
    shown = bob.get(f"/requests/{number}").text
    assert "INC-2, stuck" in shown
    assert "Has now nothing" in read_words(shown)
    assert "not recently" in shown
    assert re.search(r'name="minutes"[^>]*max="30"', shown)
    assert bob.post(f"/requests/{number}/approve", minutes="10").status == 303
    assert state(gateway, number) is RequestState.APPROVED
    gateway.wait_for_policy()
    assert 'content="0;url=/app/app01"' in dev.get(from_form).text
    listed = dev.get(f"/requests/{number}").text
    assert 'http-equiv="refresh"' not in listed, "its user wants to end the access"
    assert "End access" in listed
    assert 'href="/app/app01">Open the terminal' in listed
    assert dev.get("/app/app01").status in (200, 503), "503 where the page is not built"
    assert dev.post(f"/requests/{number}/withdraw").status == 303
    assert state(gateway, number) is RequestState.ENDED


def test_approvers_see_what_they_give_and_what_the_requester_has_there(
    gateway: Gateway, port: int
) -> None:
    more = {Permission.FORWARD, Permission.RECORD}
    rule = replace(RULE, app_pattern="db*", permissions=DEFAULT | more)
    watching = frozenset({Permission.WATCH, Permission.REPLAY})
    with gateway.changed() as service:
        rule = requests.add_rule(service, rule)
        grant = admin.add_grant(service, "user:dev", "db02", permissions=watching)
        add_role(service, RoleRule(0, "user:bob", Role.AUDITOR))
    number = ask(signed_in(port, "dev"), "db01 db02")
    gateway.wait_for_policy()
    bob = signed_in(port, "bob")
    for page in (f"/requests/{number}", "/admin/requests"):
        words = read_words(bob.get(page).text)
        assert "open a shell, move files, forward ports" in words, page
        assert "db02: watch terminals, play recordings" in words, page
        assert "record terminals" not in words, "a duty is no right"
    assert "Recorded db01 · db02" in read_words(bob.get(f"/requests/{number}").text)
    own = read_words(signed_in(port, "dev").get(f"/requests/{number}").text)
    assert "To do what open a shell, move files, forward ports" in own
    with gateway.changed() as service:
        requests.remove_rule(service, rule.id)
        admin.remove_grant(service, grant.id)
    assert "Recorded no" in read_words(bob.get(f"/requests/{ask(signed_in(port, 'dev'))}").text)


def test_the_frame_counts_the_requests_that_wait_for_the_person(
    gateway: Gateway, port: int
) -> None:
    dev, bob, eve = (signed_in(port, name) for name in ("dev", "bob", "eve"))
    count = re.compile(r'<span class="count">(\d+)</span>')
    assert count.findall(bob.get("/").text) == []
    numbers = [ask(dev, app) for app in ("app01", "app02")]
    gateway.wait_for_policy()
    assert count.findall(bob.get("/").text) == ["2"]
    for other in (dev, eve):
        assert count.findall(other.get("/").text) == []
    bob.post(f"/requests/{numbers[0]}/deny")
    gateway.wait_for_policy()
    assert count.findall(bob.get("/").text) == ["1"]


def read_words(page: str) -> str:
    """Return the text of a page, with one blank between two words."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split()).replace(" :", ":")


@pytest.mark.access(3)
def test_attach_shows_where_to_ask_and_goes_on(port: int, tmp_path: Path) -> None:
    asks = re.compile("(app01) .*: (access: app01 is open on request)")
    alone = attach(port, tmp_path, asks, start_new_session=True)
    assert alone.end()[0] == 22
    assert "app01 is open on request (2 h at most; group:sre decides); ask: " in alone.said
    with open_terminal() as (near, take_terminal):
        waiting = attach(port, tmp_path, asks, preexec_fn=take_terminal)
        read_question(near)
        os.write(near, b"\n")
        waiting.asked()
        number = ask(signed_in(port, "dev"))
        assert signed_in(port, "bob").post(f"/requests/{number}/approve").status == 303
        assert waiting.end() == (0, b"in\r\n"), waiting.said
    assert waiting.said.count("is open on request") == 1


def attach(port: int, folder: Path, asks: re.Pattern[str], **options: Any) -> Waiting:
    """Run `stagedoor attach` to app01 as dev."""
    file = folder / "password"
    file.touch(mode=0o600)
    file.write_text(PASSWORD)
    program = (sys.executable, "-m", "stagedoor", "attach", "--url", f"http://127.0.0.1:{port}")
    command = ("--user", "dev", "--token-file", str(file), "app01", "--", "echo", "in")
    return Waiting(*program, *command, asks=asks, **options)


def find_reason(gateway: Gateway, number: int) -> str:
    with gateway.service() as service:
        return requests.read_request(service, number).request.reason


@pytest.mark.access(3)
def test_attach_asks_for_the_reason_at_the_terminal(
    gateway: Gateway, port: int, tmp_path: Path
) -> None:
    with open_terminal() as (near, take_terminal):
        waiting = attach(port, tmp_path, WAITS, preexec_fn=take_terminal)
        assert b"app01 is open on request" in read_question(near)
        os.write(near, b"INC-14\n")
        number = int(waiting.asked()[0])
        assert find_reason(gateway, number) == "INC-14"
        approve(port, number)
        assert waiting.end() == (0, b"in\r\n"), waiting.said


@pytest.mark.access(3, 8)
def test_attach_sends_the_reason_of_its_environment_once(
    gateway: Gateway, port: int, tmp_path: Path
) -> None:
    env = {**os.environ, "STAGEDOOR_REASON": "INC-13"}
    waiting = attach(port, tmp_path, WAITS, env=env, start_new_session=True)
    number = int(waiting.asked()[0])
    assert find_reason(gateway, number) == "INC-13"
    denied = signed_in(port, "bob").post(f"/requests/{number}/deny", why="use staging")
    assert denied.status == 303
    assert waiting.end()[0] != 0
    with gateway.service() as service:
        assert requests.list_requests(service, open_only=True) == []


def test_a_person_waits_until_an_approver_has_decided() -> None:
    person = PersonPrompt("app01", "INC-1")
    may_ask = "app01 is open on request (2 h at most; group:sre decides)"
    assert person.show({"step": f"access: {may_ask}", "message": may_ask})
    assert (person.take_reason(), person.take_reason()) == ("INC-1", "")
    waits = "access: request 5 waits for group:sre"
    assert person.show({"step": waits, "message": may_ask})
    assert not person.show({"step": waits, "message": "request 5 was denied by bob"})
    assert not person.show({"step": f"access: {may_ask}", "message": may_ask}), "it is over"
    assert person.take_reason() == ""


def approve(port: int, number: int) -> None:
    approved = signed_in(port, "bob").post(f"/requests/{number}/approve")
    assert approved.status == 303, approved.text


@pytest.mark.access(15)
def test_attach_shows_in_the_persons_language_that_access_ends_soon(
    gateway: Gateway, port: int, tmp_path: Path
) -> None:
    """A request for 62 seconds, which no form takes: two seconds until there is a minute left."""
    with gateway.changed() as service:
        made = requests.make_request(service, "dev", [Target("app02")], find_rule(service), "x", 62)
    approve(port, made.id)
    gateway.wait_for_policy()
    with outer(tmp_path) as screen:
        screen.start(
            ("env", "LC_ALL=zh_CN.UTF-8", *attach_command(tmp_path, port, "app02", "--shell"))
        )
        screen.shows("stagedoor: 对 app02 的访问将在 1 分钟后结束；要延长请再次申请")
        title = screen.flag("pane_title")
        assert title == "对 app02 的访问将在 1 分钟后结束；要延长请再次申请"
        screen.line("exit")
        screen.shows("exit=0")


def test_a_denied_request_says_why(gateway: Gateway, port: int) -> None:
    dev, bob = signed_in(port, "dev"), signed_in(port, "bob")
    number = ask(dev)
    assert bob.post(f"/requests/{number}/deny", why="use staging").status == 303
    assert f"request {number} was denied by bob: use staging" in dev.get(f"/requests/{number}").text
    late = bob.post(f"/requests/{number}/approve")
    assert "is denied already" in late.text


@pytest.mark.access(16)
def test_the_form_asks_for_permissions_and_for_break_glass(gateway: Gateway, port: int) -> None:
    wide = replace(RULE, subject="user:dev", permissions=DEFAULT | {Permission.FORWARD})
    glass = replace(RULE, longest_s=1800, approvals=0, is_break_glass=True)
    dev = signed_in(port, "dev")
    assert "break_glass" not in dev.get("/requests").text
    with gateway.changed() as service:
        added = [requests.add_rule(service, rule) for rule in (wide, glass)]
    form = dev.get("/requests").text
    assert "allow-forward" in form
    assert "break_glass" in form
    asked = dev.post("/requests", app="app01", reason="INC-1", **{"allow-forward": "on"})
    with gateway.service() as service:
        number = find_number(asked)
        request = requests.read_request(service, number).request
    assert Permission.FORWARD in request.permissions
    proof = dev.post("/requests", app="app01", reason="INC-1", break_glass="on")
    assert proof.headers["location"] == "/step-up?next=%2Frequests"
    with gateway.changed() as service:
        for rule in added:
            requests.remove_rule(service, rule.id)


@pytest.mark.access(16)
def test_approvers_see_a_use_of_break_glass_until_they_have_reviewed_it(
    gateway: Gateway, port: int
) -> None:
    glass = replace(RULE, longest_s=1800, approvals=0, is_break_glass=True)
    with gateway.changed() as service:
        rule = requests.add_rule(service, glass)
        number = requests.make_request(service, "dev", [Target("app01")], rule, "INC-1").id
        requests.leave_request(service, number)
    bob = signed_in(port, "bob")
    listed = bob.get("/requests").text
    assert f"Request {number}</a>" in listed
    assert "not reviewed yet" in listed
    assert bob.post(f"/requests/{number}/review").status == 303
    assert f"Request {number}</a>" not in bob.get("/requests").text


def test_a_form_asks_for_later_and_a_later_approver_sees_when_they_decide(
    gateway: Gateway, port: int
) -> None:
    with gateway.changed() as service:
        admin.add_user(service, "zoe", groups=["leads"], password=PASSWORD)
        rule = RequestRule(0, "user:dev", "slow", approvers=("user:bob",))
        requests.add_rule(service, replace(rule, later_approvers=("group:leads",), later_s=900))
    dev, zoe = signed_in(port, "dev"), signed_in(port, "zoe")
    asked = dev.post("/requests", app="slow", reason="INC-1", minutes="30", hours="5")
    assert asked.status == 303, asked.text
    place = f"/requests/{find_number(asked)}"
    shown = zoe.get(place).text
    assert "<dt>You can decide from</dt>" in shown
    assert "<dt>Begins</dt>" in shown
    assert "Approve</button>" not in shown
    assert "you may decide on request" in zoe.post(f"{place}/approve").text
    approve(port, find_number(asked))
    gateway.wait_for_policy()
    page = dev.get(asked.headers["location"]).text
    assert re.search(r"is approved for 30 min, from .+Z on", page)
    assert "/app/slow" not in page, "it opens nothing yet"
    wrong = dev.post("/requests", app="slow", reason="INC-1", hours="x")
    assert "a number of minutes or hours" in wrong.text


def test_a_rule_with_step_up_leads_the_approver_to_the_proof(gateway: Gateway, port: int) -> None:
    with gateway.changed() as service:
        rule = RequestRule(0, "user:dev", "secret", approvers=("user:bob",), needs_step_up=True)
        requests.add_rule(service, rule)
    number = ask(signed_in(port, "dev"), "secret")
    leads = signed_in(port, "bob").post(f"/requests/{number}/approve")
    assert leads.status == 303
    assert leads.headers["location"] == f"/step-up?next=%2Frequests%2F{number}"
    assert state(gateway, number) is RequestState.PENDING
