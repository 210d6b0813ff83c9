"""The WebShell as a person meets it: the real page in a real Chromium.

`webshell` names the item of the design's acceptance list that a test stands for.
"""

import pytest

from acceptance.chromium import Browser, Tab
from tests.web.browser.conftest import ready, run, shows, sign_in, sign_in_by_form, terminal

COPIES = """
window.copies = [];
navigator.clipboard.writeText = async text => { window.copies.push(text); };
"""
PASTE = """
(text => {
  const transfer = new DataTransfer();
  transfer.setData('text/plain', text);
  document.querySelector('.xterm-helper-textarea').dispatchEvent(
    new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true, cancelable: true}));
})
"""


def test_from_signing_in_to_a_terminal(tab: Tab, base: str) -> None:
    sign_in_by_form(tab, base, "/app/app01")
    ready(tab)
    run(tab, "echo in=$((40+2))-$APP_NAME")
    shows(tab, "in=42-app01")
    assert not tab.trouble


@pytest.mark.webshell(10)
def test_the_first_size_is_right(tab: Tab, base: str) -> None:
    terminal(tab, base, "size")
    rows = int(tab.ask("document.querySelectorAll('.xterm-rows > div').length"))
    run(tab, "echo size=$(stty size | tr ' ' x)")
    shows(tab, f"size={rows}x")


def test_several_lines_are_asked_about_and_cannot_break_out(tab: Tab, base: str) -> None:
    terminal(tab, base, "guard")
    run(tab, "exec cat -v")
    tab.ask(f"{PASTE}('one\\ntwo')")
    tab.until("document.getElementById('confirm-paste').open")
    # The safe answer has the focus, the other one the weight, and Tab goes from one to the other.
    assert tab.ask("document.activeElement.value") == "no"
    tab.press("Tab", "Tab", 9)
    assert tab.ask("[document.activeElement.value, document.activeElement.className]") == [
        "yes",
        "primary",
    ]
    tab.ask("document.querySelector('#confirm-paste button[value=no]').click()")
    tab.ask(f"{PASTE}('three\\x1b[201~')")
    text = shows(tab, "three␛[201~")
    assert "one" not in text


@pytest.mark.webshell(11)
def test_osc_52_writes_the_clipboard_and_reads_nothing(tab: Tab, base: str) -> None:
    terminal(tab, base, "osc52")
    tab.ask(COPIES)
    run(tab, "printf '\\033]52;c;5L2g5aW9\\a\\033]52;;dG11eA==\\a\\033]52;c;?\\a'; echo do''ne")
    text = shows(tab, "done")
    tab.until("window.copies.length === 2")
    assert tab.ask("window.copies") == ["你好", "tmux"]
    assert "52;" not in text.partition("done")[2], "an answer would have been typed"


def test_search_finds_what_is_on_the_screen(tab: Tab, base: str) -> None:
    terminal(tab, base, "search")
    run(tab, "echo need''le")
    shows(tab, "needle")
    tab.press("F", "KeyF", 70, modifiers=2 | 8)
    tab.until("!document.getElementById('search').hidden")
    tab.type("needle")
    tab.until("document.querySelector('.xterm-find-result-decoration, .xterm-decoration') !== null")
    tab.press("Escape", "Escape", 27)
    tab.until("document.getElementById('search').hidden")


def test_settings_are_kept_and_change_what_is_drawn(tab: Tab, base: str) -> None:
    terminal(tab, base, "settings")
    change = (
        "((name, value) => { const f = document.querySelector(`#settings [name=${name}]`);"
        " if (f.type === 'checkbox') f.checked = value; else f.value = value;"
        " f.dispatchEvent(new Event('change')); })"
    )
    before = int(tab.ask("document.querySelectorAll('.xterm-rows > div').length"))
    tab.ask(f"{change}('fontSize', 28)")
    tab.until(f"document.querySelectorAll('.xterm-rows > div').length < {before}")
    tab.ask(f"{change}('fontFamily', 'DejaVu Sans Mono\";}}')")
    family = "getComputedStyle(document.querySelector('.xterm-rows')).fontFamily"
    tab.until(f"{family}.startsWith('\"DejaVu Sans Mono\", ui-monospace')")
    tab.ask(f"{change}('cursor', 'bar')")
    tab.until("document.querySelector('.xterm-cursor-bar, .xterm-cursor-outline') !== null")
    tab.ask(f"{change}('theme', 'light')")
    tab.until("document.documentElement.dataset.theme === 'light'")
    tab.ask(f"{change}('screenReader', true)")
    tab.until("document.querySelector('.xterm-accessibility') !== null")
    tab.ask(f"{change}('keyBar', true)")
    tab.ask("document.querySelector('#keys [data-key=Ctrl]').click()")
    run(tab, "l")
    tab.open(f"{base}/app/app01?terminal=settings")
    tab.until("document.documentElement.dataset.theme === 'light'")
    tab.ask("localStorage.clear()")


NOTICES = """
window.notices = []; document.hasFocus = () => false;
window.Notification = class {
  static permission = 'granted';
  constructor(title, { body }) { notices.push(body); }
};
"""


def test_the_bell_and_the_end_of_a_long_command_notify_a_user_elsewhere(
    tab: Tab, base: str
) -> None:
    terminal(tab, base, "notices")
    tab.ask(f"(() => {{ {NOTICES} }})()")
    run(tab, "printf '\\a'; echo ra''ng")
    shows(tab, "rang")
    assert tab.ask("notices") == [], "only for a user who asks for them"
    tab.ask(
        "(box => { box.checked = true; box.dispatchEvent(new Event('change')); })"
        "(document.querySelector('#settings [name=notify]'))"
    )
    run(tab, "printf '\\a\\033]133;C\\a\\033]133;D;0\\a\\033]133;C\\a'; echo st''arted")
    shows(tab, "started")
    tab.ask("(now => { Date.now = () => now() + 31_000; })(Date.now.bind(Date))")
    run(tab, "printf '\\033]133;D;0\\a'; echo ov''er")
    shows(tab, "over")
    assert tab.ask("notices") == ["The bell rang.", "The command has finished."]
    tab.ask("localStorage.clear()")


def test_what_is_missing_is_said_in_plain_words(tab: Tab, base: str, browser: Browser) -> None:
    sign_in(tab, base)
    tab.open(f"{base}/app/secret")
    assert "no grant for 'dev'" in str(
        tab.ask("document.querySelector('[role=alert]').textContent")
    )
