"""Item 6 of the WebShell's acceptance list in a real Chromium: away for more output than is kept.

Then the page says how much it has missed, and shows what there is to see. Another page, which was there all
the time, knows what that is.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from acceptance.chromium import Tab
from stagedoor.holder.attachments import RESUME_GRACE_S
from stagedoor.holder.state import KEEP_BYTES
from tests.waiting import BOUND_S, wait_until
from tests.web.browser.conftest import ready, run, screen, shows, sign_in, terminal
from tests.web.browser.test_acceptance import COLUMNS, ROWS, sized
from tests.web.browser.test_acceptance_modes import ON, hears
from tests.web.browser.test_sharing import click as choose
from tests.web.cells import SPANS
from tests.web.relay import CuttingRelay

PROGRAM = r"""
import os, signal, sys, tty
screen, go, done, heard = sys.argv[1:]
modes = [1, 1000, 1006, 2004] + [1049] * (screen == "alternate")
written = number = 0

def write(data):
    global written
    written += len(data)
    while data:
        data = data[os.write(1, data):]

def switch(letter):
    for mode in sorted(modes, reverse=True):
        write(b"\x1b[?%d%s" % (mode, letter))

def lines(count):
    for row in range(count):
        what = f"\x1b[3{row % 8}mrow {row} of \x1b[1;4mpicture\x1b[m {number}"
        yield f"{what} \u4f60\u597d\U0001f600 \u2500\u2502".encode()

def draw(*_):
    columns, rows = os.get_terminal_size(1)
    write(b"\x1b[H\x1b[2J" + b"\r\n".join(lines(rows)) + b"\x1b[5;7H")

def show():
    draw() if screen == "alternate" else write(b"".join(line + b"\r\n" for line in lines(20)))

with open(heard, "wb", buffering=0) as file:
    tty.setraw(0)
    switch(b"h")
    if screen == "alternate":
        signal.signal(signal.SIGWINCH, draw)
    show()
    # Drawn for the last time before what is counted, however many connect.
    with open(go) as told:
        told.read()
    signal.signal(signal.SIGWINCH, signal.SIG_IGN)
    number += 1
    show()
    with open(go) as told:
        told.read()
    if screen == "alternate":
        signal.signal(signal.SIGWINCH, draw)
    written = 0
    while written < 1_500_000:
        number += 1
        show()
    with open(done + ".part", "w") as told:
        told.write(f"{written} {number}")
    os.rename(done + ".part", done)
    while (data := os.read(0, 1024)) != b"q":
        file.write(data)
    signal.signal(signal.SIGWINCH, signal.SIG_IGN)
    switch(b"l")
"""
SAID = re.compile(r"(\d+) bytes of output were not kept while the line was cut\.")


FONT = "getComputedStyle(document.querySelector('.xterm-rows')).fontSize"


def as_large(tab: Tab, second: Tab) -> None:
    """In a smaller window a watcher has a smaller font, until the page sees its size."""
    tab.resize(*second.ask("[innerWidth, innerHeight]"))
    wait_until(lambda: tab.ask(FONT) == second.ask(FONT), costly=True)


def same(tab: Tab, second: Tab, text: str) -> Any:
    """Both come to draw the same, with `text` in it."""

    def agree() -> bool:
        return text in screen(tab) and bool(tab.ask(SPANS) == second.ask(SPANS))

    try:
        wait_until(agree, costly=True)
    except AssertionError:
        rows = enumerate(zip(tab.ask(SPANS), second.ask(SPANS), strict=False))
        first = next((row for row in rows if row[1][0] != row[1][1]), "none")
        pages = f"back:\n{screen(tab)}\nthere:\n{screen(second)}"
        pytest.fail(f"{text!r}, the first row that differs: {first}\n{pages}\nend")
    return tab.ask(SPANS)


@pytest.mark.webshell(6)
@pytest.mark.timeout(RESUME_GRACE_S + 300)
@pytest.mark.parametrize(
    ("where", "who"),
    [("primary", "alone"), ("alternate", "one-of-two"), ("alternate", "watcher")],
)
def test_6_away_for_more_than_is_kept_the_page_says_so_and_shows_what_there_is(
    tab: Tab, second: Tab, base: str, port: int, tmp_path: Path, where: str, who: str
) -> None:
    name, there = f"gap-{where}-{who}", f"{base}/app/app01?terminal=gap-{where}-{who}"
    program, go, done, heard = (
        tmp_path / path_name for path_name in ("program.py", "go", "done", "heard")
    )
    program.write_text(PROGRAM)
    os.mkfifo(go)
    with CuttingRelay(port) as relay:
        for page in (tab, second):
            page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        terminal(second, base, name)
        sized(second, COLUMNS, ROWS)
        run(
            second,
            f"clear; {sys.executable} {program} {where} {go} {done} {heard}; stty sane; echo en''ded",
        )
        shows(second, "picture 0")
        sign_in(tab, f"http://127.0.0.1:{relay.port}")
        tab.open(f"http://127.0.0.1:{relay.port}/app/app01?terminal={name}")
        choose(tab, "Only watch" if who == "watcher" else "Join in")
        ready(tab)
        if who == "watcher":
            as_large(tab, second)
        sized(tab, COLUMNS, ROWS)
        # Each page has its size before the program has heard of it, and has drawn for the last one.
        same(tab, second, "picture 0")
        tab.ask("window.same = true")
        go.write_bytes(b"")
        same(tab, second, "picture 1")
        if who == "alone":  # they are waited for, and then no longer
            second.open(base)

        relay.cut()
        tab.until("document.getElementById('status').dataset.state === 'lost'")
        go.write_bytes(b"")
        wait_until(done.exists, RESUME_GRACE_S + BOUND_S)
        missed, last = done.read_text().split()
        assert int(missed) > KEEP_BYTES
        relay.mend()
        ready(tab)

        if who == "alone":
            second.open(there)
            choose(second, "Join in")  # the first page is there again
            ready(second)
        said = SAID.match(str(tab.until("document.getElementById('hint').textContent")))
        assert said is not None
        assert said[1] == missed
        choose(tab, "OK")  # it takes some of the room
        tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
        seen = same(
            tab,
            second,
            lowest := f"row {ROWS - 1 if where == 'alternate' else 19} of picture {last}",
        )
        assert tab.ask("window.same") is True
        # A person who comes only now is shown the same.
        second.open(there)
        ready(second)
        wait_until(lambda: same(tab, second, lowest) == seen)
        if who != "watcher":
            hears(tab, heard, ON)
        second.ask("document.querySelector('.xterm-helper-textarea').focus()")
        second.type("q")
        for page in (tab, second):
            shows(page, "ended")
            page.until("document.querySelector('.enable-mouse-events') === null")
        same(tab, second, "ended")
