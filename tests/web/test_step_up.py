"""Step-up on the web by HTTP alone: attacks first."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator

import pytest

from stagedoor.model.permission import Permission
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import WebTerminal, post
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS
from tests.web.passkeys import add_passkey, ask, asked, by_name, prove, signed_in

PATHS = ("passkey/add", "passkey/added", "step-up", "step-up/proved")
STRANGERS = ("sign-in/passkey", "sign-in/passkey/proved")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    step_up = '\n[step_up]\ntargets = ["app02"]\n'
    with Gateway(tmp_path_factory.mktemp("step-up"), SETTINGS + step_up) as found:
        for name in ("dev", "other", "robbed", "tokens", "player", "runner"):
            found.add_user(name, "app01", "app02")
        found.permit("everybody", "app02", Permission.RECORD)
        for name in ("other", "player"):
            found.permit(f"user:{name}", "*", Permission.REPLAY)
        found.permit("user:runner", "app02", Permission.RUN)
        yield found.start()


def test_no_page_of_another_site_asks_for_anything(port: int, gateway: Gateway) -> None:
    person = signed_in(port)
    authenticator = add_passkey(person)
    answer = authenticator.get(asked(person, "step-up"))
    for origin in (None, "null", "https://evil.example", f"http://127.0.0.1:{port}"):
        elsewhere = PlainBrowser(port, host=person.host, cookie=person.cookie, origin=origin)
        for path in (*PATHS, *STRANGERS):
            refused = ask(elsewhere, path, answer=answer, password=PASSWORD)
            assert refused.status == 403, (origin, path)
            assert "no page of this gateway sent it" in refused.text
    assert ask(person, "step-up/proved", answer=answer).status == 200, "it was good"
    for path in PATHS:
        assert person.get(f"/api/{path}").status == 404


def test_nobody_who_is_not_signed_in_asks_for_anything(port: int) -> None:
    for cookie in ("", "stagedoor=guessed"):
        stranger = PlainBrowser(port, host=f"localhost:{port}", cookie=cookie)
        for path in PATHS:
            assert ask(stranger, path).status == 401
        assert stranger.get("/step-up").headers["location"].startswith("/sign-in")


def test_a_token_cannot_prove_that_a_person_is_there(gateway: Gateway, port: int) -> None:
    token = gateway.token("tokens")
    status, said, _ = post(
        port, "/api/ticket", b'{"target": "app02"}', {"Authorization": f"Bearer {token}"}
    )
    assert (status, said["reason"]) == (403, "step_up_needed")
    assert "which a token cannot do" in said["message"]
    add_passkey(signed_in(port, "tokens"))
    by_token = by_name(port)
    assert by_token.sign_in("tokens", token).status == 303
    assert by_token.get("/step-up").status == 403
    assert ask(by_token, "step-up").status == 403
    assert ask(by_token, "passkey/add", password=PASSWORD).status == 403


def test_the_password_for_a_passkey_cannot_be_guessed(gateway: Gateway, port: int) -> None:
    """It counts as a try at the form to sign in."""
    thief = signed_in(port, "robbed")
    answers = [ask(thief, "passkey/add", password=f"guess {n}").status for n in range(6)]
    assert answers == [401] * 5 + [429]
    assert ask(thief, "passkey/add", password=PASSWORD).status == 429
    assert ask(thief, "passkey/add").status != 200, "and none is no proof"


def test_a_page_that_was_opened_by_an_address_says_what_to_do(port: int) -> None:
    person = PlainBrowser(port)
    assert person.sign_in().status == 303
    refused = ask(person, "step-up")
    assert refused.status == 400
    assert "open it by the gateway's name" in refused.text


def test_what_is_sent_is_bounded(port: int) -> None:
    person = signed_in(port)
    assert ask(person, "step-up/proved", answer={"id": "x" * 17_000}).status == 400
    for body in ("[]", '{"answer": []}', '{"answer": "x"}', "{", "[" * 5000):
        kind = {"Content-Type": "application/json"}
        assert person.send("POST", "/api/step-up/proved", body, **kind).status in (400, 401)


@pytest.mark.identity(35)
def test_a_ticket_is_given_once_somebody_is_there(gateway: Gateway, port: int) -> None:
    person, elsewhere = signed_in(port, "other"), signed_in(port, "other")
    authenticator = add_passkey(person)
    for browser in (person, elsewhere):
        refused = ask(browser, "ticket", target="app02")
        assert refused.status == 403
        assert json.loads(refused.text)["reason"] == "step_up_needed"
        assert "app02 requires that you confirm your identity first" in refused.text
        assert ask(browser, "ticket", target="app01").status == 200
        listed = ask(browser, "terminals", target="app02")
        assert (listed.status, "absent" in listed.text) == (403, False), "not whether it runs"
        assert ask(browser, "terminals", target="app01").status == 200
    leads = person.get("/app/app02?terminal=x")
    assert leads.status == 303
    assert leads.headers["location"] == "/step-up?next=%2Fapp%2Fapp02%3Fterminal%3Dx"
    prove(person, authenticator)
    assert ask(person, "ticket", target="app02").status == 200, "at once"
    assert ask(person, "terminals", target="app02").status == 200
    assert person.get("/app/app02").status in (200, 503), "503: the page is not built"
    assert ask(elsewhere, "ticket", target="app02").status == 403


@pytest.mark.identity(35)
def test_a_stolen_cookie_opens_nothing_to_a_friend_of_the_thief(port: int) -> None:
    """An attacker with a proof of their own would watch the victim's terminal by a link."""
    thief = signed_in(port, "other")
    refused = ask(thief, "share", target="app02", terminal="main")
    assert refused.status == 403
    assert json.loads(refused.text)["reason"] == "step_up_needed"
    assert ask(thief, "share", target="app01", terminal="main").status == 200


def test_what_such_an_app_has_shown_wants_the_same_proof(gateway: Gateway, port: int) -> None:
    person = signed_in(port, "player")
    authenticator = add_passkey(person)
    prove(person, authenticator)
    given = asked(person, "ticket", target="app02")["ticket"]
    client = WebTerminal(port).hello(given, "echo the secr''et")
    client.until(lambda: client.exit is not None)
    client.close()
    wait_until(lambda: [e for e in gateway.audit() if e["kind"] == "recording.ended"])
    [row] = json.loads(gateway.command("recording", "list", "--json").stdout)
    at = f"/recordings/{row['id']}"
    assert "the secret" in person.get(f"{at}/cast").text
    elsewhere = signed_in(port, "player")
    refused = elsewhere.get(f"{at}/cast")
    assert refused.status == 403
    assert "confirm your identity" in refused.text
    leads = elsewhere.get(at)
    assert (leads.status, leads.headers["location"].split("?")[0]) == (303, "/step-up")
    prove(elsewhere, authenticator)
    assert "the secret" in elsewhere.get(f"{at}/cast").text


def test_a_stolen_cookie_types_nothing_into_a_run(port: int) -> None:
    """A run that reads commands from its input would run those of the thief."""
    person, thief = signed_in(port, "runner"), signed_in(port, "runner")
    prove(person, add_passkey(person))
    run = "0123456789ab"
    started = ask(person, "runs/start", target="app02", command="sh", input=True, id=run)
    assert started.status == 200, started.text
    for fields in ({"data": b64encode(b"echo theirs\n").decode()}, {"end": True}, {"lost": True}):
        refused = ask(thief, "runs/input", id=run[:4], at=0, **fields)
        assert refused.status == 403, refused.text
        assert json.loads(refused.text)["reason"] == "step_up_needed"
    mine = b"echo mine\n"
    taken = asked(person, "runs/input", id=run, at=0, data=b64encode(mine).decode())
    assert taken["at"] == len(mine)
    asked(person, "runs/input", id=run, at=len(mine), end=True)
    wait_until(lambda: asked(person, "runs/log", id=run)["run"]["state"] == "exited")
    [[_, _, output]] = asked(person, "runs/log", id=run)["pieces"]
    assert b64decode(output) == b"mine\n"
