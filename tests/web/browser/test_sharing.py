"""Terminals with other people in them, as those people meet them: two browser contexts, two persons."""

import json
import re

import pytest

from acceptance.chromium import Browser, Tab
from tests.fixtures.gateway import Gateway
from tests.waiting import wait_until
from tests.web.browser.conftest import ready, run, screen, shows, sign_in, terminal
from tests.web.browser.test_page import COPIES, phone


@pytest.fixture
def other(second: Tab, gateway: Gateway) -> Tab:
    """A page of a second person's, `bob`, who shares no cookie with the first and may enter nothing."""
    if "bob" not in gateway.command("user", "list").stdout:
        gateway.add_user("bob")
    return second


def click(tab: Tab, text: str, within: str = "document") -> None:
    """The button, or the link, that says so."""
    button = f"[...{within}.querySelectorAll('button, a')].find(e => e.textContent === {json.dumps(text)})"
    tab.until(f"{button} !== undefined")
    tab.ask(f"{button}.click()")


def shared(tab: Tab, *, typing: bool = False) -> str:
    """Make a link by the dialog, as the host does."""
    click(tab, "Share…")
    tab.until("document.getElementById('dialog').open")
    if typing:
        tab.ask("document.querySelector('#dialog [name=typing]').click()")
    click(tab, "Make a link")
    return str(tab.until("document.getElementById('share-link')?.value"))


def mark(tab: Tab, name: str) -> str:
    return str(tab.ask(f"document.getElementById('{name}')?.textContent ?? ''"))


def test_a_link_shows_the_terminal_to_who_signs_in_and_to_him_alone(
    tab: Tab, other: Tab, base: str, gateway: Gateway
) -> None:
    terminal(tab, base, "shown")
    link = shared(tab)
    assert link.startswith(f"{base}/shared#")
    secret = link.partition("#")[2]
    tab.ask("document.getElementById('dialog').close()")
    other.open(link)
    other.until("document.getElementById('open')?.hidden === false")
    assert secret not in str(other.ask("location.href")), "nor in the history"
    click(other, "Watch the terminal")
    other.until("location.pathname === '/sign-in' && document.readyState === 'complete'")
    # What follows is the same page that every person signs in by.
    other.ask("document.getElementById('name').value = 'bob'")
    other.ask("document.getElementById('secret').focus()")
    other.type("correct horse battery staple")
    other.enter()
    other.until("location.pathname === '/shared/terminal'")
    ready(other)
    assert mark(other, "guest") == "Watching dev: shown"
    # Who is signed in reads on the link's page whose terminal it is.
    other.open(link)
    other.until(
        "document.getElementById('why')?.textContent"
        " === 'dev shares a terminal of app01 with you. You watch it.'"
    )
    other.ask("document.getElementById('open').click()")
    other.until("location.pathname === '/shared/terminal'")
    ready(other)
    tab.until("document.getElementById('people').textContent === 'bob by link watches'")
    run(tab, "echo se''en=$((40+2))")
    shows(other, "seen=42")
    # The host's clipboard is none of their guest's, however it is wrapped.
    for page in (tab, other):
        page.ask(COPIES)
    copies = r"\033]52;c;dG11eA==\a"
    run(tab, f"printf '{copies}\\033Ptmux;\\033{copies}\\033\\\\'; echo co''pied")
    shows(other, "copied")
    tab.until("window.copies.length === 2")
    assert other.ask("window.copies") == []
    # They type, and nothing of it arrives; their window has the size of the host's.
    run(other, "echo intr''uder")
    assert other.ask("document.getElementById('share')") is None
    asked = "[...document.querySelectorAll('#more-menu [data-for]')].map(e => e.dataset.for)"
    assert other.ask(asked) == [], "no button without what it is for"
    run(tab, "echo af''ter")
    assert "intruder" not in shows(tab, "after")
    sizes = "document.querySelectorAll('.xterm-rows > div').length"
    other.until(f"{sizes} === {tab.ask(sizes)}")
    # The end of the share.
    click(tab, "Share…")
    click(tab, "End", "document.getElementById('dialog-body')")
    other.until("document.getElementById('status').dataset.state === 'over'")
    assert "has ended" in str(other.ask("document.getElementById('status').textContent"))
    tab.until("document.getElementById('people').textContent === 'Only you'")
    assert secret not in json.dumps(gateway.lines)
    assert not tab.trouble
    assert not other.trouble


def test_terminals_are_opened_by_name_and_ended(tab: Tab, base: str) -> None:
    terminal(tab, base, "one")
    click(tab, "Terminals")
    tab.until("document.querySelector('#dialog [aria-current]')?.textContent === 'one'")
    tab.ask("document.querySelector('#new-terminal input').value = 'two'")
    click(tab, "Open", "document.getElementById('new-terminal')")
    tab.until("location.search === '?terminal=two'")
    ready(tab)
    click(tab, "Terminals")
    row = (
        "[...document.querySelectorAll('#dialog li')]"
        ".find(e => e.querySelector('a')?.textContent === 'one')"
    )
    tab.until(f"{row} !== undefined")
    click(tab, "End…", row)
    click(tab, "End it", row)
    tab.until(f"{row} === undefined && document.querySelector('#dialog [aria-current]') !== null")
    tab.ask("document.getElementById('dialog').close()")
    run(tab, "echo st''ill-here")
    shows(tab, "still-here")
    assert not tab.trouble


def test_where_somebody_is_already_it_is_asked_how_to_attach(
    browser: Browser, tab: Tab, base: str
) -> None:
    terminal(tab, base, "busy")
    run(tab, "echo fi''rst")
    shows(tab, "first")
    second = browser.tab()
    try:
        second.open(f"{base}/app/app01?terminal=busy")
        second.until("document.getElementById('dialog').open")
        said = str(second.ask("document.getElementById('dialog-body').textContent"))
        assert re.search(r"dev, from 127\.0\.0\.1(?!:)", said), "without the port"
        weighty = "[...document.querySelectorAll('#dialog .primary')].map(e => e.textContent)"
        assert second.ask(weighty) == ["Only watch"]
        assert second.ask("document.getElementById('dialog-close').hidden"), "it would join in"
        click(second, "Take over")
        ready(second)
        tab.until("document.getElementById('status').dataset.state === 'over'")
        run(second, "echo ta''ken")
        shows(second, "taken")
        assert not second.trouble
    finally:
        second.end()


ALL_IN = (
    "(() => { const place = document.getElementById('screen').getBoundingClientRect();"
    " const drawn = document.querySelector('.xterm-screen').getBoundingClientRect();"
    " return drawn.width > 0 && drawn.right <= place.right && drawn.bottom <= place.bottom; })()"
)


def test_who_watches_in_a_smaller_window_sees_the_whole_terminal(
    tab: Tab, other: Tab, base: str
) -> None:
    terminal(tab, base, "larger")
    run(tab, "clear; seq 50; echo lo''west")
    shows(tab, "lowest")
    phone(other)
    sign_in(other, base)
    other.open(f"{base}/app/app01?terminal=larger")
    click(other, "Only watch")
    ready(other)
    shows(other, "lowest")
    other.until(ALL_IN)
    run(tab, "sleep 600")  # what is shown later does not make it larger
    shows(other, "sleep 600")
    assert other.ask(ALL_IN)
    # Loaded again, the page asks nothing and still only watches.
    other.open(f"{base}/app/app01?terminal=larger")
    ready(other)
    assert mark(other, "guest") == "Only watching"
    other.ask("document.querySelector('.xterm-helper-textarea').focus()")
    other.type("never-typed")
    shows(other, "sleep 600")
    assert "never-typed" not in screen(tab)
    click(other, "Type…")
    other.until("document.getElementById('dialog').open")


def test_who_may_watch_finds_live_sessions_at_home(
    tab: Tab, other: Tab, base: str, gateway: Gateway
) -> None:
    number = json.loads(
        gateway.command(
            "grant", "add", "user:bob", "app*", "--allow", "watch", "--without", "enter", "--json"
        ).stdout
    )["id"]
    terminal(tab, base, "live")
    sign_in_as(other, base, "bob")
    wait_until(lambda: _found(other, base, "live"))
    click(
        other,
        "Watch",
        "[...document.querySelectorAll('tr')].find(e => e.textContent.includes('live'))",
    )
    other.until("location.pathname.startsWith('/watch/')")
    ready(other)
    assert mark(other, "guest") == "Watching dev: live"
    tab.until("document.getElementById('people').textContent === 'bob watches'")
    gateway.command("grant", "remove", str(number))
    other.until("document.getElementById('status').dataset.state === 'over'")
    assert not other.trouble


def sign_in_as(tab: Tab, base: str, name: str) -> None:
    tab.open(f"{base}/sign-in?next=/")
    tab.ask(f"document.getElementById('name').value = {json.dumps(name)}")
    tab.ask("document.getElementById('secret').focus()")
    tab.type("correct horse battery staple")
    tab.enter()
    tab.until("location.pathname === '/' && document.readyState === 'complete'")


def _found(tab: Tab, base: str, terminal: str) -> bool:
    tab.open(f"{base}/")
    return bool(
        tab.ask(
            f"[...document.querySelectorAll('tr')].some(e => e.textContent.includes('{terminal}'))"
        )
    )


def test_the_home_page_lists_terminals_when_asked(tab: Tab, base: str) -> None:
    terminal(tab, base, "athome")
    sign_in(tab, base)
    tab.until("document.querySelector('button.terminals:not([hidden])') !== null")
    click(tab, "Others…", "document.querySelector('#app-list tr')")
    tab.until(
        "[...document.querySelectorAll('#app-list ul a')].some(e => e.textContent === 'athome')"
    )
    assert not tab.trouble
