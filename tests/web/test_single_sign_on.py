"""Single sign-on in the WebShell, at a real identity provider."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from stagedoor.admin import service as admin
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.fixtures.people import Browser, onward
from tests.oidc.idp import SECRET, Idp, running_idp, sso_table
from tests.ports import free_port
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS

PERSON = {"preferred_username": "carol", "groups": ["/teams/shop", "ops"]}


@pytest.fixture(scope="module")
def web_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory, web_port: int) -> Iterator[Idp]:
    accounts = {
        "carol-1": PERSON,
        "carol-2": PERSON,
        "shout": {"preferred_username": "CAROL"},
        "dev-9": {"preferred_username": "dev"},
        "root-1": {"preferred_username": "root", "groups": ["/teams/shop"]},
        "app-1": {"preferred_username": "app01", "groups": ["/teams/shop"]},
        "oncall-1": {"preferred_username": "oncall", "groups": ["/teams/shop"]},
    }
    back = f"http://127.0.0.1:{web_port}/sign-in/sso"
    with running_idp(tmp_path_factory.mktemp("idp"), accounts, back) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, idp: Idp, web_port: int) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("web")
    more = 'groups = { "/teams/shop" = "shop" }\nreserved_names = ["oncall"]\n'
    settings = SETTINGS.replace("127.0.0.1:0", f"127.0.0.1:{web_port}")
    settings += sso_table(idp, folder, more) + '[step_up]\ntargets = ["secret"]\n'
    with Gateway(folder, settings) as found:
        found.add_user("dev", "app01")
        with found.service() as service:
            admin.add_grant(service, "group:shop", "app01")
            admin.add_grant(service, "group:shop", "secret")
        yield found.start()


def without_questions(url: str) -> str:
    """Change an address as a person at the browser can."""
    shorter = re.sub(r"&(prompt|max_age)=[^&]*", "", url)
    assert shorter != url
    return shorter


@pytest.fixture
def browser(gateway: Gateway, web_port: int) -> Browser:
    return Browser(f"http://127.0.0.1:{web_port}")


def test_a_person_of_the_provider_becomes_a_user_with_its_groups(
    browser: Browser, idp: Idp, gateway: Gateway
) -> None:
    _, form = browser.get("/sign-in?next=/app/app01")
    assert "Sign in with Company" in form
    back = idp.sign_in(browser.begin("/app/app01"), "carol-1")
    status, page = browser.get(back)
    wait_until(lambda: "app01" in browser.get("/app/app01")[1])
    assert status == 200
    assert SECRET not in page
    users = json.loads(gateway.command("user", "list", "--json").stdout)
    [carol] = [user for user in users if user["name"] == "carol"]
    assert carol["groups"] == ["shop"]
    assert carol["password"] is False
    # Whatever had been promised to no person yet: a group's grant lets in, and nothing else does.
    assert browser.get("/app/app02")[0] == 403

    # The group is taken away: the next sign-in says so, and the grant is gone.
    idp.set_account("carol-1", {**PERSON, "groups": []})
    browser.get(idp.sign_in(browser.begin(), "carol-1"))
    wait_until(lambda: browser.get("/app/app01")[0] == 403)
    idp.set_account("carol-1", PERSON)


@pytest.mark.identity(13)
@pytest.mark.parametrize("account", ["carol-2", "shout", "dev-9"])
def test_another_person_never_becomes_a_user_who_is_there(
    browser: Browser, idp: Idp, account: str
) -> None:
    first = Browser(browser.origin)
    first.get(idp.sign_in(first.begin(), "carol-1"))
    status, page = browser.get(idp.sign_in(browser.begin(), account))
    assert status in (400, 403)
    assert "belongs to another user" in page or "was refused" in page
    assert "stagedoor sso link" not in page
    assert list(browser.jar) == []


@pytest.mark.identity(13)
@pytest.mark.parametrize(
    ("account", "name", "why"),
    [
        ("root-1", "root", "is the name of a system account"),
        ("app-1", "app01", "is the name of an app"),
        ("oncall-1", "oncall", "is in sso.reserved_names"),
    ],
)
def test_a_reserved_name_is_given_by_an_administrator_only(
    browser: Browser, idp: Idp, gateway: Gateway, account: str, name: str, why: str
) -> None:
    status, page = browser.get(idp.sign_in(browser.begin(), account))
    assert status == 400
    assert f"your user name is {name} there, and that name is reserved on this gateway" in page
    assert "ask your administrator" in page
    assert "stagedoor user add" not in page
    assert list(browser.jar) == []
    assert name not in gateway.command("user", "list").stdout.split()
    gateway.wait_for(lambda line: f"{name} {why}" in line.get("why", ""))
    gateway.command("user", "add", name, "--no-password")
    gateway.command("sso", "link", name, account)
    browser.get(idp.sign_in(browser.begin(), account))
    wait_until(lambda: browser.get("/app/app01")[0] == 200)


@pytest.mark.identity(29)
def test_a_disabled_user_has_no_sign_in_old_or_new_until_they_are_enabled(
    browser: Browser, idp: Idp, gateway: Gateway
) -> None:
    browser.get(idp.sign_in(browser.begin(), "carol-1"))
    wait_until(lambda: browser.get("/app/app01")[0] == 200)
    gateway.command("user", "disable", "carol")
    wait_until(lambda: "Sign in" in browser.get("/app/app01")[1])
    again = Browser(browser.origin)
    status, page = again.get(idp.sign_in(again.begin(), "carol-1"))
    assert (status, "is disabled" in page) == (400, True)
    assert list(again.jar) == []
    gateway.command("user", "enable", "carol")
    wait_until(lambda: browser.get("/app/app01")[0] == 200)


def test_an_administrator_says_who_is_who_and_takes_it_back(
    browser: Browser, idp: Idp, gateway: Gateway
) -> None:
    gateway.command("sso", "link", "dev", "dev-9")
    assert "dev-9" in gateway.command("sso", "list").stdout
    browser.get(idp.sign_in(browser.begin(), "dev-9"))
    page = f"{browser.origin}/app/app01"
    wait_until(lambda: browser.get(page)[0] == 200)
    gateway.command("sso", "unlink", "dev-9")
    # Signed out, within seconds: the page asks who it is.
    wait_until(lambda: "Sign in with Company" in browser.get(page)[1])
    assert browser.get(idp.sign_in(browser.begin(), "dev-9"))[0] == 400


@pytest.mark.identity(11)
def test_an_answer_is_good_for_the_browser_that_asked_and_once(
    browser: Browser, idp: Idp, web_port: int
) -> None:
    back = idp.sign_in(browser.begin(), "carol-1")
    # A victim is sent the attacker's address: they are not signed in as another person.
    victim = Browser(f"http://127.0.0.1:{web_port}")
    assert victim.get(back)[0] == 403
    assert list(victim.jar) == []
    # Nor if they have a sign-in of their own under way.
    victim.begin()
    assert victim.get(back)[0] == 403
    assert browser.get(back)[0] == 200
    assert browser.get(back)[0] == 403


@pytest.mark.identity(11)
@pytest.mark.parametrize(
    "query", ["", "code=x", "state=x&code=y", "state=x&error=access_denied", "a" * 10_000]
)
def test_any_other_callback_is_refused_and_why_is_in_the_log_alone(
    browser: Browser, gateway: Gateway, query: str
) -> None:
    status, page = browser.get(f"/sign-in/sso?{query}")
    assert (status, "not begun in this browser" in page) == (403, True)
    browser.begin()
    before = len(gateway.lines)
    status, page = browser.get(f"/sign-in/sso?{query}")
    assert status == 403
    line = gateway.wait_for(lambda line: line["event"] == "sign-in refused", after=before)
    assert line["why"]
    assert line["why"] not in page, "the reason is for the log alone"


def test_one_source_cannot_have_the_provider_asked_for_ever(
    tmp_path: Path, idp: Idp, gateway: Gateway
) -> None:
    """A gateway of its own: its budget is used up."""
    settings = gateway.file.read_text()
    port = free_port()
    settings = re.sub(
        r'addresses = \["127\.0\.0\.1:[1-9][0-9]*"\]', f'addresses = ["127.0.0.1:{port}"]', settings
    )
    settings = settings.replace(f'data_dir = "{gateway.data_dir}"', "")
    with Gateway(tmp_path, settings) as other:
        other.start()
        browser = Browser(f"http://127.0.0.1:{port}")
        browser.begin()
        answers = [browser.get("/sign-in/sso?state=x&code=y")[0] for _ in range(3)]
        assert answers == [403] * 3
        statuses = [browser.post("/sign-in/sso", provider="Other")[0] for _ in range(60)]
        assert statuses.count(429) >= 5
        assert statuses[0] == 400


def test_a_sign_in_is_begun_by_our_own_page_only(browser: Browser, web_port: int) -> None:
    browser.origin = "http://evil.example"
    headers = {"Origin": browser.origin}
    form = urlencode({"provider": "Company"}).encode()
    url = f"http://127.0.0.1:{web_port}/sign-in/sso"
    assert browser._ask(urllib.request.Request(url, form, headers))[0] == 403
    browser.origin = f"http://127.0.0.1:{web_port}"
    assert browser.post("/sign-in/sso", provider="Other")[0] == 400


@pytest.mark.identity(15)
def test_no_code_token_or_secret_is_written_anywhere(
    browser: Browser, idp: Idp, gateway: Gateway
) -> None:
    back = idp.sign_in(browser.begin(), "carol-1")
    [code] = re.findall(r"code=([^&]+)", back)
    browser.get(back)
    audit = json.dumps(gateway.audit())
    log = "\n".join(json.dumps(line) for line in gateway.lines)
    folder = Path(gateway.folder)
    kept = b"".join(
        path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "secret"
    )
    issued = idp.issued()
    assert len(issued) >= 3, "an access token, a refresh token and an ID token"
    for secret in (code, SECRET, *issued):
        assert secret not in audit
        assert secret not in log
        assert secret.encode() not in kept


@pytest.mark.identity(32)
def test_after_an_administrator_ended_a_sign_in_the_provider_asks_again(
    browser: Browser, idp: Idp, gateway: Gateway
) -> None:
    person = idp.browser()
    for _ in range(2):
        browser.get(idp.sign_in(browser.begin(), "carol-1", person))
    assert person.asked == 1, "the provider has a session of its own"
    gateway.command("sign-in", "end", "--user", "carol", "--yes")

    def led() -> str:
        """The session there leads back, and from here there again."""
        status, page = browser.get(idp.sign_in(browser.begin("/app/app01"), "carol-1", person))
        assert status == 200
        return onward(page)

    # A person who has the browser takes the question out of the address.
    before = person.asked
    status, page = browser.get(idp.sign_in(without_questions(led()), "carol-1", person))
    assert (status, person.asked) == (403, before)
    assert "auth_time" in page or "without asking" in page
    assert "Sign in with Company" in browser.get("/app/app01")[1]
    # The person is asked, and in again; and not asked for ever.
    assert browser.get(idp.sign_in(led(), "carol-1", person))[0] == 200
    assert person.asked == before + 1
    wait_until(lambda: browser.get("/app/app01")[0] == 200)
    browser.get(idp.sign_in(browser.begin(), "carol-1", person))
    assert person.asked == before + 1


@pytest.mark.identity(35)
def test_the_provider_proves_that_somebody_is_there(
    browser: Browser, idp: Idp, gateway: Gateway
) -> None:
    person = idp.browser()
    browser.get(idp.sign_in(browser.begin(), "carol-1", person))
    wait_until(lambda: "Confirm your identity" in browser.get("/app/secret")[1])
    assert "Confirm at Company" in browser.get("/step-up")[1]

    def led(wanted: str = "/app/secret") -> str:
        status, page = browser.post("/step-up/sso", next=wanted)
        assert status == 200
        return onward(page)

    before = person.asked
    # Without the question; and by another person, who knows a password of their own.
    refused = [
        browser.get(idp.sign_in(without_questions(led()), "carol-1", person)),
        browser.get(idp.sign_in(led(), "dev-9")),
    ]
    assert [status for status, _ in refused] == [403, 403]
    assert "you are not carol" in refused[1][1]
    assert person.asked == before
    assert "Confirm your identity" in browser.get("/app/secret")[1]
    # An answer that was meant for a step-up signs no person in elsewhere.
    victim = Browser(browser.origin)
    assert victim.get(idp.sign_in(led(), "carol-1"))[0] == 403

    assert "Your identity is confirmed" not in browser.get("/step-up")[1]
    _, page = browser.get(idp.sign_in(led("/step-up"), "carol-1", person))
    assert "Your identity is confirmed" in page, "at once"
    assert person.asked == before + 1
    status, page = browser.get("/app/secret")
    assert status in (200, 503), "503: the page is not built"
    assert "Confirm your identity" not in page
    events = [
        event["fields"] for event in gateway.audit() if event["fields"].get("action") == "step-up"
    ]
    assert [event["provider"] for event in events] == ["Company"]


def test_who_signed_in_by_a_password_has_no_provider_to_prove_it(
    browser: Browser, gateway: Gateway
) -> None:
    wait_until(lambda: browser.post("/sign-in", name="dev", secret=PASSWORD)[0] == 200)
    assert "Confirm at" not in browser.get("/step-up")[1]
    status, page = browser.post("/step-up/sso", next="/")
    assert (status, "you did not sign in by one" in page) == (400, True)
