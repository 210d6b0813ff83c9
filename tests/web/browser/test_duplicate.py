"""A tab that the browser itself duplicates, by its own menu: it begins with a copy of the tab's storage."""

import os
import subprocess
import time
from pathlib import Path

from acceptance.chromium import Browser, Tab, chromium
from acceptance.firefox import x_screen
from tests.fixtures.gateway import Gateway
from tests.waiting import BOUND_S
from tests.web.browser.conftest import ready, run, screen, shows, sign_in
from tests.web.browser.test_sharing import click, mark
from tests.web.browser.test_shortcuts import pytestmark

__all__ = ["pytestmark"]
ASKS = "document.getElementById('dialog').open"
FIRST_TAB, SECOND_TAB = "120", "360"
"""The places of tabs in Chromium's strip, in pixels from the left."""


def duplicated(browser: Browser, url: str, there: list[str], tab_x: str) -> Tab:
    """The new page, once the tab at that place was duplicated. `there`: the pages known by now."""
    environment = {**os.environ}
    deadline = time.monotonic() + BOUND_S
    while time.monotonic() < deadline:
        for keys in (("mousemove", tab_x, "20", "click", "3"), ("key", "d")):
            subprocess.run(["xdotool", *keys], env=environment, check=True)
            time.sleep(0.3)  # there is no event for a menu of the browser
        again = time.monotonic() + 3
        while time.monotonic() < again:
            for page in browser.pages(url):
                if page not in there:
                    there.append(page)
                    return Tab(page)
            time.sleep(0.05)
    raise AssertionError("the tab is not duplicated")


def test_a_duplicated_tab_never_types_by_surprise(gateway: Gateway, tmp_path: Path) -> None:
    # Some 10 s: a Chromium with its window, which alone has tabs to duplicate.
    base = f"http://127.0.0.1:{gateway.port('web')}"
    url = f"{base}/app/app01?terminal=twice"
    options = (base, "--window-position=0,0", "--ozone-platform=x11")
    with x_screen() as shown:
        os.environ["DISPLAY"] = shown
        try:
            with chromium(tmp_path / "p", *options, headless=False) as browser:
                first = browser.attach(base)
                sign_in(first, base, "/app/app01")
                first.open(url)
                ready(first)
                there = browser.pages(url)
                # Of a tab that types: the terminal is in use, and the page asks.
                second = duplicated(browser, url, there, FIRST_TAB)
                second.until(ASKS)
                click(second, "Only watch")
                ready(second)
                # Of one that watches: it only watches as well, and asks nothing.
                third = duplicated(browser, url, there, SECOND_TAB)
                ready(third)
                assert mark(third, "guest") == "Only watching"
                assert not third.ask(ASKS)
                third.ask("document.querySelector('.xterm-helper-textarea').focus()")
                third.type("never-typed")
                first.call("Page.bringToFront")
                run(first, "echo ty''ped")
                shows(first, "typed")
                assert "never-typed" not in screen(first)
                for tab in (first, second, third):
                    assert not tab.trouble
                    tab.close()
        finally:
            del os.environ["DISPLAY"]
