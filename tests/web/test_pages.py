"""The WebShell's pages over plain HTTP: who is let in, what is refused, and what every answer says."""

import gzip
import http.client
import itertools
import json
import re
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from stagedoor.listeners.web.pages.assets import FOLDER
from tests.fixtures.gateway import PASSWORD, Gateway, open_gateway
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import WebTerminal
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS

BUILT = pytest.mark.skipif(
    not (FOLDER / "terminal.js").exists(),
    reason="the page is not built: script/web",
)


@pytest.fixture(scope="module")
def next_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Gateway]]:
    """Another gateway for each twenty tests: all are one user, who has a budget of sign-ins."""
    with ExitStack() as opened:
        gateways: list[Gateway] = []
        asked = itertools.count()

        def gateway() -> Gateway:
            if next(asked) % 20 == 0:
                made = Gateway(tmp_path_factory.mktemp("web"), SETTINGS)
                opened.enter_context(made).add_user("dev", "app01", "app02")
                gateways.append(made.start())
            return gateways[-1]

        yield gateway


@pytest.fixture
def gateway(next_gateway: Callable[[], Gateway]) -> Gateway:
    return next_gateway()


@pytest.fixture
def person(port: int) -> PlainBrowser:
    return PlainBrowser(port)


@pytest.fixture
def inside(port: int) -> PlainBrowser:
    new_person = PlainBrowser(port)
    assert new_person.sign_in().status == 303
    return new_person


# What every answer says.

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/sign-in"),
        ("GET", "/link"),
        ("GET", "/app/app01"),
        ("GET", "/nowhere"),
        ("GET", "/manifest.webmanifest"),
        ("POST", "/sign-in"),
        ("GET", "/account"),
        ("POST", "/account/keys/add"),
        ("DELETE", "/"),
    ],
)
def test_every_answer_is_guarded(inside: PlainBrowser, method: str, path: str) -> None:
    answer = inside.send(method, path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value, name
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy
    assert "http" not in policy, "nothing from elsewhere"
    assert "server" not in answer.headers


def test_pages_have_nothing_inline(inside: PlainBrowser) -> None:
    for path in ("/", "/account", "/sign-in", "/link", "/app/app01"):
        text = inside.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert "<style" not in text
        assert not re.search(r"\son[a-z]+\s*=|\sstyle\s*=|javascript:", text)


@BUILT
def test_each_terminal_page_has_a_nonce_of_its_own(inside: PlainBrowser) -> None:
    paths = set()
    for _ in range(2):
        answer = inside.get("/app/app01")
        assert answer.status == 200
        nonce = re.search(r'data-nonce="([^"]+)"', answer.text)
        assert nonce
        assert f"'nonce-{nonce[1]}'" in answer.headers["content-security-policy"]
        paths.add(nonce[1])
    assert len(paths) == 2


@BUILT
def test_all_files_together_are_small() -> None:
    assert sum(len(gzip.compress(file.read_bytes(), 9)) for file in FOLDER.iterdir()) <= 300 * 1024


@BUILT
def test_the_page_is_small_and_its_files_keep(inside: PlainBrowser) -> None:
    paths = re.findall(r'(?:src|href)="(/static/[^"]+)"', inside.get("/app/app01").text)
    assert any(path.endswith("terminal.js") for path in paths)
    total = len(inside.get("/app/app01").text)
    for path in paths:
        answer = inside.send("HEAD", path, **{"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert "immutable" in answer.headers["cache-control"]
        total += int(answer.headers["content-length"])
    assert total <= 200 * 1024
    assert (
        inside.get(re.sub("/static/[0-9a-f]+/", "/static/0000000000000000/", paths[0])).status
        == 404
    )
    assert inside.get("/static/x/..%2fassets.py").status == 404


# In and out.


def test_who_has_not_signed_in_is_led_to_the_form_and_back(person: PlainBrowser) -> None:
    answer = person.get("/app/app01")
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in?next=%2Fapp%2Fapp01")
    form = person.get(answer.headers["location"])
    assert 'name="next" value="/app/app01"' in form.text
    answer = person.sign_in(next="/app/app01")
    assert (answer.status, answer.headers["location"]) == (303, "/app/app01")
    assert person.get("/").status == 200


def test_the_cookie_is_for_nobody_else(person: PlainBrowser, gateway: Gateway) -> None:
    set_cookie = person.sign_in().headers["set-cookie"].lower()
    for part in ("httponly", "samesite=strict", "path=/"):
        assert part in set_cookie
    assert "domain=" not in set_cookie
    assert person.cookie.partition("=")[2] not in json.dumps(gateway.lines)


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "x"],
)
def test_signing_in_leads_nowhere_else(person: PlainBrowser, wanted: str) -> None:
    assert person.sign_in(next=wanted).headers["location"] == "/"


def test_a_wrong_password_is_told_audited_and_throttled(tmp_path: Path) -> None:
    with open_gateway(tmp_path, SETTINGS, "app01") as gateway:
        person = PlainBrowser(gateway.port("web"))
        for number in range(5):
            answer = person.sign_in(secret=f"wrong {number}")
            assert answer.status == 403
            assert "set-cookie" not in answer.headers
            [said] = re.findall(r'role="alert"[^>]*>([^<]+)<', answer.text)
            assert "ask an administrator for a new password" in said
            assert "stagedoor user" not in said, "that is an administrator's"
            assert "wrong</" not in answer.text
        # The wait is doubled each time, up to what a busy machine does not need to ask twice.
        for number in range(5, 8):
            secret = f"wrong {number}"
            wait_until(lambda secret=secret: person.sign_in(secret=secret).status == 403)  # type: ignore[misc]
        assert person.sign_in(secret="wrong once more").status == 429
        assert person.sign_in().status == 429, "not even the right one, for a while"

        def reasons() -> list[str]:
            return [line["reason"] for line in gateway.sessions("denied") if line["way"] == "web"]

        wait_until(lambda: reasons().count("credential_wrong") == 8)
        wait_until(lambda: "throttled" in reasons())
        assert PASSWORD not in json.dumps(gateway.lines)


def test_a_token_signs_in_too_but_changes_no_keys(gateway: Gateway, person: PlainBrowser) -> None:
    assert person.sign_in(secret=gateway.token("dev")).status == 303
    home = person.get("/")
    assert "app01" in home.text
    assert "/account" not in home.text
    assert person.get("/account").status == 403
    assert person.post("/account/keys/add", signature="ssh-ed25519 AAAA").status == 403


FORMS = (
    *("/sign-in", "/sign-out", "/sign-in/link", "/account/sign-ins/end"),
    *("/account/password", "/account/tokens/add", "/account/tokens/revoke"),
    *("/account/keys/add", "/account/keys/remove"),
)


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1:1"])
def test_what_another_site_posts_is_not_done(inside: PlainBrowser, origin: str | None) -> None:
    inside.origin = origin
    for path in FORMS:
        answer = inside.post(path, name="dev", secret=PASSWORD, signature="x")
        assert answer.status == 403, path
        assert "set-cookie" not in answer.headers
        assert "no page of this gateway sent it" in answer.text
        assert inside.get("/").status == 200, "still signed in"


def test_signing_out_makes_the_cookie_worthless(inside: PlainBrowser) -> None:
    cookie = inside.cookie
    answer = inside.post("/sign-out")
    assert answer.status == 303
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    assert PlainBrowser(inside.port, cookie=cookie).get("/").status == 303


@pytest.mark.parametrize("cookie", ["stagedoor=", "stagedoor=x", "stagedoor=%00", "stagedoor=ü"])
def test_what_is_no_pass_lets_nobody_in(port: int, cookie: str) -> None:
    assert PlainBrowser(port, cookie=cookie.encode().decode("latin-1")).get("/").status == 303


def test_coming_from_another_site_the_page_is_loaded_again_by_itself(person: PlainBrowser) -> None:
    answer = person.get("/app/app01", **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 200
    assert 'http-equiv="refresh"' in answer.text


# One name for a kind of connection, and one cookie of it.


def named(cookie: str, name: str) -> str:
    """The same secret under another name."""
    return f"{name}={cookie.partition('=')[2]}"


@pytest.mark.parametrize(
    "name", ["__Host-stagedoor", "__Secure-stagedoor", "Stagedoor", "\xa0stagedoor"]
)
def test_a_secret_under_another_name_is_none(inside: PlainBrowser, name: str) -> None:
    own = inside.cookie
    inside.cookie = named(own, name)
    assert inside.get("/").status == 303
    assert inside.send("POST", "/api/ticket", '{"target": "app01"}').status == 401
    assert inside.post("/sign-out").status == 303
    inside.cookie = own
    assert inside.get("/").status == 200, "nobody was signed out"


@pytest.mark.parametrize(
    ("order", "between", "other"),
    [
        (1, "; ", "another"),
        (-1, ";", "planted"),
        (1, " ; a=b;", "planted"),
        (-1, "; ", ""),
        (1, "; ", "own"),
    ],
)
def test_two_cookies_of_the_name_are_refused(
    port: int, inside: PlainBrowser, order: int, between: str, other: str
) -> None:
    planted = PlainBrowser(port)
    planted.sign_in()
    second = {
        "another": "stagedoor=x", "planted": planted.cookie, "": "stagedoor=", "own": inside.cookie
    }[other]  # fmt: skip
    own, inside.cookie = inside.cookie, between.join([inside.cookie, second][::order])
    for answer in (
        inside.get("/"),
        inside.get("/app/app01"),
        inside.post("/account/keys/add", signature="x"),
        inside.send("POST", "/api/ticket", '{"target": "app01"}'),
        inside.send("GET", "/files/app01?path=/"),
        inside.post("/sign-in", name="dev", secret=PASSWORD),
    ):
        assert answer.status in (400, 404), "files may not be there"
    page = inside.get("/")
    assert "two sign-ins" in page.text
    assert "max-age=0" in page.headers["set-cookie"].lower()
    assert PlainBrowser(port, cookie=own).get("/").status == 200, "nobody was signed out"
    assert inside.post("/sign-out").status == 303
    for cookie in (own, planted.cookie):
        over = cookie in inside.cookie
        assert (PlainBrowser(port, cookie=cookie).get("/").status == 303) is over


@pytest.mark.parametrize("host", ["[", "[::1", "a]b", ":", "a:b:c", "x" * 300, "ü.example"])
def test_an_odd_host_is_no_fault(gateway: Gateway, inside: PlainBrowser, host: str) -> None:
    """Which name a cookie has hangs on it."""
    inside.host = host.encode().decode("latin-1")
    for answer in (inside.get("/"), inside.post("/sign-out"), inside.get("/app/app01")):
        assert answer.status < 500
    assert not [line for line in gateway.lines if line.get("level") == "error"]


def test_two_cookie_lines_are_two_cookies(inside: PlainBrowser) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", inside.port, timeout=30)) as line:
        line.putrequest("GET", "/")
        line.putheader("Cookie", inside.cookie)
        line.putheader("Cookie", "stagedoor=x")
        line.endheaders()
        assert line.getresponse().status == 400


@BUILT
def test_the_terminals_page_says_who_is_signed_in(inside: PlainBrowser) -> None:
    for path in ("/app/app01", "/shared/terminal"):
        assert re.search(
            r'id="who"[^>]*>[^<]*<span[^>]*>[^<]*</span>dev</span>', inside.get(path).text
        )


# By the cookie, a ticket.


@pytest.mark.parametrize(
    ("origin", "status"), [("", 200), (None, 403), ("https://evil.example", 403), ("null", 403)]
)
def test_the_cookie_gives_tickets_to_our_own_page_only(
    inside: PlainBrowser, origin: str | None, status: int
) -> None:
    inside.origin = inside.origin if origin == "" else origin
    answer = inside.send("POST", "/api/ticket", '{"target": "app01"}')
    assert answer.status == status
    if status == 200:
        client = WebTerminal(inside.port).hello(
            json.loads(answer.text)["ticket"], terminal="bycookie"
        )
        assert client.welcome is not None
        client.close()


# A link that is good once.


def link_of(gateway: Gateway, *options: str) -> tuple[str, str]:
    """Its address, and what stands behind the `#`."""
    done = gateway.command("web-link", "dev", "--url", "https://shell.example.com", *options)
    address, _, secret = done.stdout.strip().partition("#")
    return address, secret


def test_a_link_signs_in_once_and_its_secret_reaches_no_log(
    gateway: Gateway, person: PlainBrowser
) -> None:
    address, secret = link_of(gateway)
    assert address == "https://shell.example.com/link"
    assert person.get("/link").status == 200
    answer = person.post("/sign-in/link", secret=secret, next="/app/app01")
    assert (answer.status, answer.headers["location"]) == (303, "/app/app01")
    person.cookie = answer.headers["set-cookie"].partition(";")[0]
    assert person.get("/").status == 200
    again = PlainBrowser(person.port).post("/sign-in/link", secret=secret)
    assert again.status == 403
    assert "used up" in again.text
    assert secret not in json.dumps(gateway.lines)
    assert secret not in json.dumps(gateway.audit())
    assert "web.link" in json.dumps(gateway.audit())


def test_a_link_for_an_app_lets_into_no_other(gateway: Gateway, person: PlainBrowser) -> None:
    _, behind = link_of(gateway, "--app", "app02")
    secret, _, more = behind.partition("&")
    assert more == "app=app02"
    answer = person.post("/sign-in/link", secret=secret)
    person.cookie = answer.headers["set-cookie"].partition(";")[0]
    home = person.get("/").text
    assert "app02" in home
    assert "/app/app01" not in home
    assert person.get("/app/app01").status == 403
    assert person.send("POST", "/api/ticket", '{"target": "app01"}').status == 403
    assert person.post("/account/keys/add", signature="x").status == 403


def test_what_a_link_opened_ends_with_the_password(tmp_path: Path) -> None:
    with open_gateway(tmp_path, SETTINGS, "app01") as gateway:
        person = PlainBrowser(gateway.port("web"))
        _, secret = link_of(gateway)
        answer = person.post("/sign-in/link", secret=secret)
        person.cookie = answer.headers["set-cookie"].partition(";")[0]
        assert person.get("/").status == 200
        at = len(gateway.lines)
        gateway.command("user", "password", "dev", "--password-stdin", stdin="another one\n")
        gateway.wait_for(lambda line: line["event"] == "policy changed", after=at)
        # It may report the change before, of the link, first.
        wait_until(lambda: person.get("/").status == 303)


# Home.


def test_home_shows_what_one_may_enter_and_nothing_else(inside: PlainBrowser) -> None:
    text = inside.get("/").text
    assert 'href="/app/app01"' in text
    assert "ssh app01.ssh" in text
    assert "vscode://vscode-remote/ssh-remote+app01.ssh/" in text
    assert "secret.ssh" not in text


def test_an_app_without_a_grant_is_refused_in_plain_words(inside: PlainBrowser) -> None:
    answer = inside.get("/app/secret")
    assert answer.status == 403
    assert "no grant for &#39;dev&#39; to enter secret; ask an administrator" in answer.text
    assert "stagedoor grant" not in answer.text, "that is an administrator's"
    assert inside.get("/app/no%20app").status == 404


# Behind a reverse proxy, on a domain, below a path.

PROXIED = SETTINGS.replace(
    'addresses = ["127.0.0.1:0"]',
    'addresses = ["127.0.0.1:0"]\nforwarded_from = ["127.0.0.1/32"]\ndomain = "shell.example.com"\n'
    'path = "/door"\nhost_names = ["other.example"]',
)


def test_a_domain_a_path_and_tls_in_front(tmp_path: Path) -> None:
    with open_gateway(tmp_path, PROXIED, "app01") as gateway:
        port = gateway.port("web")
        tls = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.7"}
        person = PlainBrowser(
            port, "shell.example.com", origin="https://shell.example.com", extra=tls
        )
        assert person.get("/").status == 404
        assert person.get("/door/").headers["location"] == "/door/sign-in?next=%2Fdoor%2F"
        answer = person.post("/door/sign-in", name="dev", secret=PASSWORD, next="/door/")
        set_cookie = answer.headers["set-cookie"]
        assert set_cookie.startswith("__Secure-stagedoor=")
        assert "domain=shell.example.com" in set_cookie.lower()
        assert "; secure" in set_cookie.lower()
        person.cookie = set_cookie.partition(";")[0]
        assert 'href="/door/app/app01"' in person.get("/door/").text
        person.host = "app01.shell.example.com:443"
        assert (
            "app01 · Stagedoor" in person.get("/door/").text
            or not (FOLDER / "terminal.js").exists()
        )
        person.host = "secret.shell.example.com"
        assert person.get("/door/").status == 403
        # A sibling site can set cookies of weaker names; they are none over TLS.
        person.host = "shell.example.com"
        for weaker in ("stagedoor", "__Host-stagedoor"):
            assert replace(person, cookie=named(person.cookie, weaker)).get("/door/").status == 303
        person.cookie += "; " + named(person.cookie, "stagedoor")
        assert person.get("/door/").status == 200
        # Elsewhere the cookie is of this host alone.
        alone = PlainBrowser(port, "other.example", origin="https://other.example", extra=tls)
        answer = alone.post("/door/sign-in", name="dev", secret=PASSWORD)
        assert answer.headers["set-cookie"].startswith("__Host-stagedoor=")
        alone.cookie = answer.headers["set-cookie"].partition(";")[0]
        assert alone.get("/door/").status == 200
        for weaker in ("stagedoor", "__Secure-stagedoor"):
            assert replace(alone, cookie=named(alone.cookie, weaker)).get("/door/").status == 303
        assert gateway.command("web-link", "dev").stdout.startswith(
            "https://shell.example.com/door/link#"
        )


def test_nobody_but_a_trusted_proxy_says_that_it_is_tls(person: PlainBrowser) -> None:
    person.extra = {"X-Forwarded-Proto": "https"}
    assert "secure" not in person.sign_in().headers["set-cookie"].lower().split("; ")


@pytest.mark.parametrize("path", ["/app/app01?terminal=build", "/recordings?wanted=a%26b&before=1"])
def test_signing_in_leads_back_to_the_whole_address(person: PlainBrowser, path: str) -> None:
    location = person.get(path).headers["location"]
    wanted = urllib.parse.parse_qs(urllib.parse.urlsplit(location).query)["next"][0]
    assert wanted == path
    assert person.sign_in(next=wanted).headers["location"] == path


def test_signing_in_after_a_form_leads_to_no_form(person: PlainBrowser) -> None:
    """Its address answers no GET, and what was typed into it is gone."""
    assert (
        person.post("/account/keys/add", signature="x").headers["location"] == "/sign-in?next=%2F"
    )


def test_a_page_signs_in_again_in_place(inside: PlainBrowser) -> None:
    before = inside.cookie
    asked = json.dumps({"name": "dev", "secret": PASSWORD})
    answer = inside.send("POST", "/api/sign-in/again", asked)
    assert answer.status == 200, answer.text
    said = json.loads(answer.text)
    assert (said["name"], said["warn_s"]) == ("dev", 600.0)
    assert 11.9 * 3600 < said["left_s"] <= 12 * 3600
    assert inside.get("/").status == 303, "the sign-in before has ended"
    inside.cookie = answer.headers["set-cookie"].partition(";")[0]
    assert inside.cookie != before
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=strict" in answer.headers["set-cookie"]
    assert inside.get("/").status == 200


@pytest.mark.parametrize("path", ["/api/sign-in", "/api/sign-in/again"])
@pytest.mark.parametrize("origin", [None, "https://elsewhere.example"])
def test_no_other_site_signs_in_or_keeps_signed_in(
    inside: PlainBrowser, path: str, origin: str | None
) -> None:
    inside.origin = origin
    asked = json.dumps({"name": "dev", "secret": PASSWORD, "used": True})
    answer = inside.send("POST", path, asked)
    assert answer.status == 403
    assert "set-cookie" not in answer.headers


def test_a_wrong_password_in_place_ends_nothing(inside: PlainBrowser) -> None:
    answer = inside.send("POST", "/api/sign-in/again", json.dumps({"name": "dev", "secret": "x"}))
    assert answer.status == 401
    assert inside.get("/").status == 200


def test_all_pages_have_one_header(inside: PlainBrowser) -> None:
    def header(path: str) -> str:
        return inside.get(path).text.partition("<header")[2].partition("</header>")[0]

    for path in ("/", "/account", "/app/nosuch"):
        assert [name for name in ("Apps", "Account", "dev", "Sign out") if name in header(path)] == [
            "Apps", "Account", "dev", "Sign out",
        ], path  # fmt: skip
    current = r'aria-current="page"><svg.*?</svg><span>(\w+)</span>'
    assert re.findall(current, header("/")) == ["Apps"]
    assert re.findall(current, header("/account")) == ["Account"]
    for path in ("/no/such/page", "/client"):
        assert ">Apps</a>" in inside.get(path).text, "whoever asks"
