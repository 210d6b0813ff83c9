"""A person's own account in a real Chromium: a new password, a token, and the end of another sign-in."""

from collections.abc import Iterator

import pytest

from acceptance.chromium import Tab
from tests.fixtures.gateway import PASSWORD, Gateway, open_gateway
from tests.fixtures.people import PlainBrowser
from tests.waiting import wait_until
from tests.web.browser.conftest import click, sign_in_by_form
from tests.web.conftest import SETTINGS

LOADED = "document.readyState === 'complete'"
NEW = "a new password"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    accounts = '\n[accounts]\nself_service = ["password", "tokens"]\n'
    with open_gateway(tmp_path_factory.mktemp("account"), SETTINGS + accounts, "app01") as gateway:
        yield gateway


def fill(tab: Tab, **fields: str) -> None:
    for name, text in fields.items():
        tab.ask(f"document.getElementById('{name}').select()")
        tab.type(text)


@pytest.mark.identity(36)
def test_somebody_looks_after_their_own_account(tab: Tab, base: str, port: int) -> None:
    tab.call("Network.clearBrowserCookies")
    other = PlainBrowser(port)
    assert other.sign_in().status == 303
    sign_in_by_form(tab, base)
    click(tab, "header nav a[href$='/account']")
    tab.until(f"{LOADED} && location.pathname === '/account'")
    assert "signed in by password" in str(tab.ask("document.querySelector('main p').textContent"))

    # A token, which can be copied and is shown once.
    fill(tab, apps="app01", days="7")
    click(tab, "form[action$='/tokens/add'] button")
    tab.until(f"{LOADED} && document.getElementById('new-token') !== null")
    token = str(tab.ask("document.getElementById('new-token').textContent"))
    tab.ask("navigator.clipboard.writeText = async text => { window.copied = text; }")
    click(tab, "button.copy")
    tab.until("window.copied !== undefined")
    assert tab.ask("window.copied") == token
    assert PlainBrowser(port).sign_in(secret=token).status == 303
    tab.open(f"{base}/account")
    assert token not in str(tab.ask("document.documentElement.outerHTML"))
    click(tab, "form[action$='/tokens/revoke'] button")
    tab.until(f"{LOADED} && document.querySelector('form[action$=\"/tokens/revoke\"]') === null")

    # On a phone a row is a card, which is no wider than the page.
    tab.resize(390, 800, phone=True)
    wide = "[...document.querySelectorAll('main *')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    assert tab.ask(f"{wide}.filter(e => getComputedStyle(e).overflowX === 'auto').length") == 0
    tab.call("Emulation.clearDeviceMetricsOverride")
    tab.until("innerWidth > 390")  # a click before the page is laid out again would miss

    # The other browser is signed out.
    listed = str(tab.ask("document.querySelector('#sign-ins ~ div').textContent"))
    assert "this one" in listed
    assert "Chrome on Linux" in listed
    click(tab, "#sign-ins ~ form button")
    tab.until(f"{LOADED} && document.querySelector('#sign-ins ~ form') === null")
    wait_until(lambda: other.get("/").status == 303)

    # A wrong password is named beside the form, the right one changes it, and this page goes on.
    fill(tab, present="wrong", new=NEW, again=NEW)
    click(tab, "form[action$='/account/password'] button")
    tab.until(f"{LOADED} && document.querySelector('#password ~ [role=alert]') !== null")
    fill(tab, present=PASSWORD, new=NEW, again=NEW)
    click(tab, "form[action$='/account/password'] button")
    tab.until(
        f"{LOADED} && location.hash === '#password' && document.querySelector('[role=alert]') === null"
    )
    wait_until(lambda: PlainBrowser(port).sign_in(secret=NEW).status == 303)
    assert not [line for line in tab.trouble if "403" not in line], tab.trouble


def test_an_invitation_is_opened_and_the_password_typed_anew_after_a_refusal(
    tab: Tab, base: str, gateway: Gateway, port: int
) -> None:
    link = gateway.command("user", "invite", "new+comer", "--url", base).stdout.strip()
    tab.call("Network.clearBrowserCookies")
    tab.open(link)
    tab.until("document.activeElement.id === 'new'")
    assert tab.ask("[location.href, document.getElementById('name').value].join(' ')") == (
        f"{base}/invitation new+comer"
    )
    fill(tab, new=NEW, again="something else")
    click(tab, "#link button")
    tab.until(f"{LOADED} && document.querySelector('[role=alert]') !== null")
    tab.until("document.activeElement.id === 'new'")
    fill(tab, new=NEW, again=NEW)
    click(tab, "#link button")
    tab.until(f"{LOADED} && location.pathname === '/'")
    assert "new+comer" in str(tab.ask("document.querySelector('header').textContent"))
    tab.open(link)
    tab.until("document.activeElement.id === 'new'")
    fill(tab, new=NEW, again=NEW)
    click(tab, "#link button")
    tab.until(f"{LOADED} && document.querySelector('[role=alert]') !== null")
    assert "this invitation was used" in str(
        tab.ask("document.querySelector('[role=alert]').textContent")
    )
