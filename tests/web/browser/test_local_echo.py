"""Letters drawn before their echo, on a slow line, in a real Chromium."""

import json
import shutil

import pytest

from acceptance.chromium import Tab
from acceptance.firefox import FirefoxTab
from tests.web.browser.conftest import choose, run, shows, terminal

ONE_WAY_MS = 150
SLOW = f"""
window.WebSocket = class extends WebSocket {{
  send(data) {{ setTimeout(() => super.send(data), {ONE_WAY_MS}); }}
  set onmessage(handle) {{ super.onmessage = (event) => setTimeout(() => handle(event), {ONE_WAY_MS}); }}
}};
"""
"""Run in a new page, it makes the line slow in both directions."""
WATCH = """(() => {
window.seen = []; window.ever = [];
addEventListener("keydown", (event) => {
  const at = event.timeStamp;
  const look = () => {
    const place = document.getElementById("predicted");
    const text = place && !place.hidden ? place.textContent : "";
    if (text) window.ever.push(text);
    if (text.includes(event.key)) window.seen.push(performance.now() - at);
    else if (performance.now() - at < 250) requestAnimationFrame(look);
  };
  look();
}, { capture: true });
})()"""
"""Keeps in `seen` after how long each key's letter was drawn, and in `ever` all that was drawn."""
HIDDEN = "document.getElementById('predicted')?.hidden !== false"


def press(tab: Tab, text: str) -> None:
    """Type by key events."""
    if isinstance(tab, FirefoxTab):
        tab.type(text)
        return
    for char in text:
        tab.press(char, f"Key{char.upper()}", ord(char.upper()), text=char)


@pytest.fixture
def slow(tab: Tab) -> Tab:
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=SLOW)
    return tab


def prove(tab: Tab) -> None:
    """Type letters until the line has proved slow, and the shell has echoed."""
    run(tab, "PS1='$ '; clear; echo cle''ared")
    shows(tab, "cleared\n$")
    for at in range(5):
        press(tab, "a")
        shows(tab, "a" * (at + 1))


def draws_letters_at_once_and_no_password(slow: Tab) -> None:
    """In a terminal whose line is slow."""
    prove(slow)
    slow.ask(WATCH)
    press(slow, "bcdefghijk")
    shows(slow, "aaaaabcdefghijk")
    slow.until(HIDDEN)
    seen = sorted(slow.ask("window.seen"))
    assert len(seen) == len("bcdefghijk"), seen
    assert seen[len(seen) // 2] < ONE_WAY_MS, seen
    slow.enter()
    run(slow, "stty -echo; read x; stty echo; echo en''d")
    slow.until(f"{HIDDEN} && document.querySelector('.xterm-rows').textContent.includes('read x')")
    slow.ask("window.ever.length = 0")
    press(slow, "secret")
    slow.enter()
    shows(slow, "end")
    assert "s" not in json.dumps(slow.ask("window.ever")), "a password is drawn"
    assert not slow.trouble


def test_a_letter_is_drawn_at_once_and_a_password_never(slow: Tab, base: str) -> None:
    terminal(slow, base, "echo")
    draws_letters_at_once_and_no_password(slow)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="as root: apt-get install tmux")
def test_tmux_has_it_at_a_prompt_and_not_in_a_full_screen(slow: Tab, base: str) -> None:
    slow.open(f"{base}/sign-in")
    slow.ask("localStorage.setItem('stagedoor.settings', '{\"tmux\": true}')")
    terminal(slow, base, "muxed")
    shows(slow, "[muxed]")
    run(slow, "exec bash --norc")
    prove(slow)
    slow.ask(WATCH)
    line = "aaaaa"
    while slow.ask("window.ever.length") == 0:
        assert len(line) < 60, "no letter is drawn"
        press(slow, "bc")  # a tmux that echoes late has to prove itself again
        line += "bc"
        shows(slow, line)
    press(slow, "\x7f")
    run(slow, "; seq 500 | less")
    shows(slow, "20\n")
    slow.until(HIDDEN)
    slow.ask("window.ever.length = 0")
    press(slow, "jj")
    shows(slow, "25\n")
    assert slow.ask("window.ever") == []
    slow.ask("localStorage.clear()")


def test_a_person_may_switch_it_off(slow: Tab, base: str) -> None:
    terminal(slow, base, "without")
    choose(slow, "localEcho", False)
    prove(slow)
    slow.ask(WATCH)
    press(slow, "none")
    shows(slow, "aaaaanone")
    assert slow.ask("window.ever") == []
    slow.ask("localStorage.clear()")
