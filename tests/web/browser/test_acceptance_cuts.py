"""Item 6 of the WebShell's acceptance list in a real Chromium: a line cut wherever it happens to be.

A test cuts it 25 times, as each takes a quarter of a second of the processor. The hundred of the list are
`STAGEDOOR_CUTS=100 .venv/bin/pytest tests/web/browser/test_acceptance_cuts.py`; those by `attach` come in
each run.
"""

import hashlib
import os
import random
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.chromium import Tab
from stagedoor.wire.terminal.frames import MAX_FRAME_BYTES
from tests.waiting import wait_until
from tests.web.browser.conftest import STATES, run, screen, shows, terminal
from tests.web.relay import CuttingRelay

SHIFT = 8
CUTS = int(os.environ.get("STAGEDOOR_CUTS", "25"))
SHOWN = 1600 * CUTS
LINES = 3000
"""The lines that are scrolled back to and read; the page keeps 10,000."""


def numbered(number: int) -> str:
    # As little of it as may be is compressed away: where the line is cut depends on what is on it.
    return f"{number:06d} {b64encode(hashlib.sha512(b'%d' % number).digest()).decode()[:84]}"


def scrolled_through(tab: Tab, last: str) -> list[str]:
    """Every line that was drawn and can be scrolled back to, from the top to the one that is `last`."""
    shows(tab, last, 120)
    tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
    lines: dict[int, str] = {}

    def take() -> list[int]:
        texts = []
        for row in screen(tab).splitlines():
            if row[:6].isdecimal() and row[6:7] == " ":
                lines[int(row[:6])] = row
                texts.append(int(row[:6]))
        return texts

    top = min(take())
    while top > SHOWN - LINES + 1:
        tab.press("PageUp", "PageUp", 33, modifiers=SHIFT)
        # It is drawn with the next frame; then another line is the first one.
        was = top
        wait_until(lambda: (seen := take()) and min(seen) < was)  # noqa: B023
        top = min(lines)
    return [lines[number] for number in sorted(lines)]


@pytest.fixture
def cutting(port: int) -> Iterator[CuttingRelay]:
    # The page and its script are loaded before it begins to cut.
    # A frame has up to 64 KiB, and one has to get through before the next cut, or nothing goes on.
    every = 2 * MAX_FRAME_BYTES + 16_384
    with CuttingRelay(port, every, every_bytes_up=every, most=CUTS, armed=False) as relay:
        yield relay


PASTE = """
(text => {
  const transfer = new DataTransfer();
  transfer.setData('text/plain', text);
  document.querySelector('.xterm-helper-textarea').dispatchEvent(
    new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true, cancelable: true}));
})
"""


@pytest.mark.webshell(6)
@pytest.mark.timeout(900)
def test_6_cut_at_random_offsets_in_both_directions(
    tab: Tab, cutting: CuttingRelay, tmp_path: Path
) -> None:
    base = f"http://127.0.0.1:{cutting.port}"
    terminal(tab, base, "cuts")
    tab.ask("window.same = true")
    typed = b64encode(random.Random(3).randbytes(67_500 * CUTS)).decode()
    shown, taken = tmp_path / "shown", tmp_path / "taken"
    shown.write_text("".join(numbered(n) + "\n" for n in range(1, SHOWN + 1)))
    script = tmp_path / "both.sh"
    script.write_text(
        f"stty raw -echo; printf ready; head -c 1 >/dev/null\nsed 's/$/\\r/' {shown} &\n"
        f"head -c {len(typed)} >{taken}; wait; stty sane; echo finished\n"
    )
    run(tab, f"clear; exec sh {script}")
    shows(tab, "ready")
    cutting.armed = True
    tab.type("g")
    for at in range(0, len(typed), 20_000):
        tab.ask(f"{PASTE}('{typed[at : at + 20_000]}')")
    tab.until("document.getElementById('status').dataset.state === 'over'", 600)
    assert cutting.cuts >= CUTS
    assert min(cutting.cuts_up, cutting.cuts_down) >= CUTS // 10, (
        cutting.cuts_up,
        cutting.cuts_down,
    )
    assert tab.ask("window.same") is True, "the page was never loaded again"
    # The page itself holds each byte to its offset; what can be scrolled back to is compared as drawn.
    expected = "\n".join(shown.read_text().splitlines()[-LINES:])
    text = "\n".join(scrolled_through(tab, "finished")[-LINES:])
    assert hashlib.sha256(text.encode()).digest() == hashlib.sha256(expected.encode()).digest()
    assert hashlib.sha256(taken.read_bytes()).digest() == hashlib.sha256(typed.encode()).digest()


def test_a_line_that_falls_silent_is_said_and_another_takes_its_place(tab: Tab, port: int) -> None:
    """Takes the 8 s after which another line is tried."""
    with CuttingRelay(port) as relay:
        terminal(tab, f"http://127.0.0.1:{relay.port}", "silent")
        tab.ask(STATES)
        run(tab, "stty -echo; clear; echo re''ady")
        shows(tab, "ready")
        relay.hold()
        run(tab, "echo first=$((40+2))")
        tab.until("document.getElementById('status').textContent === 'Not answering for 2 s'")
        relay.release()
        shows(tab, "first=42")
        tab.until("document.getElementById('status').textContent === ''")
        relay.hold()
        run(tab, "echo second=$((40+2))")
        tab.until("document.getElementById('status').textContent === 'Not answering for 7 s'")
        run(tab, "echo third=$((40+2))")
        shows(tab, "third=42")
        relay.release()  # what was held for the silent line reaches no client
        run(tab, "echo la''st")
        text = shows(tab, "last")
        assert [text.count(f"{word}=42") for word in ("first", "second", "third")] == [1] * 3
        assert "lost" not in tab.ask("window.states")
