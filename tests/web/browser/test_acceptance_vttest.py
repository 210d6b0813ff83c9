"""Item 13 of the WebShell's acceptance list in a real Chromium: vttest by diff against ssh.

Two references, since two emulators do not draw all the same. What the page draws at each stop has to be, in
every span, what the page's own xterm.js makes of the bytes of native ssh: that holds the line, which is ours,
to account for everything. And it has to be, in every cell, what ssh shows in tmux, but for the stops that are
named here.
"""

import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from acceptance.chromium import Browser, Tab
from tests.fixtures.gateway import Gateway
from tests.waiting import wait_until
from tests.web.browser.aside import Aside, aside
from tests.web.browser.conftest import choose, run, screen, shows, terminal
from tests.web.browser.test_acceptance import COLUMNS, ROWS, sized
from tests.web.cells import SPANS, Cell, as_drawn, captured, drawn
from tests.web.outer import Outer, attach_command, outer, ssh_command
from tests.web.scenes import MISSING
from tests.web.vttest import MENU, Screen, is_stuck, stands, walk

DIFFERENT = {
    "1.1": "132 columns in 120: what is written beyond the last is put elsewhere",
    "1.2": "tmux clears the screen when 132 columns end (DECCOLM), xterm.js does not where it may not resize",
    "1.3": "the same",
    "2.10": "tmux puts the origin at the top of the screen, though a region is set (DECOM)",
    "3.0": "tmux has no British set, in which # is £",
    "7.2": "neither is a VT52, and each shows in its own way what is none of its sequences",
}
"""The cells in which tmux and xterm.js differ, by themselves."""
ELSEWHERE = {"3.0": "3.1", "3.1": "3.10"}
"""Stops that have another number in the page. It says that it is a VT220, of which vttest shows more than of
the VT100 that tmux says it is."""


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
        self._at = self._helped_at = 0

    def next(self) -> None:
        wait_until(self._is_there)
        self._at = len(self._shown())

    def _is_there(self) -> bool:
        shown = self._shown()
        if is_stuck(shown) and len(shown) > self._helped_at:
            self._helped_at = len(shown)
            self._screen.keys("Enter")
        return stands(shown, self._at)


def whole(said: str) -> list[list[Cell]]:
    """All rows of tmux's screen: of those at its end that are empty it may say nothing."""
    rows = as_drawn(captured(said))
    return rows + [[] for _ in range(ROWS - len(rows))]


def in_order(native: Outer, shown: Path) -> dict[str, list[list[Cell]]]:
    """By native ssh in tmux, which writes down what is shown: what is drawn at each stop."""
    screens: dict[str, list[list[Cell]]] = {}
    stops = Stops(shown.read_bytes, native)

    def look(step: str) -> None:
        stops.next()
        screens[step] = whole(native.screen("-e", "-N"))

    walk(native, look)
    return screens


def beside(browser: Browser, tab: Tab, command: list[str]) -> list[tuple[str, Any]]:
    """By native ssh in the page's own emulator: what is drawn at each stop."""
    steps: list[tuple[str, Any]] = []

    def there(line: Aside) -> bool:
        line.carry()
        return MENU in screen(tab)

    with aside(browser, tab, command) as line:
        tab.open(str(tab.ask("location.href")))
        wait_until(lambda: there(line))
        tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
        page = Page(tab, line.carry)

        def shown() -> bytes:
            line.carry()
            return line.shown

        stops = Stops(shown, page)

        def look(step: str) -> None:
            stops.next()
            steps.append((step, page.drawn()))

        walk(page, look)
    return steps


@pytest.mark.webshell(13)
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(MISSING), reason=f"as root: apt-get install {MISSING}")
def test_13_vttest_in_the_page_is_what_ssh_shows(
    browser: Browser, tab: Tab, base: str, gateway: Gateway, port: int, tmp_path: Path
) -> None:
    attach_command(tmp_path, port)
    by_ssh = ssh_command(gateway, tmp_path, "vttest")
    with outer(tmp_path) as native, ThreadPoolExecutor(1) as another:
        native.start(by_ssh)
        shown = tmp_path / "shown"
        shown.touch()
        native.tmux("pipe-pane", "-t", "o", f"exec cat >>{shlex.quote(str(shown))}")
        walking = another.submit(in_order, native, shown)
        tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
        terminal(tab, base, "vttest")
        choose(tab, "readable", False)  # the program's own colours are compared
        cell_width = sized(tab, COLUMNS, ROWS)
        stops = beside(browser, tab, by_ssh)
        in_tmux = walking.result()
    assert len(stops) > 50

    terminal(tab, base, "vttest")
    ours = tmp_path / "ours"
    run(tab, f"exec script -qfc vttest {shlex.quote(str(ours))}")
    shows(tab, MENU)
    page, expected = Page(tab), iter(stops)
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

    as_cells = {step: drawn(spans, cell_width) for step, spans in stops}
    differ = {}
    for step, cells in in_tmux.items():
        pairs = enumerate(zip(cells, as_cells[ELSEWHERE.get(step, step)], strict=True))
        if rows := [(number, *pair) for number, pair in pairs if pair[0] != pair[1]]:
            differ[step] = rows[0]
    for step in differ.keys() - DIFFERENT.keys():
        number, by_tmux, by_us = differ[step]
        pytest.fail(f"step {step}, row {number}:\ntmux {by_tmux!r}\nus   {by_us!r}")
    assert differ.keys() == DIFFERENT.keys(), "what is no more different is to be compared"
