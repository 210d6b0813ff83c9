"""The page's words about itself and about what programs do to it."""

import json
import re

from acceptance.chromium import Tab
from tests.fixtures.gateway import Gateway
from tests.web.browser.conftest import columns, ready, run, shows, terminal
from tests.web.browser.test_page import COPIES, OPENS, cell, mouse

CTRL, SHIFT = 2, 8
PASSING = "(place => place.hidden ? '' : place.textContent)(document.getElementById('passing'))"


def test_the_terminal_is_named_and_what_a_program_copies_is_said(tab: Tab, base: str) -> None:
    terminal(tab, base, "named")
    tab.until("document.title.includes('app01: named')")
    assert tab.ask("document.getElementById('terminal-name').textContent") == "named"
    tab.ask(COPIES)
    run(tab, "printf '\\033]52;c;cm0gLXJmIC8Kb25l\\a'; exec cat -v")  # two lines
    tab.until(f"{PASSING}.endsWith('copied 12 characters to your clipboard: rm -rf / one')")
    assert tab.ask("window.copies") == ["rm -rf /\none"]
    edges = (
        "[document.getElementById('passing').getBoundingClientRect().bottom,"
        " [...document.querySelectorAll('.xterm-rows > div')].at(-1).getBoundingClientRect().top]"
    )
    below, last_row = tab.ask(edges)
    assert below < last_row, "the last line is tmux's"
    tab.press("/", "Slash", 191, modifiers=CTRL)
    tab.enter()
    shows(tab, "^_")


def test_where_a_link_leads_is_seen_before_it_is_followed(tab: Tab, base: str) -> None:
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    terminal(tab, base, "leads")
    tab.ask(OPENS)
    link = "\\033]8;;https://evil.example/%%0aa\\033\\\\bank.exam''ple\\033]8;;\\033\\\\"
    run(tab, f"clear; printf '{link}\\n\\n\\n'; echo do''ne")
    shows(tab, "\ndone")
    rows = json.loads(tab.ask("JSON.stringify([innerWidth, innerHeight])"))
    x, y = cell(tab, "bank.example")
    mouse(tab, "mouseMoved", x, y)
    tab.until(f"{PASSING} === 'https://evil.example/%0aa (Ctrl and a click opens it)'")
    assert json.loads(tab.ask("JSON.stringify([innerWidth, innerHeight])")) == rows
    mouse(tab, "mouseMoved", x, y + 60)
    tab.until(f"{PASSING} === ''")
    assert tab.ask("window.opens") == []


def test_enter_after_the_end_opens_the_next_shell(tab: Tab, base: str) -> None:
    terminal(tab, base, "next")
    run(tab, "kept=here; exec true")
    tab.until("document.getElementById('status').dataset.state === 'over'")
    assert "Enter opens the next one" in tab.ask("document.getElementById('hint').textContent")
    tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
    tab.enter()
    tab.until("document.getElementById('status')?.dataset.state === 'open'")
    run(tab, "echo kept=$kept.")
    shows(tab, "kept=.")
    assert "terminal=next" in tab.ask("location.search")


def test_a_one_time_link_is_still_there_when_its_page_is_loaded_again(
    tab: Tab, base: str, gateway: Gateway
) -> None:
    tab.call("Network.clearBrowserCookies")
    link = gateway.command("web-link", "dev", "--app", "app01", "--url", base).stdout.strip()
    tab.open(link)
    for _ in range(2):
        tab.until("!document.querySelector('#link button').disabled")
        assert "#" not in str(tab.ask("location.href"))
        tab.call("Page.reload")
        tab.until("document.readyState === 'complete' && performance.navigation.type === 1")
    tab.until("!document.querySelector('#link button').disabled")
    tab.ask("document.querySelector('#link button').click()")
    tab.until("location.pathname === '/app/app01'")
    ready(tab)
    assert tab.ask("sessionStorage.getItem('stagedoor.link')") is None


def test_no_panel_of_the_page_changes_the_size_of_the_terminal(tab: Tab, base: str) -> None:
    tab.resize(1000, 710)  # some pixels below the last row, so that rounding adds none
    terminal(tab, base, "panels")
    run(tab, "stty size; echo be''fore")
    shows(tab, "before")
    tab.ask("window.size = document.getElementById('screen').getBoundingClientRect().toJSON()")
    same = (
        "JSON.stringify(window.size) ==="
        " JSON.stringify(document.getElementById('screen').getBoundingClientRect())"
    )
    for opens, panel in (
        (lambda: tab.ask("document.getElementById('settings-button').click()"), "settings"),
        (lambda: tab.ask("document.getElementById('files-menu').click()"), "files"),
        (lambda: tab.press("Control", "ControlLeft", 17), "hint"),
        (lambda: tab.press("F", "KeyF", 70, modifiers=CTRL | SHIFT), "search"),
    ):
        tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
        opens()
        tab.until(f"document.getElementById('{panel}')?.hidden === false")
        # A frame later the page has been laid out, and a terminal that had to change has changed.
        tab.ask(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
        )
        assert tab.ask(same), panel
    tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
    tab.enter()
    run(tab, "stty size; echo af''ter")
    sizes = re.findall(r"\b\d+ \d+\b", shows(tab, "after"))
    assert len(sizes) == 2
    assert len(set(sizes)) == 1
    assert not tab.trouble


CELLS = {
    "\u203b": 1,
    "\u2764\ufe0f": 1,
    "1\ufe0f\u20e3": 1,
    "\U0001f3f3\ufe0f\u200d\U0001f308": 1,
    "\U0001f469\u200d\U0001f4bb": 2,
    "\U0001f469\U0001f3fd\u200d\U0001f4bb": 4,
}
"""Characters that fonts draw wider than a cell, and their cells. A skin tone has two of its own."""
DRAWN = """
(text => {
  const span = [...document.querySelectorAll('.xterm-rows span')].findLast(e => e.textContent === text);
  const spacing = parseFloat(getComputedStyle(span).letterSpacing) || 0;
  return span.getBoundingClientRect().width - spacing; })
"""
"""Returns how wide a character is drawn, without what the next one is pulled over it."""


def test_a_glyph_that_is_wider_than_its_cells_is_drawn_smaller(tab: Tab, base: str) -> None:
    terminal(tab, base, "glyphs")
    # A mark of another colour on both sides, so that each has an element of its own.
    lines = "".join(f"\\033[7m[\\033[m{text}\\033[7m]\\033[m\\n" for text in CELLS)
    run(tab, f"clear; printf '{lines}'; echo do''ne")
    shows(tab, "done")
    x = columns(tab, "[\u203b]")
    widths = {text: tab.ask(f"{DRAWN}({json.dumps(text)})") / (x[2] - x[1]) for text in CELLS}
    assert not {text: wide for text, wide in widths.items() if wide > CELLS[text] + 0.15}, widths


def stands_as_written(tab: Tab) -> None:
    """Each character of Hebrew, Arabic and Latin is drawn in the cell in which it was written."""
    hebrew, arabic = r"\327\220\327\221\327\222", r"\330\263\331\204\330\247\331\205"
    run(tab, rf"clear; printf 'abcdefghijklm|\n{hebrew} xy {arabic} z|\n'")
    latin, mixed = columns(tab, "abcdefghijklm|"), columns(tab, "אבג xy سلام z|")
    assert len(latin) == len(mixed)
    assert mixed == sorted(mixed)
    assert max(abs(one - other) for one, other in zip(latin, mixed, strict=True)) < 1.5


def test_text_from_right_to_left_stands_in_its_cells(tab: Tab, base: str) -> None:
    """One rule for all scripts, that of xterm and of tmux. Emacs reorders a line by itself."""
    terminal(tab, base, "rtl")
    stands_as_written(tab)
