"""Item 13 of the WebShell's acceptance list in a real Chromium: vttest by diff against ssh.

What the page draws at each stop has to be, in every span, what the page's own xterm.js makes of the bytes of
native ssh: that holds the line, which is ours, to account for everything.
"""

import shlex
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from acceptance.chromium import Browser, Tab
from tests.fixtures.gateway import Gateway
from tests.waiting import wait_until
from tests.web.browser.aside import Aside, aside
from tests.web.browser.conftest import choose, run, screen, shows, terminal
from tests.web.browser.test_acceptance import COLUMNS, ROWS, sized
from tests.web.cells import SPANS
from tests.web.outer import attach_command, ssh_command
from tests.web.scenes import MISSING
from tests.web.vttest import MENU, Screen, is_recognised, is_stuck, stands, walk

FRAME = "new Promise(done => requestAnimationFrame(() => setTimeout(done)))"
SAME = 4
"""So many frames have to be the same, once all has come: what is written is drawn with the next."""


class Page:
    """The page that `walk` goes through. `carry` keeps its line going."""

    def __init__(self, tab: Tab, carry: Callable[[], None] = lambda: None) -> None:
        self._tab = tab
        self._carry = carry

    def type(self, text: str) -> None:
        self._tab.type(text)

    def keys(self, *keys: str) -> None:
        assert keys == ("Enter",)
        self._tab.enter()

    def screen(self) -> str:
        self._carry()
        return screen(self._tab)

    def spans(self) -> Any:
        self._carry()
        return self._tab.ask(SPANS)

    def drawn(self) -> Any:
        """The spans when all that has come is drawn."""
        before, same = self.spans(), 1
        while same < SAME:
            self._tab.ask(FRAME)
            now = self.spans()
            before, same = now, same + 1 if now == before else 1
        return before


class Stops:
    """Waits for vttest to come to its next stop on `screen`, by what `shown` says it has shown."""

    def __init__(self, shown: Callable[[], bytes], screen: Screen) -> None:
        self._shown = shown
        self._screen = screen
        self._at = self._helped_at = len(shown())

    def next(self) -> None:
        wait_until(self._is_there)
        self._at = len(self._shown())

    def _is_there(self) -> bool:
        shown = self._shown()
        if is_stuck(shown) and len(shown) > self._helped_at:
            self._helped_at = len(shown)
            self._screen.keys("Enter")
        return stands(shown, self._at)


def beside(browser: Browser, tab: Tab, command: list[str]) -> list[tuple[str, Any]]:
    """By native ssh in the page's own emulator: what is drawn at each stop."""
    while True:
        with aside(browser, tab, command) as line:
            page, shown = Page(tab, line.carry), partial(carried, line)
            tab.open(str(tab.ask("location.href")))
            wait_until(partial(has_menu, page))
            tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
            if is_recognised(page, shown):
                return walked(page, shown)


def carried(line: Aside) -> bytes:
    line.carry()
    return line.shown


def has_menu(page: Page) -> bool:
    return MENU in page.screen()


def walked(page: Page, shown: Callable[[], bytes]) -> list[tuple[str, Any]]:
    """Through vttest, whose menu is there: what is drawn at each stop."""
    steps: list[tuple[str, Any]] = []
    stops = Stops(shown, page)

    def look(step: str) -> None:
        stops.next()
        steps.append((step, page.drawn()))

    walk(page, look)
    return steps


def started(tab: Tab, base: str, output: Path) -> Page:
    """Start vttest in the page, which writes into `output`."""
    page = Page(tab)
    for number in count():
        terminal(tab, base, f"vttest{number}")
        run(tab, f"exec script -qfc vttest {shlex.quote(str(output))}")
        shows(tab, MENU)
        if is_recognised(page, output.read_bytes):
            break
        run(tab, "0")
    return page


@pytest.mark.webshell(13)
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(MISSING), reason=f"as root: apt-get install {MISSING}")
def test_13_vttest_in_the_page_is_what_ssh_shows(
    browser: Browser, tab: Tab, base: str, gateway: Gateway, port: int, tmp_path: Path
) -> None:
    attach_command(tmp_path, port)
    by_ssh = ssh_command(gateway, tmp_path, "vttest")
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    terminal(tab, base, "vttest")
    choose(tab, "readable", False)  # the program's own colours are compared
    sized(tab, COLUMNS, ROWS)
    stops = beside(browser, tab, by_ssh)
    assert len(stops) > 50

    ours = tmp_path / "ours"
    page, expected = started(tab, base, ours), iter(stops)
    in_page = Stops(ours.read_bytes, page)

    def look(step: str) -> None:
        name, by_native = next(expected)
        assert name == step
        in_page.next()  # what is drawn may be so before vttest reads: then Enter would be a terminal's answer
        try:
            wait_until(lambda: page.spans() == by_native)
        except AssertionError:
            rows = enumerate(zip(by_native, page.spans(), strict=True))
            number, (theirs, drawn_here) = next((n, pair) for n, pair in rows if pair[0] != pair[1])
            pytest.fail(f"step {step}, row {number}:\nssh {theirs!r}\nus  {drawn_here!r}")

    walk(page, look)
    assert next(expected, None) is None
