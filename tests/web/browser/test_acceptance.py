"""The WebShell's acceptance list in a real Chromium.

Numbers are those of the list; item 5 is in `test_shortcuts.py`, 6 in `test_acceptance_cuts.py`. What the
page has no part in, as 7 and 15, is tried by `attach` alone.
"""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.chromium import Browser, Tab, chromium
from stagedoor.listeners.limits import ClientLimits
from tests.fixtures.gateway import Gateway
from tests.fixtures.worker import open_limited
from tests.waiting import wait_until
from tests.web.browser.conftest import STATES, TERMINAL, choose, run, shows, terminal
from tests.web.cells import SPANS, as_drawn, captured, drawn
from tests.web.conftest import SETTINGS
from tests.web.flood import LONG_S, flood_bounds
from tests.web.outer import attach_command, outer, ssh_command
from tests.web.scenes import MISSING, WINDOWS, Scenes

COLUMNS, ROWS = 120, 40
ALT, CTRL, SHIFT = 1, 2, 8


def sized(tab: Tab, columns: int, rows: int) -> float:
    """Make the window so large that the terminal has this size; how wide a cell is, in pixels."""
    for _ in range(20):
        now = tab.ask(
            "(() => { const s = document.querySelector('.xterm-screen').getBoundingClientRect();"
            " const r = document.querySelectorAll('.xterm-rows > div').length;"
            " return [innerWidth, innerHeight, s.width, s.height, r]; })()"
        )
        width, height, drawn_width, drawn_height, drawn_rows = now
        cell_height = drawn_height / drawn_rows
        # A cell's width: that of the row's first hundred characters, whatever they are.
        cell = float(
            tab.ask(
                "(() => { const m = document.querySelector('.xterm-char-measure-element');"
                " return m.getBoundingClientRect().width / m.textContent.length; })()"
            )
        )
        have = round(drawn_width / cell)
        if (have, drawn_rows) == (columns, rows):
            return drawn_width / columns
        tab.resize(
            round(width + (columns - have) * cell + cell / 3),
            round(height + (rows - drawn_rows) * cell_height + cell_height / 3),
        )
        # It is drawn again by an observer, in one of the next frames; then this asks again.
        tab.ask("new Promise(done => requestAnimationFrame(() => setTimeout(done, 300)))")
    raise AssertionError(f"it has {have} by {drawn_rows}")


def cursor(tab: Tab) -> tuple[int, str]:
    """The row where the cursor is drawn, and what stands before it; (-1, "") where it is hidden."""
    row, before = tab.ask(
        "(() => { const drawn = document.querySelector('.xterm-cursor');"
        " if (!drawn) return [-1, ''];"
        " const row = drawn.parentNode, cells = [...row.children];"
        " return [[...row.parentNode.children].indexOf(row),"
        " cells.slice(0, cells.indexOf(drawn)).map(each => each.textContent).join('')]; })()"
    )
    return row, before


@pytest.mark.webshell(1)
@pytest.mark.timeout(600)
@pytest.mark.skipif(bool(MISSING), reason=f"as root: apt-get install {MISSING}")
def test_1_the_cells_of_splits_vim_htop_and_mc_are_those_that_ssh_shows(
    tab: Tab, base: str, gateway: Gateway, port: int, tmp_path: Path
) -> None:
    scenes = Scenes(tmp_path)
    scenes.start()
    attach_command(tmp_path, port)
    try:
        with outer(tmp_path) as native:
            native.start(ssh_command(gateway, tmp_path, scenes.attach))
            native.shows("[x]")
            by_ssh = {}
            for window in WINDOWS:
                scenes.show(window)
                native.shows(f"{window}*")
                by_ssh[window] = as_drawn(captured(native.settled("-e", "-N")))
        terminal(tab, base, "cells")
        choose(tab, "readable", False)  # the program's own colours are compared
        cell_width = sized(tab, COLUMNS, ROWS)
        run(tab, scenes.attach)
        shows(tab, "[x]")
        for window in WINDOWS:
            scenes.show(window)
            shows(tab, f"{window}*")

            def differ(window: str = window) -> list[object]:
                cells = drawn(tab.ask(SPANS), cell_width)
                pairs = zip(by_ssh[window], cells, strict=True)
                return [(n, a, b) for n, (a, b) in enumerate(pairs) if a != b]

            try:
                wait_until(lambda: not differ())
            except AssertionError:
                number, by_native, by_us = differ()[0]  # type: ignore[misc]
                at = next(
                    (n for n, (a, b) in enumerate(zip(by_native, by_us, strict=False)) if a != b),
                    min(len(by_native), len(by_us)),
                )
                pytest.fail(
                    f"{window}, row {number}, cell {at}: ssh {by_native[at : at + 3]} "
                    f"us {by_us[at : at + 3]}"
                )
    finally:
        scenes.stop()


KEYS = {
    # In a tab the browser keeps W, T and N for itself (item 5); these events of DevTools pass it by.
    **{chr(ord("a") + n): bytes([n + 1]) for n in range(26)},
    " ": b"\x00",
    "[": b"\x1b",
    "\\": b"\x1c",
    "]": b"\x1d",
}
CODES = {
    " ": ("Space", 32),
    "[": ("BracketLeft", 219),
    "\\": ("Backslash", 220),
    "]": ("BracketRight", 221),
}

HEX_OF_EACH = """
import os, sys, tty
tty.setraw(0)
os.write(1, b"re" + b"ady")
count = 0
while count < int(sys.argv[1]):
    for byte in os.read(0, 1):
        os.write(1, b"<%d:%02x>" % (count, byte))
        count += 1
"""


@pytest.mark.webshell(4)
def test_4_each_control_key_arrives_before_the_next_is_pressed(
    tab: Tab, base: str, tmp_path: Path
) -> None:
    terminal(tab, base, "keys")
    program = tmp_path / "keys.py"
    program.write_text(HEX_OF_EACH)
    text = "é你😀"
    total = len(KEYS) + len(text.encode())
    run(tab, f"clear; {sys.executable} {program} {total}")
    shows(tab, "ready")
    for number, (key, byte) in enumerate(KEYS.items()):
        code, virtual = CODES.get(key, (f"Key{key.upper()}", ord(key.upper())))
        tab.press(key, code, virtual, modifiers=CTRL)
        # Not by rows: it may go on in the next one.
        tab.until(f"{TERMINAL}.textContent.includes('<{number}:{byte.hex()}>')")
    tab.type(text)
    for number, entry in enumerate(text.encode(), len(KEYS)):
        tab.until(f"{TERMINAL}.textContent.includes('<{number}:{entry:02x}>')")


@pytest.mark.webshell(8)
@pytest.mark.timeout(LONG_S)
def test_8_a_flood_does_not_disconnect_the_page(browser: Browser, tmp_path: Path) -> None:
    seconds, ping_s = flood_bounds()
    with open_limited(tmp_path, SETTINGS, ClientLimits(ping_s=ping_s), "app01") as gateway:
        tab = browser.tab()
        terminal(tab, f"http://127.0.0.1:{gateway.port('web')}", "flooded")
        tab.ask(STATES)
        run(tab, "yes floodfloodflood")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            shows(tab, "floodfloodflood\nfloodfloodflood")
            tab.ask("new Promise(done => setTimeout(done, 500))")
        tab.press("c", "KeyC", 67, modifiers=CTRL)
        run(tab, "echo sto''pped")
        shows(tab, "stopped")
        assert tab.ask("window.states") == []
        tab.end()


@pytest.mark.webshell(10)
def test_10_two_hundred_changes_of_size_settle(tab: Tab, base: str) -> None:
    terminal(tab, base, "resized")
    run(tab, "clear; echo re''ady")
    shows(tab, "ready")
    chance = random.Random(9)
    for _ in range(200):
        tab.resize(chance.randrange(300, 1600), chance.randrange(300, 1200))
    sized(tab, 111, 37)
    count = 0

    def has_size() -> bool:
        nonlocal count
        count += 1
        run(tab, f"echo [$(stty size)]{count}.")
        return "[37 111]" in shows(tab, f"]{count}.")

    wait_until(has_size)


@pytest.fixture
def whole_tab(tmp_path: Path) -> Iterator[Tab]:
    """In a browser that lets a page have the clipboard, or does not, as a developer's does."""
    with chromium(tmp_path / "whole", whole=True) as browser:
        yield browser.tab()


@pytest.mark.webshell(11)
def test_11_what_tmux_copies_reaches_the_clipboard(
    whole_tab: Tab, base: str, tmp_path: Path
) -> None:
    tab = whole_tab
    text = "kopie é你好😀"
    tmux = ["tmux", "-u", "-S", str(tmp_path / "t"), "-f", "/dev/null"]
    # To look into the clipboard is the test's wish. The page asks for no permission, and no person clicks.
    reading = {"name": "clipboard-read"}
    tab.call("Browser.setPermission", permission=reading, setting="granted", origin=base)
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    terminal(tab, base, "copy")
    tab.ask("navigator.clipboard.writeText('before')")
    run(tab, f"exec {' '.join(tmux)} -T clipboard new 'sh -i'")
    shows(tab, "[0]")
    run(tab, f"clear; printf '%s\\n' '{text}'; printf en''d")
    shows(tab, "\nend")
    try:
        tab.press("b", "KeyB", 66, CTRL)
        tab.press("[", "BracketLeft", 219, text="[")
        shows(tab, "[0/0]")
        # What follows too fast tmux takes for a paste, and while it draws again it hands on no copy.
        tab.press("<", "Comma", 188, ALT | SHIFT)
        wait_until(lambda: cursor(tab) == (0, ""))
        tab.press(" ", "Space", 32, CTRL)
        tab.press("e", "KeyE", 69, CTRL)
        wait_until(lambda: cursor(tab) == (0, text))
        tab.press("w", "KeyW", 87, ALT)
        wait_until(lambda: tab.ask("navigator.clipboard.readText()") == text)
        # A program may copy through tmux only where its user says so; none may read.
        subprocess.run([*tmux, "set", "-s", "set-clipboard", "on"], check=True)
        run(tab, "clear; printf '\\033]52;c;5L2g5aW9\\a'; echo do''ne")
        shows(tab, "done")
        wait_until(lambda: tab.ask("navigator.clipboard.readText()") == "你好")
        subprocess.run([*tmux, "refresh-client", "-l"], check=True)
        run(tab, "clear; echo qu''iet")
        assert "52;" not in shows(tab, "quiet")
    finally:
        subprocess.run([*tmux, "kill-server"], capture_output=True, check=False)
