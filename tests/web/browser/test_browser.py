"""The WebShell as a person meets it: the real page in a real Chromium.

`webshell` names the item of the design's acceptance list that a test stands for.
"""

import hashlib
import json
import os
import signal
from pathlib import Path

import pytest

from acceptance.chromium import Browser, Tab
from tests.path.gateway import Gateway
from tests.waiting import wait_until
from tests.web.browser.conftest import STATES, ready, run, screen, shows, sign_in, terminal

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
    terminal(tab, base, "first")
    run(tab, "echo in=$((40+2))-$APP_NAME")
    shows(tab, "in=42-app01")
    assert not tab.trouble


def test_a_one_time_link_leads_to_the_terminal(tab: Tab, base: str, gateway: Gateway) -> None:
    tab.call("Network.clearBrowserCookies")
    link = gateway.command("web-link", "dev", "--app", "app01", "--url", base).stdout.strip()
    tab.open(link)
    tab.until("!document.querySelector('#link button').disabled")
    assert "#" not in str(tab.ask("location.href"))
    tab.ask("document.querySelector('#link button').click()")
    tab.until("location.pathname === '/app/app01'")
    ready(tab)
    assert not tab.trouble


@pytest.mark.webshell(10)
def test_the_first_size_is_right(tab: Tab, base: str) -> None:
    terminal(tab, base, "size")
    rows = int(tab.ask("document.querySelectorAll('.xterm-rows > div').length"))
    run(tab, "echo size=$(stty size | tr ' ' x)")
    shows(tab, f"size={rows}x")


@pytest.mark.webshell(1, 2)
def test_tmux_splits_and_wide_cells(tab: Tab, base: str, tmp_path: Path) -> None:
    terminal(tab, base, "tmux")
    socket = tmp_path / "t"
    run(tab, f"exec tmux -u -S {socket} -f /dev/null new 'cat' \\; split-window -h 'cat'")
    shows(tab, "│")
    tab.type("é你😀─│x")
    text = shows(tab, "é你😀─│x")
    rows = text.splitlines()
    assert sum("│" in row for row in rows) > 10, "the border goes down the whole window"
    # Wide characters take two cells: what stands behind them in the row of the border is not moved.
    left = tab.ask(
        "[...document.querySelectorAll('.xterm-rows > div')].filter(r => r.textContent.includes('│'))"
        ".slice(1, 8).map(r => { for (const s of r.childNodes) { const at = s.textContent.indexOf('│');"
        " if (at < 0) continue; const range = document.createRange(); range.setStart(s.firstChild ?? s, at);"
        " range.setEnd(s.firstChild ?? s, at + 1);"
        " return Math.round(range.getBoundingClientRect().left); } })"
    )
    assert max(left) - min(left) <= 1, left
    os.system(f"tmux -S {socket} kill-server")


@pytest.mark.webshell(4)
def test_ctrl_c_stops_a_flood(tab: Tab, base: str) -> None:
    terminal(tab, base, "flood")
    run(tab, "yes floodfloodflood")
    shows(tab, "floodfloodflood\nfloodfloodflood")
    tab.press("c", "KeyC", 67, modifiers=2)
    tab.type("echo sto''pped")
    tab.enter()
    shows(tab, "stopped")
    assert tab.ask("document.getElementById('status').dataset.state") == "open"


@pytest.mark.webshell(6)
def test_a_worker_that_is_killed_loses_and_repeats_nothing(
    tab: Tab, base: str, gateway: Gateway, tmp_path: Path
) -> None:
    terminal(tab, base, "killed")
    tab.ask(STATES)
    # Slow enough that the worker dies in the middle of it.
    run(
        tab,
        "stty -echo; clear; for i in $(seq 1 400); do printf %d, $i; sleep 0.01; done; echo e''nd",
    )
    shows(tab, "20,")
    for pid in gateway.worker_pids():
        os.kill(pid, signal.SIGKILL)
    tab.until("window.states.includes('lost')")
    run(tab, "echo typed-while-a''way")
    shows(tab, "end")
    text = shows(tab, "typed-while-away")
    assert tab.ask("window.states"), "the page was never loaded again"
    columns = text.replace("\n", "")
    assert ",".join(str(number) for number in range(1, 401)) in columns


@pytest.mark.webshell(9)
def test_a_large_paste_arrives_byte_for_byte(tab: Tab, base: str, tmp_path: Path) -> None:
    terminal(tab, base, "paste")
    taken = tmp_path / "taken"
    text = hashlib.sha256(b"paste").hexdigest() * 16_384
    assert len(text) == 1024 * 1024
    run(
        tab,
        f"printf '\\033[?2004h'; stty raw -echo; echo re''ady; head -c {len(text) + 12} >{taken}; "
        "stty sane; printf '\\033[?2004l'; echo arri''ved",
    )
    shows(tab, "ready")
    tab.ask(f"{PASTE}('{text[:64]}'.repeat({len(text) // 64}))")
    shows(tab, "arrived", 60)
    sent, got = b"\x1b[200~" + text.encode() + b"\x1b[201~", taken.read_bytes()
    at = next((at for at, (a, b) in enumerate(zip(sent, got, strict=False)) if a != b), None)
    assert at is None, (at, sent[at - 80 : at + 80], got[at - 80 : at + 80])
    assert len(got) == len(sent)


def test_several_lines_are_asked_about_and_cannot_break_out(tab: Tab, base: str) -> None:
    terminal(tab, base, "guard")
    run(tab, "exec cat -v")
    tab.ask(f"{PASTE}('one\\ntwo')")
    tab.until("document.getElementById('ask').open")
    tab.ask("document.querySelector('#ask button[value=no]').click()")
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


@pytest.mark.webshell(12)
def test_a_title_of_html_is_text(tab: Tab, base: str) -> None:
    terminal(tab, base, "title")
    run(tab, "printf '\\033]0;<img src=x onerror=window.bad=1>\\a'; echo do''ne")
    shows(tab, "done")
    tab.until("document.title.startsWith('<img')")
    assert tab.ask("document.querySelector('#title').children.length") == 0
    assert tab.ask("window.bad") is None


@pytest.mark.webshell(12)
def test_a_page_of_another_site_gets_no_ticket_no_socket_and_no_frame(
    tab: Tab, base: str, port: int
) -> None:
    tab.call("Network.clearBrowserCookies")
    sign_in(tab, base)
    # Another host name is another site, though the same gateway answers: its cookie is not sent.
    tab.open(f"http://localhost:{port}/sign-in")
    assert (
        tab.ask(
            f"fetch({json.dumps(base)} + '/api/ticket', {{method: 'POST', credentials: 'include',"
            " body: '{\"target\": \"app01\"}'}).then(a => a.status, () => 'blocked')"
        )
        == "blocked"
    )
    assert (
        tab.ask(
            f"new Promise(done => {{ try {{ const s = new WebSocket('ws://127.0.0.1:{port}/terminal',"
            " 'stagedoor.terminal.v2'); s.onopen = () => done('open'); s.onerror = () => done('refused'); }"
            " catch { done('refused'); } })"
        )
        == "refused"
    )
    tab.trouble.clear()
    tab.ask(
        "new Promise(done => { const f = document.createElement('iframe'); f.onload = done;"
        f" f.src = {json.dumps(base)} + '/sign-in'; document.body.append(f); setTimeout(done, 3000); }})"
    )
    # The browser may say so a moment later.
    wait_until(lambda: tab.ask("0") or any("frame" in trouble for trouble in tab.trouble))


@pytest.mark.webshell(14)
def test_a_short_output_is_never_lost(tab: Tab, base: str) -> None:
    terminal(tab, base, "short")
    run(tab, "clear; for i in $(seq 200); do printf x; done; echo; echo fi''nished")
    text = shows(tab, "finished")
    assert "x" * 200 in text.replace("\n", "")


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


def test_what_is_missing_is_said_in_plain_words(tab: Tab, base: str, browser: Browser) -> None:
    sign_in(tab, base)
    tab.open(f"{base}/app/secret")
    assert "no grant for 'dev'" in str(
        tab.ask("document.querySelector('[role=alert]').textContent")
    )


@pytest.mark.webshell(12)
def test_losing_the_grant_ends_it_within_seconds_and_says_why(
    tab: Tab, base: str, gateway: Gateway
) -> None:
    rule = json.loads(gateway.command("grant", "list", "--json").stdout)
    gateway.command("grant", "add", "user:dev", "app0?")
    terminal(tab, base, "revoked", "app02")
    number = next(str(row["id"]) for row in rule if row["app"] == "app02")
    gateway.command("grant", "remove", number)
    more = json.loads(gateway.command("grant", "list", "--json").stdout)
    gateway.command("grant", "remove", next(str(r["id"]) for r in more if r["app"] == "app0?"))
    tab.until("document.getElementById('status').dataset.state === 'over'")
    assert screen(tab)
    gateway.command("grant", "add", "user:dev", "app02")
