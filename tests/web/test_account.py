"""`/account`: attacks first, then what it is for."""

import html
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.sign_ins import list_sign_ins
from stagedoor.store.sign_in import passes
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.fixtures.laptop import new_key
from tests.fixtures.people import Answer, PlainBrowser
from tests.fixtures.terminal import WebTerminal, ticket
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS
from tests.web.test_pages import link_of

FORMS = {
    "/account/password": {"present": PASSWORD, "new": "another one", "again": "another one"},
    "/account/tokens/add": {"apps": "", "days": "1"},
    "/account/tokens/revoke": {"id": "x"},
    "/account/keys/add": {"signature": "ssh-ed25519 AAAA"},
    "/account/keys/remove": {"fingerprint": "x"},
    "/account/passkeys/remove": {"id": "x"},
    "/account/sign-ins/end": {"id": "others"},
}
ACCOUNTS = '\n[accounts]\nself_service = ["password", "tokens", "keys"]\n'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = SETTINGS + ACCOUNTS
    with Gateway(tmp_path_factory.mktemp("account"), settings) as found:
        for name in ("dev", "other", "changing", "robbed"):
            found.add_user(name, "app01", "app02")
        yield found.start()


@pytest.fixture
def inside(port: int) -> PlainBrowser:
    return signed_in(port)


def signed_in(port: int, name: str = "dev", secret: str = PASSWORD) -> PlainBrowser:
    person = PlainBrowser(port)
    assert person.sign_in(name, secret).status == 303
    return person


def state_of(gateway: Gateway) -> object:
    with gateway.service() as service:
        policy = admin.read_policy(service)
        return policy.users, set(policy.tokens), set(policy.keys), set(policy.signed_out)


# Who is no person, or does not mean it.


def test_nobody_else_changes_anything(gateway: Gateway, port: int) -> None:
    token = signed_in(port, secret=gateway.token("dev"))
    _, secret = link_of(gateway, "--app", "app01")
    by_link = PlainBrowser(port)
    answer = by_link.post("/sign-in/link", secret=secret.partition("&")[0])
    by_link.cookie = answer.headers["set-cookie"].partition(";")[0]
    person = signed_in(port)
    before = state_of(gateway)
    for stranger in (token, by_link):
        assert stranger.get("/account").status == 403
        assert "/account" not in stranger.get("/").text
    for path, fields in FORMS.items():
        for stranger in (token, by_link):
            refused = stranger.post(path, **fields)
            assert refused.status == 403, path
            assert "an account is for people" in refused.text
        # Another site's page, and one without an Origin, in the browser of a person who is signed in.
        for origin in (None, "null", "https://evil.example"):
            elsewhere = PlainBrowser(port, cookie=person.cookie, origin=origin)
            refused = elsewhere.post(path, **fields)
            assert refused.status == 403, path
            assert "no page of this gateway sent it" in refused.text
        # No cookie at all, and a cookie that belongs to no session.
        for cookie in ("", "stagedoor=guessed"):
            assert PlainBrowser(port, cookie=cookie).post(path, **fields).status == 303, path
        assert person.get(path).status == 404, "a link changes nothing"
    assert state_of(gateway) == before


def test_a_removed_user_is_signed_out(gateway: Gateway, port: int) -> None:
    gateway.add_user("leaving", "app01")
    wait_until(lambda: PlainBrowser(port).sign_in("leaving").status == 303)
    person = signed_in(port, "leaving")
    gateway.command("user", "remove", "leaving", "--yes")
    wait_until(lambda: person.get("/account").status == 303)
    assert person.post("/account/tokens/add", days="1").headers["location"].startswith("/sign-in")


# The password.


def test_the_present_password_cannot_be_guessed_with_a_stolen_cookie(
    gateway: Gateway, port: int
) -> None:
    """As at the form to sign in: counted together with that, per name and source."""
    thief = signed_in(port, "robbed")
    new = {"new": "of the thief", "again": "of the thief"}
    guesses: list[Answer] = []
    spans: list[tuple[float, float]] = []

    def taken() -> int:
        began = time.monotonic()
        guesses.append(thief.post("/account/password", present=f"guess {len(guesses)}", **new))
        if guesses[-1].status == 403:
            spans.append((began, time.monotonic()))
        return len(spans)

    # From the fifth on each doubles the wait: one and two seconds, and four are enough for what follows.
    wait_until(lambda: taken() == 7, costly=True)
    assert [answer.status for answer in guesses[:5]] == [403] * 5
    assert {answer.status for answer in guesses[5:]} == {403, 429}
    for number, wait_s in ((4, 1), (5, 2)):
        assert spans[number + 1][1] - spans[number][0] >= wait_s
    assert "Nothing was changed: " in guesses[0].text
    assert "guess 0" not in guesses[0].text
    assert thief.post("/account/password", present=PASSWORD, **new).status == 429
    assert PlainBrowser(port).sign_in("robbed", "of the thief").status == 429
    denied = [denial for denial in gateway.sessions("denied") if denial.get("identity") == "robbed"]
    assert [denial["reason"] for denial in denied[:5]] == ["credential_wrong"] * 5
    assert "of the thief" not in json.dumps([gateway.lines, gateway.audit()])


def test_a_token_is_no_present_password(gateway: Gateway, port: int, inside: PlainBrowser) -> None:
    before = state_of(gateway)
    with gateway.service() as service:
        made = [admin.create_token(service, name) for name in ("dev", "other")]
    for token, status in zip(made, (400, 403), strict=True):
        answer = inside.post(
            "/account/password", present=token.text, new="new password", again="new password"
        )
        assert answer.status == status
    with gateway.service() as service:
        for token in made:
            admin.revoke_token(service, token.id)
    assert state_of(gateway) == before


@pytest.mark.identity(36)
def test_a_new_password_ends_what_the_old_one_opened_and_this_page_goes_on(
    gateway: Gateway, port: int
) -> None:
    person, elsewhere = signed_in(port, "changing"), signed_in(port, "changing")
    before = person.cookie
    for new, again, why in (
        ("new password", "new passwort", "the two new passwords differ"),
        ("short", "short", "8 to 1024 characters"),
    ):
        answer = person.post("/account/password", present=PASSWORD, new=new, again=again)
        assert answer.status == 400
        assert why in answer.text
        assert "set-cookie" not in answer.headers
    answer = person.post(
        "/account/password", present=PASSWORD, new="new password", again="new password"
    )
    assert (answer.status, answer.headers["location"]) == (303, "/account#password")
    set_cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in set_cookie
    assert "SameSite=strict" in set_cookie
    person.cookie = set_cookie.partition(";")[0]
    assert person.cookie != before
    assert person.get("/account").status == 200
    for over in (elsewhere, PlainBrowser(port, cookie=before)):
        wait_until(lambda over=over: over.get("/account").status == 303)  # type: ignore[misc]
    wait_until(lambda: PlainBrowser(port).sign_in("changing", "new password").status == 303)
    assert PlainBrowser(port).sign_in("changing").status == 403


# Tokens.


@pytest.mark.identity(36)
def test_a_token_is_shown_once_opens_no_more_than_it_says_and_is_revoked(
    gateway: Gateway, port: int, inside: PlainBrowser
) -> None:
    for apps in ("secret", "*", "app0*", "app01 secret"):
        answer = inside.post("/account/tokens/add", apps=apps, days="1")
        assert answer.status in (400, 403)
        assert "is not within what dev may enter" in answer.text
    assert inside.post("/account/tokens/add", days="91").status == 400
    assert inside.post("/account/tokens/add", days="x").status == 400
    made = inside.post("/account/tokens/add", apps="app01", days="7")
    assert made.status == 200
    assert made.headers["cache-control"] == "no-store"
    [token] = re.findall(r'id="new-token">(sdt_[^<]+)<', made.text)
    name = token.split("_")[1]
    page = inside.get("/account").text
    assert token not in page
    assert name in page
    assert "<strong>soon</strong>" in page, "it ends in a week"
    assert token not in json.dumps([gateway.lines, gateway.audit()])
    headers = {"Authorization": f"Bearer {token}"}
    client = WebTerminal(port).hello(ticket(port, "app01", headers), terminal="bytoken")
    assert client.welcome is not None
    client.close()
    refused = PlainBrowser(port).send("POST", "/api/ticket", '{"target": "app02"}', **headers)
    assert refused.status == 403
    # Another person cannot revoke it, whatever they know of it.
    other = signed_in(port, "other")
    for given in (name, token):
        assert other.post("/account/tokens/revoke", id=given).status == 400
    assert inside.post("/account/tokens/revoke", id=name).status == 303
    wait_until(
        lambda: (
            PlainBrowser(port).send("POST", "/api/ticket", '{"target": "app01"}', **headers).status
            == 401
        )
    )


# Sign-ins.


@pytest.mark.identity(36)
def test_sign_ins_are_seen_and_ended(port: int) -> None:
    person = signed_in(port, "other")
    assert person.post("/account/sign-ins/end", id="others").status == 303
    assert "End all others" not in person.get("/account").text
    first, second = signed_in(port, "other"), signed_in(port, "other")
    page = person.get("/account").text
    assert page.count("this one") == 1
    assert "127.0.0.1" in page
    ids = re.findall(r'name="id" value="([0-9a-f]{64})"', page)
    assert len(ids) == 2
    assert signed_in(port).post("/account/sign-ins/end", id=ids[0]).status == 400, "of another"
    assert person.post("/account/sign-ins/end", id=ids[0]).status == 303

    def lasting() -> list[bool]:
        return [browser.get("/account").status == 200 for browser in (first, second)]

    wait_until(lambda: sorted(lasting()) == [False, True])
    assert person.post("/account/sign-ins/end", id=ids[0]).status == 400
    assert person.post("/account/sign-ins/end", id="others").status == 303
    wait_until(lambda: lasting() == [False, False])
    assert person.get("/account").status == 200


def test_the_last_use_of_a_sign_in_and_a_link_are_seen(gateway: Gateway, port: int) -> None:
    link = gateway.command("web-link", "other", "--url", f"http://127.0.0.1:{port}").stdout.strip()
    person = PlainBrowser(port)
    answer = person.post("/sign-in/link", secret=link.partition("#")[2].partition("&")[0])
    person.cookie = answer.headers["set-cookie"].partition(";")[0]
    page = person.get("/account").text
    assert "Last used" in page
    assert "one-time link" in page
    with gateway.service() as service:
        [shown] = [s for s in list_sign_ins(service, "other") if s.sign_in.credential_id == "link"]
        an_hour_ago = service.clock() - 3600
        with service.database.write() as transaction:
            passes.mark_used(transaction, shown.sign_in.id, an_hour_ago)
        assert used_at(service, shown.id) == an_hour_ago
        assert person.get("/account").status == 200
        assert used_at(service, shown.id) > an_hour_ago + 3000
        with service.database.write() as transaction:
            passes.end_sign_in(transaction, shown.sign_in.id, None, service.clock())


def used_at(service: admin.AdminService, id_: str) -> float:
    [shown] = [shown for shown in list_sign_ins(service, "other") if shown.id == id_]
    assert shown.sign_in.last_used_at is not None
    return shown.sign_in.last_used_at


# Invitations.


def test_an_invitation_sets_a_password_and_signs_in_and_its_secret_is_told_to_nobody(
    gateway: Gateway, port: int
) -> None:
    link = gateway.command(
        "user", "invite", "newcomer", "--url", f"http://127.0.0.1:{port}"
    ).stdout.strip()
    address, _, behind = link.partition("#")
    assert address == f"http://127.0.0.1:{port}/invitation"
    secret, _, more = behind.partition("&")
    assert more == "name=newcomer"
    person = PlainBrowser(port)
    assert person.get("/invitation").status == 200
    fields = {"secret": secret, "new": "my own password", "again": "my own password"}
    for wrong, status, why in (
        ({"again": "my own passwort"}, 400, "the two passwords differ"),
        ({"new": "short", "again": "short"}, 400, "8 to 1024"),
        ({"secret": "guessed"}, 403, "ask an administrator for another"),
    ):
        answer = person.post("/invitation", **fields | wrong)
        assert (answer.status, "set-cookie" in answer.headers) == (status, False)
        assert why in answer.text
        assert secret not in answer.text
    for origin in (None, "https://evil.example"):
        assert PlainBrowser(port, origin=origin).post("/invitation", **fields).status == 403
    answer = person.post("/invitation", **fields)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    person.cookie = answer.headers["set-cookie"].partition(";")[0]
    assert "newcomer" in person.get("/account").text
    wait_until(lambda: PlainBrowser(port).sign_in("newcomer", "my own password").status == 303)
    assert person.post("/invitation", **fields).status == 403, "used up"
    assert secret not in json.dumps([gateway.lines, gateway.audit()])


# Keys.


def key_signature(person: PlainBrowser, key: Path) -> str:
    """Return what the command on their page prints, by that key."""
    [command] = re.findall(r'id="key-command">([^<]+)<', person.get("/account").text)
    typed = html.unescape(command).replace("~/.ssh/id_ed25519", str(key))
    return subprocess.run(["sh", "-c", typed], capture_output=True, text=True, check=True).stdout


def test_the_key_of_another_is_refused_without_a_name(
    gateway: Gateway, port: int, tmp_path: Path
) -> None:
    file = new_key(tmp_path / "key")
    gateway.command("key", "add", "other", f"{file}.pub")
    person = signed_in(port)
    answer = person.post("/account/keys/add", signature=key_signature(person, file))
    assert answer.status == 400
    assert "registered here already" in answer.text
    [why] = re.findall(r'role="alert">([^<]+)<', answer.text)
    assert "other" not in why.replace("another", "")


@pytest.mark.identity(36)
def test_keys_are_added_shown_and_removed(inside: PlainBrowser, tmp_path: Path) -> None:
    file = new_key(tmp_path / "key")
    label = "<b>laptop</b>"
    signature = key_signature(inside, file)
    assert inside.post("/account/keys/add", signature=signature, label=label).status == 303
    text = inside.get("/account").text
    assert "&lt;b&gt;laptop" in text
    assert label not in text
    shown = subprocess.run(["ssh-keygen", "-lf", file], capture_output=True, text=True, check=True)
    fingerprint = shown.stdout.split()[1]
    assert fingerprint in text
    assert inside.post("/account/keys/remove", fingerprint=fingerprint).status == 303
    assert fingerprint not in inside.get("/account").text
    assert inside.post("/account/keys/remove", fingerprint=fingerprint).status == 400
    line = file.with_suffix(".pub").read_text()
    answer = inside.post("/account/keys/add", signature=line)
    assert answer.status == 400
    assert "a public key alone does not prove that you have its private half" in answer.text


def test_nobody_removes_the_key_of_another(
    gateway: Gateway, inside: PlainBrowser, tmp_path: Path
) -> None:
    file = new_key(tmp_path / "key")
    added = gateway.command("key", "add", "other", f"{file}.pub").stdout.split()[0]
    assert inside.post("/account/keys/remove", fingerprint=added).status == 400
    assert added in gateway.command("key", "list", "other").stdout
