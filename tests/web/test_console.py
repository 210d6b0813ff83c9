"""The pages of administrators, by HTTP alone: attacks first, then what each role sees and does."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from urllib.parse import parse_qsl

import pytest
from msgspec import structs

from stagedoor.admin import service as admin
from stagedoor.admin.person import set_disabled
from stagedoor.admin.requests import access_requests
from stagedoor.admin.roles import add_role, remove_role
from stagedoor.model.access_request import RequestRule
from stagedoor.model.permission import Permission
from stagedoor.model.role import Role, RoleRule
from stagedoor.model.selector import ALL_USERS
from stagedoor.model.target import Target
from stagedoor.store.journal import StoreJournal
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import WebTerminal, ticket
from tests.store.sample import closed, opened
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS
from tests.web.passkeys import add_passkey, by_name, prove, signed_in

PAGES = (
    "sessions",
    "requests",
    "people",
    "people/dev",
    "grants",
    "grants/1",
    "audit",
    "why",
    "health",
    "sign-ins",
    "sign-ins?kind=key",
    "sign-ins?kind=token",
    "rules",
    "rules/role/1",
)
FOR_ALL_APPS = {
    page for page in PAGES if page.startswith(("people", "health", "sign-ins", "rules"))
}
ACTS = (
    "sessions/0123456789ab/end",
    "people/dev/disable",
    "people/dev/enable",
    "people/dev/sign-in",
    "people/dev/key",
    "people/dev/token",
    "grants/add",
    "grants/1/remove",
    "grants/1/on-request",
    "rules/role/add",
    "rules/role/1/remove",
    "rules/request/add",
    "rules/request/1/remove",
)
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g"
ROLES = {
    "boss": RoleRule(0, "user:boss", Role.ADMINISTRATOR),
    "aud": RoleRule(0, "user:aud", Role.AUDITOR),
    "op": RoleRule(0, "user:op", Role.OPERATOR),
    "own": RoleRule(0, "user:own", Role.OWNER, "app01"),
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    step_up = '\n[step_up]\ntargets = ["proved"]\n'
    with Gateway(tmp_path_factory.mktemp("console"), SETTINGS + step_up) as gateway:
        gateway.add_user("dev", "app01", "app02")
        gateway.add_user("own", "app01")
        gateway.add_user("patrick", "app01")
        for name in ("boss", "aud", "op"):
            gateway.add_user(name)
        with gateway.service() as service:
            for rule in ROLES.values():
                add_role(service, rule)
        yield gateway.start()


def inside(port: int, name: str) -> PlainBrowser:
    person = by_name(port)
    assert person.sign_in(name).status == 303
    return person


@pytest.fixture(scope="module")
def proved(gateway: Gateway) -> dict[str, PlainBrowser]:
    """People with a role who have just proved that they are there."""
    people = {}
    for name in ROLES:
        person = signed_in(gateway.port("web"), name)
        prove(person, add_passkey(person))
        people[name] = person
    return people


@pytest.fixture
def boss(proved: dict[str, PlainBrowser]) -> PlainBrowser:
    return proved["boss"]


def grants(gateway: Gateway) -> list[str]:
    with gateway.service() as service:
        return [f"{r.id} {r.subject} {r.app_pattern}" for r in admin.read_policy(service).grants]


def test_a_refusal_is_found_in_the_audit_and_leads_to_its_reason(
    port: int, boss: PlainBrowser
) -> None:
    """First of all: the audit counts the refusals of one source above 20 a minute, and here are many."""
    inside(port, "own").get("/app/app02")
    found: list[str] = []

    def is_indexed() -> bool:
        found[:] = [boss.get("/admin/audit?q=user:own+kind:denied+app:app02").text]
        return "no_grant" in found[0]

    wait_until(is_indexed)
    assert "/admin/why?user=own&amp;app=app02" in found[0]
    why = boss.get("/admin/why?user=own&app=app02").text
    assert "it is for app01, not app02" in why
    assert "/admin/grants/preview?subject=user%3Aown&amp;app=app02&amp;environment=" in why


def test_an_administrator_who_is_refused_sees_why_and_the_command(
    port: int, proved: dict[str, PlainBrowser]
) -> None:
    command = "stagedoor grant add user:{} app02"
    for name in ("boss", "aud"):
        refused = proved[name].get("/app/app02")
        assert refused.status == 403
        assert "/admin/why?user=" + name + "&amp;app=app02" in refused.text
        assert f"<code>{command.format(name)}</code>" in refused.text
    for person in (proved["own"], inside(port, "patrick")):
        refused = person.get("/app/app02")
        assert (refused.status, "ask an administrator" in refused.text) == (403, True)
        assert "/admin/why" not in refused.text.partition("<main")[2]
        assert "stagedoor grant" not in refused.text


def test_each_right_of_one_person_leads_to_its_reason(gateway: Gateway, boss: PlainBrowser) -> None:
    with gateway.changed() as service:
        for subject, app in (("group:why", "app03"), ("user:patrick", "glob-*")):
            admin.add_grant(service, subject, app, environment_pattern="production")
        admin.change_groups(service, "patrick", add=["why"])
    everywhere, theirs = (boss.get(f"/admin/{page}").text for page in ("grants", "people/patrick"))
    assert "/admin/why?user=dev&amp;app=app01" in everywhere
    assert "app=app03.production" not in everywhere, "a group is no person"
    assert "/admin/why?user=patrick&amp;app=app03.production" in theirs
    assert '/admin/why?user=patrick&amp;app="' in theirs, "the page asks for an app"
    asks = boss.get("/admin/why?user=patrick&app=").text
    assert 'value="patrick"' in asks
    assert "alert" not in asks


def test_who_has_no_role_finds_no_page(gateway: Gateway, port: int) -> None:
    dev = inside(port, "dev")
    token = PlainBrowser(port)
    assert token.sign_in("boss", gateway.token("boss")).status == 303
    before = grants(gateway)
    for person in (dev, token):
        assert "/admin/" not in person.get("/").text
        for page in PAGES:
            refused = person.get(f"/admin/{page}")
            assert refused.status == 404, page
            assert refused.text == person.get("/admin/none").text, "as of a wrong address"
            assert "There is no such page here." in refused.text
            assert 'class="frame"' in refused.text
            assert "auditor" not in refused.text
        for act in ACTS:
            assert person.post(f"/admin/{act}", id="x", subject="user:dev", app="*").status == 404
    stranger = PlainBrowser(port)
    for page in PAGES:
        assert stranger.get(f"/admin/{page}").headers["location"].startswith("/sign-in")
    assert grants(gateway) == before


@pytest.mark.parametrize("digits", [19, 5000])
def test_no_number_is_too_large_for_a_path(port: int, boss: PlainBrowser, digits: int) -> None:
    """Python has no limit, the store has one, and int() of a text another, which strangers reach too."""
    number = "9" * digits
    for path in ("/requests", "/admin/grants", "/admin/rules/role"):
        for person in (boss, PlainBrowser(port)):
            assert person.get(f"{path}/{number}").status == 404
            assert person.post(f"{path}/{number}/remove").status == 404


def test_no_page_of_another_site_changes_anything(gateway: Gateway, boss: PlainBrowser) -> None:
    before = grants(gateway)
    for origin in (None, "null", "https://evil.example"):
        elsewhere = PlainBrowser(boss.port, host=boss.host, cookie=boss.cookie, origin=origin)
        for act in ACTS:
            assert elsewhere.post(f"/admin/{act}").status == 403, act
    for act in ACTS:
        assert boss.get(f"/admin/{act}").status in (404, 405), act
    assert grants(gateway) == before


def test_a_role_that_was_just_taken_away_changes_nothing(
    gateway: Gateway, proved: dict[str, PlainBrowser]
) -> None:
    """A worker reads changes of the policy each half second, or what another gateway writes."""
    own, before = proved["own"], grants(gateway)
    with gateway.service() as service:
        (role,) = (
            rule for rule in admin.read_policy(service).roles.values() if rule.subject == "user:own"
        )
        remove_role(service, role.id)
        refused = own.post(
            "/admin/grants/add", subject="user:aud", app="app01", permissions="enter"
        )
        assert refused.status == 404
        assert grants(gateway) == before
        add_role(service, role)


def test_a_change_wants_a_fresh_proof(gateway: Gateway, port: int) -> None:
    before = grants(gateway)
    boss = inside(port, "boss")
    assert "Confirm now" in boss.get("/admin/sessions").text
    for act, back in (
        ("grants/1/remove", "/admin/grants/1"),
        ("people/dev/disable", "/admin/people/dev"),
        ("grants/add", "/admin/grants"),
    ):
        answer = boss.post(f"/admin/{act}", subject="user:dev", app="*", permissions="enter")
        assert answer.status == 303
        assert answer.headers["location"].startswith("/step-up?next="), act
        assert back.replace("/", "%2F") in answer.headers["location"]
    assert grants(gateway) == before
    assert "tag warn" not in boss.get("/admin/people/dev").text


def test_a_password_is_a_proof_for_these_pages_and_for_nothing_else(
    gateway: Gateway, port: int
) -> None:
    """For a person without a passkey. It opens no app that wants a proof, and no guess is free."""
    with gateway.changed() as service:
        admin.add_user(service, "patty", password=PASSWORD)
        admin.add_grant(service, "user:patty", "proved")
        add_role(service, RoleRule(0, "user:patty", Role.OPERATOR))
    patty = inside(port, "patty")
    page = "/admin/people/dev"
    assert "Confirm by password" in patty.get(f"/step-up?next={page}").text
    for elsewhere in ("/app/proved", "/account", "//evil.example/admin/", ""):
        assert "Confirm by password" not in patty.get(f"/step-up?next={elsewhere}").text
        refused = patty.post("/step-up/password", secret=PASSWORD, next=elsewhere)
        assert (refused.status, "no proof here" in refused.text) == (403, True)
    foreign = PlainBrowser(
        port, host=patty.host, cookie=patty.cookie, origin="https://evil.example"
    )
    assert foreign.post("/step-up/password", secret=PASSWORD, next=page).status == 403
    assert patty.post("/step-up/password", secret="wrong", next=page).status == 403
    token = gateway.token("patty")
    assert patty.post("/step-up/password", secret=token, next=page).status == 400
    assert patty.post("/admin/people/dev/disable").headers["location"].startswith("/step-up")
    proved = patty.post("/step-up/password", secret=PASSWORD, next=page)
    assert (proved.status, proved.headers["location"]) == (303, page)
    assert "Confirm now" not in patty.get(page).text
    assert "Confirm now" in inside(port, "patty").get(page).text, "for this sign-in alone"
    assert patty.post("/admin/people/own/disable").status == 303
    assert "tag warn" in patty.get("/admin/people/own").text
    with gateway.changed() as service:
        set_disabled(service, "own", disabled=False)
    assert patty.get("/app/proved").headers["location"].startswith("/step-up")
    events = [e["fields"] for e in gateway.audit() if e["kind"] == "policy.changed"]
    assert [e["user"] for e in events if e.get("action") == "step-up.password"] == ["patty"]


def test_who_has_a_passkey_proves_it_by_that_and_not_by_password(
    proved: dict[str, PlainBrowser],
) -> None:
    page = "/admin/people/dev"
    assert "Confirm by password" not in proved["op"].get(f"/step-up?next={page}").text
    assert proved["op"].post("/step-up/password", secret=PASSWORD, next=page).status == 403


@pytest.mark.parametrize("name", ROLES)
def test_each_role_sees_what_it_may(proved: dict[str, PlainBrowser], name: str) -> None:
    person = proved[name]
    for page in PAGES:
        status = person.get(f"/admin/{page}").status
        hidden = name == "own" and page in FOR_ALL_APPS
        assert status == (403 if hidden else 200), page
    nav = person.get("/").text
    assert ("/admin/people" in nav) == (name != "own")
    assert "/admin/sessions" in nav


def test_an_owner_sees_their_apps_only(
    gateway: Gateway, port: int, proved: dict[str, PlainBrowser]
) -> None:
    own = proved["own"]
    listed = own.get("/admin/grants").text
    assert "app02" not in listed
    assert "app01" in listed
    number = next(line.split()[0] for line in grants(gateway) if line.endswith("user:dev app02"))
    assert own.get(f"/admin/grants/{number}").status == 404
    assert own.post(f"/admin/grants/{number}/remove").status == 400
    refused = own.get("/admin/why?user=dev&app=app02")
    assert "you do not have" in refused.text
    assert "dev may enter" in own.get("/admin/why?user=dev&app=app01").text
    inside(port, "dev").get("/app/secret")
    events = own.get("/admin/audit?days=").text
    assert "secret" not in events
    assert "policy.changed" not in events
    with gateway.service() as service:
        hidden = structs.replace(opened("0123456789ab", who="marvin"), target="app02.ssh")
        StoreJournal(service.database).append([hidden])
    assert "marvin" not in own.get("/admin/sessions").text
    ends = [own.post(f"/admin/sessions/{id_}/end") for id_ in ("0123456789ab", "absent")]
    assert [(end.status, "no such session" in end.text) for end in ends] == [(400, True)] * 2
    with gateway.service() as service:
        StoreJournal(service.database).append([closed("0123456789ab")])


@pytest.mark.parametrize(
    ("name", "act", "status"),
    [
        ("aud", "people/dev/disable", 403),
        ("aud", "grants/1/remove", 403),
        ("aud", "grants/add", 403),
        ("op", "grants/1/remove", 403),
        ("op", "people/dev/enable", 403),
        ("op", "people/dev/key", 403),
        ("op", "people/op/disable", 403),
        ("own", "people/dev/disable", 403),
        ("own", "grants/1/on-request", 403),
        ("own", "rules/role/add", 403),
        ("own", "rules/request/add", 403),
        ("op", "rules/role/1/remove", 403),
        ("op", "rules/request/1/remove", 403),
        ("boss", "rules/other/add", 404),
    ],
)
def test_each_role_does_no_more_than_it_may(
    gateway: Gateway, proved: dict[str, PlainBrowser], name: str, act: str, status: int
) -> None:
    before = grants(gateway)
    fields = {"subject": "user:dev", "app": "app02", "permissions": "enter", "approvers": "user:x"}
    fields["role"] = "owner"
    assert proved[name].post(f"/admin/{act}", **fields).status == status
    assert grants(gateway) == before


def test_an_owner_gives_what_they_have_and_nothing_else(
    gateway: Gateway, proved: dict[str, PlainBrowser]
) -> None:
    own = proved["own"]
    give = partial(own.post, "/admin/grants/add", subject="group:crew")
    assert give(app="app02", permissions="enter").status == 403
    assert give(app="*", permissions="enter").status == 403
    assert "you lack forward" in give(app="app01", permissions="enter,forward").text
    added = give(app="app01", permissions="enter")
    assert added.status == 303, added.text
    assert own.post(f"{added.headers['location']}/remove").status == 303


def test_who_gains_and_loses_is_shown_before_a_grant_is_changed(
    gateway: Gateway, boss: PlainBrowser
) -> None:
    with gateway.changed() as service:
        admin.change_groups(service, "dev", add=["crew"])
    wanted = "subject=group:crew&app=secret&permission=enter&permission=watch&days=7"
    shown = boss.get(f"/admin/grants/preview?{wanted}").text
    assert "Who gains" in shown
    assert re.search(r'people/dev">dev</a>.*?enter, watch', shown, re.S)
    before = grants(gateway)
    fields = {
        name: re.search(f'name="{name}" value="([^"]*)"', shown)[1]  # type: ignore[index]
        for name in ("subject", "app", "environment", "days", "permissions")
    }
    added = boss.post("/admin/grants/add", **fields)
    assert added.status == 303, added.text
    page = boss.get(added.headers["location"]).text
    assert "Who loses" in page
    assert "group:crew" in page
    assert len(grants(gateway)) == len(before) + 1
    assert "dev may enter" in boss.get("/admin/why?user=dev&app=secret").text
    assert boss.post(f"{added.headers['location']}/remove").status == 303
    assert grants(gateway) == before
    why = boss.get("/admin/why?user=dev&app=secret").text
    assert "/admin/grants/preview?subject=user%3Adev&amp;app=secret&amp;" in why


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": "dev", "app": "app01", "permissions": "enter"},
        {"subject": "user:missing", "app": "app01", "permissions": "enter"},
        {"subject": "user:dev", "app": "App 01", "permissions": "enter"},
        {"subject": "user:dev", "app": "app03", "permissions": "fly"},
        {"subject": "user:dev", "app": "app03", "permissions": "enter", "days": "soon"},
        {"subject": "user:dev", "app": "app03", "permissions": "enter", "days": "99999999"},
        {},
    ],
)
def test_a_wrong_form_changes_nothing(
    gateway: Gateway, boss: PlainBrowser, fields: dict[str, str]
) -> None:
    before = grants(gateway)
    answer = boss.post("/admin/grants/add", **fields)
    assert 400 <= answer.status < 500
    assert "stagedoor user" not in answer.text
    assert grants(gateway) == before


def test_a_grant_is_made_on_request(gateway: Gateway, boss: PlainBrowser) -> None:
    with gateway.changed() as service:
        rule = admin.add_grant(service, "group:night", "secret")
    assert "Make it on request" in boss.get(f"/admin/grants/{rule.id}").text
    wrong = boss.post(f"/admin/grants/{rule.id}/on-request", approvers=ALL_USERS)
    assert (wrong.status, "name the approvers" in wrong.text) == (400, True)
    done = boss.post(f"/admin/grants/{rule.id}/on-request", approvers="group:sre user:boss")
    assert done.status == 303, done.text
    assert not [line for line in grants(gateway) if "group:night" in line]
    with gateway.service() as service:
        *_, made = admin.read_policy(service).request_rules.values()
    assert (made.subject, made.app_pattern) == ("group:night", "secret")
    assert made.approvers == ("group:sre", "user:boss")


def test_a_session_is_found_and_closed_with_a_reason(
    gateway: Gateway, port: int, proved: dict[str, PlainBrowser]
) -> None:
    with closing(WebTerminal(port).hello(ticket(port, "app02"))) as terminal:
        rows = json.loads(gateway.command("session", "list", "--json").stdout)
        (session,) = [row["id"] for row in rows if row["target"] == "app02.ssh"]
        assert session not in proved["own"].get("/admin/sessions").text
        assert proved["own"].post(f"/admin/sessions/{session}/end").status == 400
        seen = proved["aud"].get("/admin/sessions?wanted=app02").text
        assert "dev" in seen
        assert f"/admin/sessions/{session}/end" not in seen
        assert "● rec" not in seen
        with gateway.changed() as service:
            duty = frozenset({Permission.RECORD})
            recorded = admin.add_grant(service, "user:dev", "app02", permissions=duty)
        assert "● rec" in proved["aud"].get("/admin/sessions?wanted=app02").text
        with gateway.changed() as service:
            admin.remove_grant(service, recorded.id)
        assert proved["aud"].post(f"/admin/sessions/{session}/end").status == 403
        page = proved["op"].get("/admin/sessions").text
        assert f"/admin/sessions/{session}/end" in page
        done = proved["op"].post(f"/admin/sessions/{session}/end", reason="laptop stolen")
        assert done.status == 303, done.text
        terminal.until(lambda: terminal.ended)

    def is_written() -> bool:
        ends = [e for e in gateway.audit() if e["session"] == session]
        return ends[-1]["kind"] == "session.closed" and "laptop stolen" in str(ends[-1]["fields"])

    wait_until(is_written)


def test_a_user_is_disabled_and_enabled(
    gateway: Gateway, port: int, proved: dict[str, PlainBrowser]
) -> None:
    with gateway.changed() as service:
        admin.add_user(service, "carol", password="correct horse battery staple")
    carol = inside(port, "carol")
    listed = proved["op"].get("/admin/people/carol").text
    id_ = re.search(r'name="id" value="([0-9a-f]{64})"', listed)
    assert id_ is not None
    assert proved["op"].post("/admin/people/dev/sign-in", id=id_[1]).status == 400, "not of dev"
    assert proved["op"].post("/admin/people/carol/sign-in", id=id_[1]).status == 303
    wait_until(lambda: carol.get("/").status == 303)
    assert proved["op"].post("/admin/people/carol/disable").status == 303
    assert "disabled" in proved["op"].get("/admin/people?wanted=carol").text
    assert by_name(port).sign_in("carol").status == 403
    assert proved["boss"].post("/admin/people/carol/enable").status == 303
    assert by_name(port).sign_in("carol").status == 303
    events = [e for e in gateway.audit() if e["kind"] == "policy.changed"]
    assert {"op (web)", "boss (web)"} <= {event["identity"] for event in events}


def test_sign_ins_keys_and_tokens_of_all_are_found_and_ended(
    gateway: Gateway, port: int, proved: dict[str, PlainBrowser]
) -> None:
    """Each shows its last use; who may only read has no button."""
    with gateway.changed() as service:
        admin.add_user(service, "erin", password="correct horse battery staple")
        admin.create_token(service, "erin", scopes=("connect",))
        admin.add_keys(service, "erin", [f"{PUBLIC_KEY} <b>erin's laptop</b>"])
    erin, boss = inside(port, "erin"), proved["boss"]
    listed = proved["op"].get("/admin/sign-ins?wanted=erin").text
    id_ = re.search(r'name="id" value="([0-9a-f]{64})"', listed)
    assert id_ is not None
    assert "people/dev" not in listed
    assert 'name="id"' not in proved["aud"].get("/admin/sign-ins?wanted=erin").text
    assert proved["op"].post("/admin/people/erin/key", id="SHA256:x").status == 403
    done = proved["op"].post("/admin/people/erin/sign-in", id=id_[1], kind="sign-in")
    assert done.headers["location"] == "/admin/sign-ins?kind=sign-in"
    wait_until(lambda: erin.get("/").status == 303)
    for kind in ("key", "token"):
        page = boss.get(f"/admin/sign-ins?kind={kind}&wanted=erin").text
        assert "<b>erin" not in page
        (row,) = re.findall(r'name="id" value="([^"]+)"', page)
        assert boss.post(f"/admin/people/dev/{kind}", id=row).status == 400, "not of dev"
        assert boss.post(f"/admin/people/erin/{kind}", id=row, kind=kind).status == 303
        assert row not in boss.get(f"/admin/sign-ins?kind={kind}").text


def test_a_sign_in_by_a_link_is_not_shown_as_one_by_a_passkey(
    gateway: Gateway, port: int, proved: dict[str, PlainBrowser]
) -> None:
    with gateway.changed() as service:
        admin.add_user(service, "linus")
    url = f"http://127.0.0.1:{port}"
    link = gateway.command("web-link", "linus", "--url", url).stdout.strip()
    secret = link.partition("#")[2].partition("&")[0]
    assert PlainBrowser(port).post("/sign-in/link", secret=secret).status == 303
    for page in ("/admin/sign-ins?wanted=linus", "/admin/people/linus"):
        shown = proved["boss"].get(page).text
        assert "<td>one-time link</td>" in shown, page
        assert "passkey" not in shown.partition("<main")[2], page


def test_who_gains_and_loses_is_shown_before_a_role_or_rule_is_changed(
    gateway: Gateway, boss: PlainBrowser
) -> None:
    with gateway.changed() as service:
        admin.change_groups(service, "dev", add=["night"])
    asks = (
        "subject=group:night&app=secret&permission=run&longest=2h&approvers=group:sre&reason=*INC-*"
    )
    for kind, wanted in (
        ("role", "subject=group:night&role=operator&app=app02"),
        ("request", asks),
    ):
        shown = boss.get(f"/admin/rules/{kind}/preview?{wanted}").text
        assert re.search(r'people/dev">dev</a>', shown), kind
        assert "people/aud" not in shown
        fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', shown))
        added = boss.post(f"/admin/rules/{kind}/add", **fields)
        assert added.status == 303, added.text
        rows = re.findall(rf"rules/{kind}/(\d+)", boss.get("/admin/rules").text)
        rule = boss.get(f"/admin/rules/{kind}/{rows[-1]}").text
        assert "Who loses" in rule
        assert "group:night" in rule
        assert 'people/dev">dev</a>' in rule
        assert boss.post(f"/admin/rules/{kind}/{rows[-1]}/remove").status == 303
        assert boss.get(f"/admin/rules/{kind}/{rows[-1]}").status == 404
    actions = [e["fields"].get("action") for e in gateway.audit() if e["identity"] == "boss (web)"]
    assert {"role.add", "role.remove", "request.rule.add", "request.rule.remove"} <= set(actions)


def test_a_request_rule_shows_when_it_was_last_used(gateway: Gateway, boss: PlainBrowser) -> None:
    with gateway.changed() as service:
        rules = [
            access_requests.add_rule(
                service, RequestRule(0, f"user:{user}", "asked", approvers=("user:boss",))
            )
            for user in ("dev", "own")
        ]
        later = service.clock() + 3600
        target = [Target("asked")]
        for starts_at in (None, later):
            access_requests.make_request(service, "dev", target, rules[0], "x", None, starts_at)
    listed = re.findall(r"<tr>.*?</tr>", boss.get("/admin/rules").text, re.DOTALL)
    used, unused = (next(row for row in listed if f"/request/{r.id}" in row) for r in rules)
    assert re.search(r'data-head="Last asked">\s*<time data-ago', used)
    assert ">never<" in unused
    used, unused = (boss.get(f"/admin/rules/request/{rule.id}").text for rule in rules)
    assert re.search(r"<dt>Last asked</dt><dd>\s*<time data-ago.*</time> \(dev\)</dd>", used)
    assert "<dt>Last asked</dt><dd>never</dd>" in unused
    with gateway.changed() as service:
        for rule in rules:
            access_requests.remove_rule(service, rule.id)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("role", "subject=user:boss&role=owner"),
        ("role", f"subject={ALL_USERS}&role=owner"),
        ("role", "subject=user:dev&role=administrator&app=app01"),
        ("role", "subject=user:dev&role=king"),
        ("role", "subject=user:dev&role=owner&days=-1"),
        ("request", "subject=user:boss&app=app01&approvers=user:dev"),
        ("request", "subject=user:dev&app=app01"),
        ("request", f"subject=user:dev&app=app01&approvers={ALL_USERS}"),
        ("request", "subject=user:dev&app=app01&approvers=user:boss&longest=99w"),
        ("request", "subject=user:dev&app=app01&approvers=user:boss&longest=soon"),
        ("request", "subject=user:dev&app=app01&approvers=user:boss&hours=soon"),
        ("request", "subject=user:dev&app=app01&approvers=user:boss&approvals=99"),
        ("request", "subject=user:dev&app=app01&approvers=group:sre&approvals=00099"),
        ("request", "subject=user:dev&app=app01&approvers=user:boss&permissions=fly"),
        ("request", "subject=user:dev&app=app01&break_glass=1"),
    ],
)
def test_a_wrong_rule_is_refused_before_and_when_it_is_saved(
    boss: PlainBrowser, kind: str, fields: str
) -> None:
    before = boss.get("/admin/rules").text
    assert 400 <= boss.get(f"/admin/rules/{kind}/preview?{fields}").status < 500
    sent = dict(parse_qsl(fields))
    assert 400 <= boss.post(f"/admin/rules/{kind}/add", **sent).status < 500
    assert boss.get("/admin/rules").text == before


def test_what_people_write_is_text_on_every_page(
    gateway: Gateway, port: int, boss: PlainBrowser
) -> None:
    evil = "<script>alert(1)</script>"
    with gateway.changed() as service:
        rule = access_requests.add_rule(
            service, RequestRule(0, "user:dev", "secret", approvers=("user:boss",))
        )
        access_requests.make_request(service, "dev", [Target("secret")], rule, evil)
    inside(port, "dev").get(f"/app/{evil}")
    for path in (
        "requests",
        "audit?days=",
        f"audit?q={evil}",
        f"people?wanted={evil}",
        f"sessions?wanted={evil}",
        f"why?user={evil}&app={evil}",
        f"grants/preview?subject={evil}&app={evil}&permission=enter",
        f"sign-ins?kind=key&wanted={evil}",
        f"rules/request/preview?subject={evil}&app={evil}&{evil}={evil}",
    ):
        assert (
            evil not in boss.get(f"/admin/{path}".replace("<", "%3C").replace(">", "%3E")).text
        ), path
    shown = boss.get("/admin/requests").text
    assert "&lt;script&gt;" in shown
    assert re.search(r'<td data-head="Has now">\s*nothing\s*</td>', shown)


def test_the_frame_says_until_when_the_person_is_signed_in(boss: PlainBrowser) -> None:
    shown = boss.get("/").text
    assert re.search(r'title="boss, signed in until \d{4}-\d\d-\d\d \d\d:\d\d UTC"', shown)


def test_health_shows_status_and_on_demand_all_checks(boss: PlainBrowser) -> None:
    assert "answers in" in boss.get("/admin/health").text
    checks = boss.get("/admin/health?checks").text
    assert "an fsync in" in checks


def test_a_grant_of_an_access_set_names_it_and_is_changed_in_files(
    gateway: Gateway, proved: dict[str, PlainBrowser]
) -> None:
    with gateway.changed() as service:
        number = admin.add_grant(service, "group:owned", "app02").id
        with service.change("x") as change:
            change.transaction.exec_driver_sql(
                f"UPDATE grants SET owner_set = 'team-a', owner_file = 'a.toml' WHERE id = {number}"
            )
    boss = proved["boss"]
    assert re.search(r"<span>group:owned</span>.*?team-a</span>", boss.get("/admin/grants").text)
    page = boss.get(f"/admin/grants/{number}").text
    assert "It belongs to the access set team-a: change it in its files" in page
    assert "Remove the grant" not in page
    refused = boss.post(f"/admin/grants/{number}/remove")
    assert (refused.status, "belongs to the access set team-a" in refused.text) == (400, True)
    refused = boss.post(f"/admin/grants/{number}/on-request", approvers="group:sre")
    assert (refused.status, "belongs to the access set team-a" in refused.text) == (400, True)
    with gateway.service() as service:
        rules = admin.read_policy(service).request_rules.values()
        assert not [rule for rule in rules if rule.subject == "group:owned"]


def test_the_pages_speak_chinese(boss: PlainBrowser) -> None:
    page = boss.get("/admin/grants/1", **{"Accept-Language": "zh-CN"}).text
    assert "移除后谁会失去" in page
    assert "Who loses" not in page
