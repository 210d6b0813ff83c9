"""Passkeys in a real Chromium, whose authenticator is a virtual one (CDP's WebAuthn domain)."""

import json
from collections.abc import Iterator

import pytest

from acceptance.chromium import Tab
from tests.fixtures.gateway import PASSWORD, Gateway, open_gateway
from tests.web.browser.conftest import click, ready, sign_in
from tests.web.browser.test_account import LOADED, fill
from tests.web.conftest import SETTINGS

STEP_UP = '\n[step_up]\ntargets = ["app02", "secret"]\n'
PROVE = "#prove button:not(:disabled)"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with open_gateway(
        tmp_path_factory.mktemp("passkeys"), SETTINGS + STEP_UP, "app01", "app02", "secret"
    ) as gateway:
        yield gateway


@pytest.fixture
def base(port: int) -> str:
    """Browsers take no address for a passkey."""
    return f"http://localhost:{port}"


@pytest.fixture
def authenticator(tab: Tab) -> str:
    tab.call("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    made = tab.call("WebAuthn.addVirtualAuthenticator", options=options)
    return str(made["authenticatorId"])


def at(path: str) -> str:
    return f"{LOADED} && location.pathname === {json.dumps(path)}"


def says(tab: Tab, id_: str, text: str) -> None:
    tab.until(
        f"document.getElementById({json.dumps(id_)})?.textContent.includes({json.dumps(text)})"
    )


def asked_to_prove(tab: Tab, app: str) -> None:
    tab.until(at("/step-up"))
    assert tab.ask("document.getElementById('prove').dataset.next") == f"/app/{app}"
    tab.until(f"document.querySelector('{PROVE}') !== null")


@pytest.mark.identity(35, 36)
def test_one_touch_opens_all_that_asks_for_it(
    tab: Tab, base: str, gateway: Gateway, authenticator: str
) -> None:
    sign_in(tab, base)
    tab.open(f"{base}/app/app02")
    asked_to_prove(tab, "app02")
    click(tab, PROVE)
    says(tab, "why", "dev has no passkey for localhost")

    # One is added with the password.
    click(tab, "a[href$='/account#passkeys']")
    tab.until(
        f"{at('/account')} && document.querySelector('#add-passkey button:not(:disabled)') !== null"
    )
    fill(tab, **{"passkey-name": "laptop", "passkey-password": "a wrong one"})
    click(tab, "#add-passkey button")
    says(tab, "passkey-why", "password")
    fill(tab, **{"passkey-password": PASSWORD})
    tab.ask("window.before = true")
    click(tab, "#add-passkey button")
    tab.until(f"{LOADED} && window.before === undefined")
    assert "laptop" in str(tab.ask("document.querySelector('#passkeys ~ div').textContent"))

    # A person who is not verified proves nothing.
    tab.open(f"{base}/app/app02")
    asked_to_prove(tab, "app02")
    tab.call("WebAuthn.setUserVerified", authenticatorId=authenticator, isUserVerified=False)
    click(tab, PROVE)
    says(tab, "why", "The passkey dialog was cancelled or timed out")
    assert tab.ask("location.pathname") == "/step-up"
    tab.call("WebAuthn.setUserVerified", authenticatorId=authenticator, isUserVerified=True)
    tab.until(f"document.querySelector('{PROVE}') !== null")
    click(tab, PROVE)
    tab.until(at("/app/app02"))
    ready(tab)

    # The same proof is enough for the next app, and for no other sign-in.
    tab.open(f"{base}/app/secret")
    ready(tab)
    sign_in(tab, base, "/app/app01")
    ready(tab)
    tab.open(f"{base}/app/secret")
    asked_to_prove(tab, "secret")

    # It signs in by itself, too.
    tab.call("Network.clearBrowserCookies")
    tab.open(f"{base}/sign-in?next=/account")
    tab.until(
        "document.querySelector('#passkey-sign-in:not([hidden]) button:not(:disabled)') !== null"
    )
    click(tab, "#passkey-sign-in button")
    tab.until(at("/account"))
    assert "signed in by passkey" in str(tab.ask("document.querySelector('main p').textContent"))
    sign_in(tab, base)

    # The last one is removed after a fresh proof.
    tab.open(f"{base}/account")
    assert tab.ask("document.getElementById('passkey-password')") is None
    click(tab, "form[action$='/passkeys/remove'] button")
    tab.until(f"{LOADED} && document.body.textContent.includes('other than a password')")
    click(tab, "#add-passkey a[href*='/step-up']")
    tab.until(f"document.querySelector('{PROVE}') !== null")
    click(tab, PROVE)
    tab.until(at("/account"))
    click(tab, "form[action$='/passkeys/remove'] button")
    tab.until(f"{LOADED} && document.querySelector('form[action$=\"/passkeys/remove\"]') === null")
    actions = [event["fields"].get("action") for event in gateway.audit()]
    assert [
        action for action in actions if action in ("passkey.add", "step-up", "passkey.remove")
    ] == [
        "passkey.add",
        "step-up",
        "step-up",
        "passkey.remove",
    ]
    denied = {str(denial["reason"]) for denial in gateway.sessions("denied")}
    assert "step_up_needed" not in denied, "a page that leads to the proof refuses nobody"
