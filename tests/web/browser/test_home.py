"""The home page, without JavaScript as with it: what is there, and what its forms do."""

import re
from collections.abc import Iterator

import pytest

from acceptance.chromium import Tab
from stagedoor.keys.files import make_key
from stagedoor.keys.signing import sign
from stagedoor.signin.key_proof import NAMESPACE
from tests.fixtures.gateway import Gateway, open_gateway
from tests.fixtures.terminal import WebTerminal, ticket
from tests.ports import free_port
from tests.waiting import wait_until
from tests.web.browser.conftest import click, sign_in, sign_in_by_form
from tests.web.conftest import SETTINGS

SSH = '\n[ssh]\naddresses = ["127.0.0.1:{port}"]\nhost_names = ["gw.example.com"]\n'
LOADED = "document.readyState === 'complete'"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with open_gateway(
        tmp_path_factory.mktemp("home"), SETTINGS + SSH.format(port=free_port()), "app01", "app02"
    ) as gateway:
        yield gateway


@pytest.fixture
def plain(tab: Tab) -> Tab:
    """A browser in which no page's script runs."""
    tab.call("Network.clearBrowserCookies")
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    return tab


def test_all_of_it_works_without_javascript(plain: Tab, base: str, port: int) -> None:
    tab = plain
    client = WebTerminal(port).hello(ticket(port), "true", terminal="once")
    client.until(lambda: client.exit is not None)
    client.close()
    sign_in_by_form(tab, base)
    assert tab.ask("document.querySelector('button.copy').hidden"), "no script has run"
    rows = tab.ask("[...document.querySelectorAll('#app-list > tr')].map(row => row.textContent)")
    assert len(rows) == 2
    assert "app01" in rows[0]
    assert "not running" in rows[1]
    assert re.search(r"ssh (-p \d+ )?app01@gw\.example\.com", rows[0])
    links = tab.ask("[...document.querySelectorAll('#app-list tr:first-child a')].map(a => a.href)")
    assert f"{base}/app/app01" in links
    assert "vscode://vscode-remote/ssh-remote+app01.ssh/" in links
    past = str(tab.ask("document.querySelector('[aria-labelledby=past]').textContent"))
    assert "app01" in past
    assert "WebShell" in past

    # A key comes, and goes again.
    click(tab, "header nav a[href$='/account']")
    tab.until(f"{LOADED} && location.pathname === '/account'")
    command = str(tab.ask("document.getElementById('key-command').textContent"))
    line = command.removeprefix("echo ").partition(" | ")[0]
    shown, _ = sign(make_key(), f"{line}\n", NAMESPACE)
    tab.ask("document.getElementById('signature').focus()")
    tab.type(shown.replace("\n", " "))
    tab.ask("document.getElementById('label').focus()")
    tab.type("laptop <b>")
    click(tab, "form[action$='/keys/add'] button")
    tab.until(f"{LOADED} && document.querySelector('ul.keys li') !== null")
    assert "laptop <b>" in str(tab.ask("document.querySelector('ul.keys').textContent"))
    click(tab, "form[action$='/keys/remove'] button")
    tab.until(
        f"{LOADED} && document.querySelector('#keys') && document.querySelector('ul.keys') === null"
    )

    # Nonsense is refused in words, where it was typed.
    tab.ask("document.getElementById('signature').focus()")
    tab.type("ssh-dss nonsense")
    click(tab, "form[action$='/keys/add'] button")
    tab.until(f"{LOADED} && document.querySelector('[aria-labelledby=keys] [role=alert]') !== null")
    alert = str(tab.ask("document.querySelector('[role=alert]').textContent"))
    assert alert.startswith("Nothing was changed: ")
    click(tab, "header nav a")
    tab.until(f"{LOADED} && document.querySelector('#apps') !== null")

    # The terminal needs a script, and says what does not.
    click(tab, "#app-list a.button")
    tab.until(f"{LOADED} && location.pathname === '/app/app01'")
    assert "stagedoor attach app01" in str(
        tab.ask("document.querySelector('noscript').textContent")
    )
    tab.open(f"{base}/")
    click(tab, "header form button")
    tab.until("location.pathname === '/sign-in'")


def test_the_line_for_ssh_is_copied_by_a_button(tab: Tab, base: str) -> None:
    sign_in(tab, base)
    tab.until("document.querySelector('button.copy').hidden === false")
    tab.ask(
        "window.copies = []; navigator.clipboard.writeText = async text => { window.copies.push(text); }"
    )
    click(tab, "#app-list summary")
    click(tab, "#app-list button.copy")
    tab.until("window.copies.length === 1")
    assert "app01@gw.example.com" in tab.ask("window.copies[0]")
    assert not tab.trouble


def test_what_was_taken_away_is_gone_from_the_page(tab: Tab, base: str, gateway: Gateway) -> None:
    gateway.add_user("passing", "app02")
    sign_in(tab, base, name="passing")
    tab.until("document.querySelectorAll('#app-list > tr').length === 1")
    gateway.command("user", "remove", "passing", "--yes")
    wait_until(lambda: (tab.open(f"{base}/"), tab.ask("location.pathname"))[1] == "/sign-in")


def test_after_a_wrong_password_the_cursor_is_where_it_is_asked_again(tab: Tab, base: str) -> None:
    tab.call("Network.clearBrowserCookies")
    tab.open(f"{base}/sign-in")
    tab.ask("document.getElementById('name').focus()")
    tab.type("dev")
    tab.press("Tab", "Tab", 9)
    tab.type("wrong")
    tab.enter()
    tab.until("document.querySelector('[role=alert]') !== null")
    tab.until("document.activeElement.id === 'secret'")
    assert tab.ask("document.getElementById('name').value") == "dev"
