"""Signing out on one page, in a real Chromium: what the others of that browser show."""

import time

from sqlalchemy import select, update

from acceptance.chromium import Browser, Tab
from stagedoor.store.sign_in.tables import web_passes
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.fixtures.terminal import WebTerminal, ticket
from tests.waiting import wait_until
from tests.web.browser.conftest import click, ready, run, shows, sign_in, sign_in_by_form, terminal


def test_signing_out_closes_the_terminals_of_that_browser_and_they_say_why(
    tab: Tab, browser: Browser, base: str
) -> None:
    terminal(tab, base, "left")
    run(tab, "kept=$((40+2))")
    sign_out_elsewhere(browser, base)
    tab.until("document.getElementById('status').dataset.state === 'over'")
    assert "you signed out in this browser" in str(
        tab.ask("document.getElementById('status').textContent")
    )
    click(tab, "#sign-in-later")
    click(tab, "#hint button")
    tab.until("location.pathname === '/sign-in'")
    sign_in(tab, base, "/app/app01")
    tab.open(f"{base}/app/app01?terminal=left")
    ready(tab)
    run(tab, "echo is-$kept")
    shows(tab, "is-42")
    assert not tab.trouble


def test_a_terminal_ended_by_another_person_s_sign_in_says_so(
    tab: Tab, browser: Browser, base: str, gateway: Gateway
) -> None:
    gateway.add_user("next")
    terminal(tab, base, "replaced")
    second = browser.tab()
    try:
        sign_in_by_form(second, base, name="next")
    finally:
        second.end()
    tab.until("document.getElementById('sign-in').open")
    why = str(tab.ask("document.getElementById('sign-in-why').textContent"))
    assert "a later sign-in in this browser replaced yours" in why
    assert "you signed out" not in why


def test_another_sign_in_takes_the_place_of_one_that_ended_over_the_terminal(
    tab: Tab, browser: Browser, base: str
) -> None:
    terminal(tab, base, "stays")
    run(tab, "kept=$((40+2)); echo be''gun")
    shows(tab, "begun")
    tab.ask("window.mark = 'the same page'")
    sign_out_elsewhere(browser, base)
    tab.until("document.getElementById('sign-in').open")
    assert "you signed out" in str(tab.ask("document.getElementById('sign-in-why').textContent"))
    shows(tab, "begun")
    tab.until("document.activeElement.id === 'sign-in-secret'")
    tab.type("wrong")
    tab.enter()
    tab.until("document.getElementById('sign-in-why').textContent.includes('wrong')")
    tab.type(PASSWORD)
    tab.enter()
    ready(tab)
    tab.until("!document.getElementById('sign-in').open")
    run(tab, "echo is-$kept")
    shows(tab, "is-42")
    assert tab.ask("window.mark") == "the same page"


def test_the_page_says_when_its_sign_in_is_about_to_end(
    tab: Tab, gateway: Gateway, base: str
) -> None:
    sign_in(tab, base)
    end_all(gateway, 300)
    tab.open(f"{base}/app/app01?terminal=warned")
    ready(tab)
    tab.until("!document.getElementById('sign-in-ends').hidden")
    assert "Your sign-in ends at" in str(
        tab.ask("document.getElementById('sign-in-ends').textContent")
    )
    click(tab, "#sign-in-ends button")
    tab.until("document.activeElement.id === 'sign-in-secret'")
    tab.type(PASSWORD)
    tab.enter()
    tab.until("document.getElementById('sign-in-ends').hidden")
    ready(tab)
    run(tab, "echo go''es on")
    shows(tab, "goes on")


def test_a_key_is_use_and_what_a_program_makes_the_terminal_answer_is_not(
    tab: Tab, gateway: Gateway, base: str, port: int
) -> None:
    terminal(tab, base, "used")
    soon = end_all(gateway, 300, latest_s=7200)
    client = WebTerminal(port).hello(ticket(port), terminal="used")
    # The answer has seven bytes: ESC [ ? 1 ; 2 c.
    client.type(
        b"stty -icanon -echo; printf '\\033[c'; dd bs=1 count=7 of=/dev/null 2>/dev/null;"
        b" stty icanon echo; echo an''swered\n"
    )
    shows(tab, "answered")
    assert end_of_all(gateway) == {soon}
    run(tab, "echo ty''ped")
    shows(tab, "typed")
    wait_until(lambda: max(end_of_all(gateway)) > soon + 3600)
    client.close()


def end_of_all(gateway: Gateway) -> set[float]:
    with gateway.service() as service, service.database.read() as transaction:
        query = select(web_passes.c.expires_at).where(web_passes.c.kind == "session")
        return set(transaction.execute(query).scalars())


def sign_out_elsewhere(browser: Browser, base: str) -> None:
    """In another tab of the same browser."""
    home = browser.tab()
    try:
        home.open(f"{base}/")
        click(home, "form[action='/sign-out'] button")
        home.until("location.pathname === '/sign-in'")
    finally:
        home.end()


def end_all(gateway: Gateway, left_s: float, latest_s: float = 0) -> float:
    """So long do all sign-ins last from now on, and so long at most if they are used; their end."""
    end = time.time() + left_s
    latest = time.time() + max(latest_s, left_s)
    with gateway.service() as service, service.change("test") as change:
        change.transaction.execute(
            update(web_passes)
            .where(web_passes.c.kind == "session")
            .values(expires_at=end, latest_end=latest)
        )
    return end
