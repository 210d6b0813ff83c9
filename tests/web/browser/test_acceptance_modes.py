"""Item 3 of the WebShell's acceptance list in a real Chromium: the modes that a program has switched on."""

import re
import sys
from pathlib import Path

import pytest

from acceptance.chromium import Browser, Tab
from tests.fixtures.gateway import open_gateway
from tests.waiting import wait_until
from tests.web.browser.conftest import click, ready, run, shows, terminal
from tests.web.browser.test_acceptance_cuts import PASTE
from tests.web.conftest import SETTINGS
from tests.web.relay import CuttingRelay

LISTENS = r"""
import os, signal, sys, tty

def switch(letter):
    # The alternate screen, application cursor keys, the mouse, and brackets about what is pasted.
    for mode in (1049, 1, 1000, 1006, 2004):
        os.write(1, b"\x1b[?%d%s" % (mode, letter))

def draw(*_):
    os.write(1, b"\x1b[2J\x1b[5;7H\x1b[7mon the alternate scr" + b"een")

with open(sys.argv[1], "wb", buffering=0) as file:
    tty.setraw(0)
    if sys.argv[2] == "on":
        switch(b"h")
        # As every program that fills the screen: asked to, it draws it again.
        signal.signal(signal.SIGWINCH, draw)
        draw()
    else:
        os.write(1, b"liste" + b"ns")
    while (data := os.read(0, 1024)) != b"q":
        file.write(data)
    if sys.argv[2] == "on":
        signal.signal(signal.SIGWINCH, signal.SIG_IGN)
        os.write(1, b"\x1b[m")
        switch(b"l")
"""
ON = re.compile(rb"\x1b\[<0;(\d+);(\d+)M\x1b\[<0;\1;\2m\x1b\[200~pasted\x1b\[201~\x1bOA")
OFF = re.compile(rb"pasted\x1b\[A")


def hears(tab: Tab, heard: Path, expected: re.Pattern[bytes]) -> None:
    """A click, a paste and an arrow: just so they come to the program, in this order."""
    before = heard.stat().st_size
    click(tab, ".xterm-screen")
    tab.ask(f"{PASTE}('pasted')")
    tab.press("ArrowUp", "ArrowUp", 38)
    wait_until(lambda: heard.read_bytes()[before:].endswith(b"A"))
    assert expected.fullmatch(came := heard.read_bytes()[before:]), came


@pytest.mark.webshell(3)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("anew", [False, True], ids=["same-page", "loaded-anew"])
def test_3_modes_outlive_a_gateway_that_is_killed_and_end_with_their_program(
    browser: Browser, tmp_path: Path, anew: bool
) -> None:
    from tests.web.test_acceptance import kill_whole

    program, first, second = (tmp_path / name for name in ("program.py", "first", "second"))
    program.write_text(LISTENS)
    with (
        open_gateway(tmp_path, SETTINGS, "app01") as gateway,
        CuttingRelay(gateway.port("web")) as relay,
    ):
        tab = browser.tab()
        base = f"http://127.0.0.1:{relay.port}"
        terminal(tab, base, "modes")
        tab.ask("window.same = true")
        run(
            tab,
            f"clear; echo bef''ore; {sys.executable} {program} {first} on; stty sane; echo en''ded",
        )
        before = shows(tab, "on the alternate screen")
        assert "before" not in before
        hears(tab, first, ON)
        kill_whole(gateway)
        tab.until("document.getElementById('status').dataset.state === 'lost'")
        if not anew:
            tab.type("typed while away")
        gateway.lines.clear()
        gateway.start()
        relay.to_port = gateway.port("web")
        if anew:  # such a page knows nothing but what it is sent
            tab.open(f"{base}/app/app01?terminal=modes")
        ready(tab)
        assert tab.ask("window.same === true") is not anew
        assert shows(tab, "on the alternate screen") == before
        if not anew:
            wait_until(lambda: first.read_bytes().endswith(b"typed while away"))
        hears(tab, first, ON)
        tab.type("q")
        after = shows(tab, "ended")
        assert "on the alternate screen" not in after
        # Of what was below the alternate screen, only the page that was there all the time knows.
        assert anew or "before" in after
        assert tab.ask("document.querySelector('.enable-mouse-events')") is None
        run(tab, f"clear; {sys.executable} {program} {second} off")
        shows(tab, "listens")
        hears(tab, second, OFF)
        tab.end()
