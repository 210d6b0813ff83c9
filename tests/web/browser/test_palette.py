"""The palette of commands and the list of keys, on the pages and over a terminal."""

from acceptance.chromium import Tab
from tests.web.browser.conftest import ready, screen, sign_in, terminal

CTRL, ALT, SHIFT = 2, 1, 8
OPEN = "document.getElementById('palette')?.open === true"
SHOWN = "[...document.querySelectorAll('#palette [role=option] > span')].map(e => e.textContent)"
CHOSEN = "document.querySelector('#palette [aria-selected=true] > span').textContent"
TYPES = "document.activeElement.matches('.xterm-helper-textarea')"


def at_home(tab: Tab, base: str) -> None:
    sign_in(tab, base)
    tab.until("document.getElementById('go').hidden === false")


def test_ctrl_k_leads_to_an_app_on_every_page(tab: Tab, base: str) -> None:
    at_home(tab, base)
    for path in ("/", "/account", "/app/nosuch"):
        tab.open(f"{base}{path}")
        tab.press("k", "KeyK", 75, modifiers=CTRL)
        tab.until(f"{OPEN} && {SHOWN}.includes('app02')")
        assert tab.ask("document.activeElement.role") == "combobox"
        tab.type("app 02")
        tab.until(f"{CHOSEN} === 'app02'")
        assert tab.ask(SHOWN) == ["app02"]
        tab.press("Escape", "Escape", 27)
        tab.until(f"!({OPEN})")
    tab.open(f"{base}/account")
    tab.press("k", "KeyK", 75, modifiers=CTRL)
    tab.until(f"{OPEN} && {SHOWN}.includes('app01')")
    tab.type("app")
    first = tab.ask(CHOSEN)
    tab.press("ArrowDown", "ArrowDown", 40)
    tab.until(f"{CHOSEN} !== '{first}'")
    tab.press("ArrowUp", "ArrowUp", 38)
    tab.until(f"{CHOSEN} === '{first}'")
    tab.enter()
    tab.until(f"location.pathname === '/app/{first}'")
    ready(tab)
    assert not [line for line in tab.trouble if "403" not in line], tab.trouble


def test_a_question_mark_lists_the_keys_and_none_is_typed_for_it(tab: Tab, base: str) -> None:
    at_home(tab, base)
    tab.press("?", "Slash", 191, modifiers=SHIFT, text="?")
    tab.until("document.getElementById('shortcuts').open")
    assert "Search the apps" in tab.ask("document.getElementById('shortcuts').textContent")
    tab.press("Escape", "Escape", 27)
    tab.until("!document.getElementById('shortcuts').open")
    tab.ask("document.getElementById('wanted').focus()")
    tab.press("?", "Slash", 191, modifiers=SHIFT, text="?")
    assert tab.ask("document.getElementById('wanted').value") == "?", "there it is a letter"
    assert not tab.ask("document.getElementById('shortcuts').open")


def test_over_a_terminal_it_has_the_bar_s_commands_and_gives_the_focus_back(
    tab: Tab, base: str
) -> None:
    terminal(tab, base, "palette")
    tab.until(TYPES)
    tab.press("k", "KeyK", 75, modifiers=CTRL)
    assert not tab.ask(OPEN), "Ctrl-K is the program's"
    tab.press("P", "KeyP", 80, modifiers=ALT | SHIFT)
    tab.until(OPEN)
    tab.type("sett")
    tab.until(f"{CHOSEN} === 'Settings'")
    tab.enter()
    tab.until("document.activeElement.name === 'theme'")
    tab.press("Escape", "Escape", 27)
    tab.until(TYPES)
    tab.press("P", "KeyP", 80, modifiers=ALT | SHIFT)
    tab.until(OPEN)
    tab.press("Escape", "Escape", 27)
    tab.until(f"!({OPEN}) && {TYPES}")
    assert "sett" not in screen(tab)
    assert not tab.trouble


def test_terminals_that_this_tab_has_opened_are_tabs(tab: Tab, base: str) -> None:
    for name in ("first", "second"):
        terminal(tab, base, name)
    tab.until("document.querySelector('#tabs > a')?.textContent === 'first'")
    assert tab.ask("document.getElementById('terminal-name').textContent") == "second"
    tab.ask("document.querySelector('#tabs > a').click()")
    tab.until("new URLSearchParams(location.search).get('terminal') === 'first'")
    ready(tab)
    assert tab.ask("document.querySelector('#tabs > a').textContent") == "second"
    tab.press("P", "KeyP", 80, modifiers=ALT | SHIFT)
    tab.until(OPEN)
    tab.type("seco")
    tab.until(f"{CHOSEN} === 'second'")
    tab.enter()
    tab.until("new URLSearchParams(location.search).get('terminal') === 'second'")
    assert not tab.trouble


def test_the_end_of_a_terminal_is_a_card_with_a_way_on(tab: Tab, base: str) -> None:
    tab.resize(360, 640)
    terminal(tab, base, "over")
    tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
    tab.type("exit")
    tab.enter()
    tab.until("document.getElementById('status').dataset.state === 'over'")
    words = "[...document.querySelectorAll('#hint button, #hint a')].map(e => e.textContent)"
    assert tab.ask(words) == ["Open again", "Apps"]
    state = "document.querySelector('#status > b')"
    assert tab.ask(f"{state}.textContent") == "Over"
    assert tab.ask(f"{state}.scrollWidth <= {state}.clientWidth + 1"), "the state is never cut off"
    assert tab.ask(f"{state}.getBoundingClientRect().right <= innerWidth")
    tab.ask("document.querySelector('#hint a').click()")
    tab.until("location.pathname === '/'")
