"""Item 14 of the WebShell's acceptance list in a real Chromium: a program that ends at once.

A test does it some times. The 200 of the list are
`STAGEDOOR_ENDS=200 .venv/bin/pytest tests/web/browser/test_acceptance_ends.py`.
"""

import os

import pytest

from acceptance.chromium import Tab
from tests.web.browser.conftest import SCREEN, ready, run, terminal

TIMES = int(os.environ.get("STAGEDOOR_ENDS", "10"))


@pytest.mark.webshell(14)
@pytest.mark.timeout(120 + 4 * TIMES)
def test_14_what_ends_at_once_has_shown_all_and_the_next_begins_under_its_name(
    tab: Tab, base: str
) -> None:
    terminal(tab, base, "brief")
    for number in range(TIMES):
        run(tab, f"clear; exec printf x{number}")
        tab.until("document.getElementById('status').dataset.state === 'over'")
        # That it is over is known before all is drawn; what was typed has an x of that number as well.
        tab.until(f"{SCREEN}.trim() === 'x{number}'")
        tab.open(f"{base}/app/app01?terminal=brief")
        ready(tab)
    assert tab.dialogs == [], "nothing ran that somebody would have to be asked about"
