"""Signing in again at an identity provider while a terminal is open: it goes on, and it is the same page."""

import json
from collections.abc import Iterator

import pytest

from acceptance.chromium import Browser, Tab
from stagedoor.admin import service as admin
from tests.fixtures.gateway import Gateway
from tests.oidc.idp import Idp, running_idp, sso_table
from tests.ports import free_port
from tests.web.browser.conftest import click, ready, run, shows
from tests.web.browser.test_sign_out import end_all, sign_out_elsewhere
from tests.web.conftest import SETTINGS

LOADED = "document.readyState === 'complete'"


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Idp]:
    accounts = {name: {"preferred_username": name} for name in ("carol", "dave")}
    back = f"http://127.0.0.1:{port}/sign-in/sso"
    with running_idp(tmp_path_factory.mktemp("idp"), accounts, back) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, idp: Idp, port: int) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("web")
    settings = SETTINGS.replace("127.0.0.1:0", f"127.0.0.1:{port}") + sso_table(idp, folder)
    with Gateway(folder, settings) as found:
        with found.service() as service:
            admin.add_grant(service, "everybody", "app01")
        yield found.start()


def at_provider(tab: Tab, name: str) -> None:
    """Sign in there as `name`, and agree."""
    for prompt in ("login", "consent"):
        tab.until(f"{LOADED} && document.querySelector('[name=prompt][value={prompt}]') !== null")
        tab.ask(
            "for (const field of document.querySelectorAll('[name=login], [name=password]'))"
            f" field.value = {json.dumps(name)}; 0"
        )
        click(tab, "[type=submit]")


def again(tab: Tab, browser: Browser, base: str, idp: Idp, name: str = "") -> None:
    """By the dialog, in the tab that it opens; `name` where the provider asks for it. Then back here."""
    click(tab, "#sign-in form[action$='/sign-in/sso'] [type=submit]")
    if name:
        at_provider(browser.attach(idp.issuer), name)
    elsewhere = browser.attach(f"{base}/signed-in")
    elsewhere.until("document.querySelector('[role=status]') !== null")
    assert "You can close this tab" in str(elsewhere.ask("document.body.textContent"))
    elsewhere.end()
    tab.call("Page.bringToFront")


def test_who_signed_in_at_a_provider_does_so_again_in_another_tab(
    tab: Tab, browser: Browser, base: str, idp: Idp, gateway: Gateway
) -> None:
    tab.call("Network.clearBrowserCookies")
    tab.open(f"{base}/sign-in?next=/app/app01?terminal=stays")
    click(tab, "form[action='/sign-in/sso'] button")
    at_provider(tab, "carol")
    ready(tab)
    run(tab, "kept=$((40+2)); echo be''gun")
    shows(tab, "begun")
    tab.ask("window.mark = 'the same page'")

    # Ended: the dialog names the provider and asks for no password.
    sign_out_elsewhere(browser, base)
    tab.until("document.getElementById('sign-in').open")
    assert not tab.ask("document.getElementById('sign-in-secret').checkVisibility()")
    assert tab.ask("document.activeElement.textContent") == "Sign in with Company"
    again(tab, browser, base, idp)
    tab.until("!document.getElementById('sign-in').open")
    ready(tab)
    run(tab, "echo is-$kept")
    shows(tab, "is-42")

    # About to end: another one takes its place before.
    end_all(gateway, 300)
    assert tab.ask("window.mark") == "the same page"
    tab.open(f"{base}/app/app01?terminal=stays")
    ready(tab)
    tab.ask("window.mark = 'the same page'")
    click(tab, "#sign-in-ends button")
    again(tab, browser, base, idp)
    tab.until("!document.getElementById('sign-in').open")
    tab.until("document.getElementById('sign-in-ends').hidden")
    ready(tab)
    run(tab, "echo and-$kept")
    shows(tab, "and-42")

    # Another person signs in there: the terminal is not theirs.
    sign_out_elsewhere(browser, base)
    tab.until("document.getElementById('sign-in').open")
    tab.call("Network.clearBrowserCookies")
    again(tab, browser, base, idp, "dave")
    tab.until(
        "document.getElementById('sign-in-why').textContent.startsWith('You signed in as dave')"
    )
    assert tab.ask("document.getElementById('status').dataset.state") == "over"
    assert tab.ask("window.mark") == "the same page"
