"""The home page's people and last uses, and the palette's list: each user sees their own apps only."""

import gzip
import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.fixtures.gateway import Gateway
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import WebTerminal, basic, ticket
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS

MANY = "".join(
    f'\n[[shells.static]]\napp = "many-{at:02}"\nhost = "10.0.0.9"\n' for at in range(30)
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("use"), SETTINGS + MANY) as found:
        found.add_user("dev", "app01")
        found.add_user("other", "app01", "app02")
        found.add_user("busy", "many-*")
        yield found.start()


def signed_in(port: int, name: str) -> PlainBrowser:
    person = PlainBrowser(port)
    assert person.sign_in(name).status == 303
    return person


def inside(page: str, app: str) -> str:
    """Return the cell of an app's row with the people who are inside."""
    row = page.partition(f'<tr data-name="{app}"')[2].partition("</tr>")[0]
    return row.partition('<td class="inside">')[2].partition("</td>")[0]


def test_people_are_seen_in_one_s_own_apps_only(port: int) -> None:
    dev, other = signed_in(port, "dev"), signed_in(port, "other")
    opened = [
        WebTerminal(port).hello(ticket(port, app, basic("other")), terminal=f"seen-{app}")
        for app in ("app01", "app02")
    ]
    try:
        for client in opened:
            client.until(lambda client=client: client.welcome is not None)  # type: ignore[misc]
        wait_until(lambda: "other" in inside(dev.get("/").text, "app01"))
        wait_until(lambda: "other" in inside(other.get("/").text, "app02"))
        page = dev.get("/").text
        assert "app02" not in page
        assert page.count("other") == inside(page, "app01").count("other"), "nowhere else"
        assert "data-used" not in page, "dev has not been there"
        assert len(re.findall("data-used", other.get("/").text)) == 2
    finally:
        for client in opened:
            client.close()


@pytest.mark.parametrize(
    ("origin", "status"), [("", 200), (None, 403), ("https://evil.example", 403), ("null", 403)]
)
def test_the_palette_lists_one_s_own_apps_for_our_own_page(
    port: int, origin: str | None, status: int
) -> None:
    person = signed_in(port, "dev")
    person.origin = person.origin if origin == "" else origin
    answer = person.send("POST", "/api/apps", "{}")
    assert answer.status == status
    assert answer.headers["cache-control"] == "no-store"
    if status == 200:
        assert json.loads(answer.text) == {"apps": [{"name": "app01", "page": "/app/app01"}]}
    else:
        assert "app01" not in answer.text


def test_without_a_sign_in_no_app_is_listed(port: int) -> None:
    assert PlainBrowser(port).send("POST", "/api/apps", "{}").status == 401


def test_many_apps_are_in_the_page_and_the_first_twenty_are_shown(port: int) -> None:
    person = signed_in(port, "busy")
    shown, _, more = person.get("/").text.partition('<template id="more-apps">')
    assert (shown.count("<tr data-name="), more.count("<tr data-name=")) == (20, 10)
    everything = person.get("/?all").text
    assert everything.count("<tr data-name=") == 30
    assert "<template" not in everything


def test_the_home_page_alone_is_packed(port: int) -> None:
    """A packed page with a secret in it would give that away by its length (BREACH)."""
    person = signed_in(port, "dev")
    for path, packed in (
        ("/", True),
        ("/account", False),
        ("/app/app01", False),
        ("/sign-in", False),
    ):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as line:
            line.request("GET", path, headers={"Cookie": person.cookie, "Accept-Encoding": "gzip"})
            answer = line.getresponse()
            body = answer.read()
        assert (answer.getheader("content-encoding") == "gzip") is packed, path
        if packed:
            assert answer.getheader("vary") == "Accept-Encoding"
            assert b"app01" in gzip.decompress(body)
