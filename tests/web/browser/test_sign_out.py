"""Signing out on one page, in a real Chromium: what the others of that browser show."""

from acceptance.chromium import Browser, Tab
from tests.web.browser.conftest import click, ready, run, shows, sign_in, terminal


def test_signing_out_closes_the_terminals_of_that_browser_and_they_say_why(
    tab: Tab, browser: Browser, base: str
) -> None:
    terminal(tab, base, "left")
    run(tab, "kept=$((40+2))")
    home = browser.tab()
    try:
        home.open(f"{base}/")
        click(home, "form[action='/sign-out'] button")
        home.until("location.pathname === '/sign-in'")
    finally:
        home.end()
    tab.until("document.getElementById('status').dataset.state === 'over'")
    assert "you signed out in this browser" in str(
        tab.ask("document.getElementById('status').textContent")
    )
    click(tab, "#hint button")
    tab.until("location.pathname === '/sign-in'")
    sign_in(tab, base, "/app/app01")
    tab.open(f"{base}/app/app01?terminal=left")
    ready(tab)
    run(tab, "echo is-$kept")
    shows(tab, "is-42")
    assert not tab.trouble
