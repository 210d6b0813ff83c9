"""The company's name, logo and help link at the top of each page."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.gateway import Gateway
from tests.fixtures.people import PlainBrowser
from tests.web.conftest import SETTINGS

LOGO = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle cx="4.5" cy="4.5" r="4"/></svg>'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("brand")
    (folder / "acme.svg").write_text(LOGO, encoding="ascii")
    brand = f"""
company = "ACME & Sons"
logo_file = "{folder / "acme.svg"}"
help_url = "https://wiki.example.com/shells"
"""
    with Gateway(folder, SETTINGS.replace("[web]\n", f"[web]\n{brand}", 1)) as gateway:
        gateway.add_user("dev", "app01")
        yield gateway.start()


def test_pages_of_people_and_of_strangers_have_name_logo_and_help(port: int) -> None:
    person = PlainBrowser(port)
    pages = [person.get("/sign-in").text]
    assert person.sign_in("dev").status == 303
    pages += [person.get(path).text for path in ("/", "/account", "/missing", "/step-up")]
    for page in pages:
        assert "<span>ACME &amp; Sons</span>" in page
        assert "ACME &amp; Sons</title>" in page
        assert 'href="https://wiki.example.com/shells"' in page
        assert "<span>Stagedoor</span>" not in page
    address = pages[0].partition('<img src="')[2].partition('"')[0]
    logo = person.get(address)
    assert (logo.status, logo.text) == (200, LOGO)
    assert logo.headers["content-type"] == "image/svg+xml"
    assert "sandbox" in logo.headers["content-security-policy"]
    assert "default-src 'none'" in logo.headers["content-security-policy"]


def test_the_terminal_has_them_in_its_bar_and_its_menu(port: int) -> None:
    person = PlainBrowser(port)
    person.sign_in("dev")
    page = person.get("/app/app01").text
    bar, _, rest = page.partition("</header>")
    assert "<title>app01 · ACME &amp; Sons</title>" in bar
    assert 'data-brand="ACME &amp; Sons"' in bar
    assert '<span id="brand" aria-hidden="true">ACME &amp; Sons</span>' in bar
    address = bar.partition('<img src="')[2].partition('"')[0]
    assert person.get(address).text == LOGO
    assert 'href="https://wiki.example.com/shells"' in rest
    manifest = person.get("/manifest.webmanifest?app=app01").text
    assert "app01 \\u00b7 ACME & Sons" in manifest
