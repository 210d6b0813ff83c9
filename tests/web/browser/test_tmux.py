"""The start of a new terminal: tmux where there is one, with a mouse as people expect it."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from acceptance.chromium import BrowserError, Tab
from tests.fixtures.gateway import Gateway, open_gateway
from tests.waiting import wait_until
from tests.web.browser.conftest import TERMINAL, click, hides, ready, run, screen, shows, terminal
from tests.web.browser.test_page import COPIES, phone, swipes
from tests.web.conftest import SETTINGS

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="as root: apt-get install tmux"),
]
WHERE = f"(box => JSON.stringify([box.x, box.y, box.width, box.height]))({TERMINAL}.getBoundingClientRect())"

MOUSE = "document.querySelector('.enable-mouse-events') !== null"
"""tmux has asked for it."""


@pytest.fixture(scope="module")
def by_default(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = SETTINGS.replace("tmux = false\n", "")
    assert settings != SETTINGS
    with open_gateway(tmp_path_factory.mktemp("tmux"), settings, "app01") as gateway:
        yield gateway


@pytest.fixture
def base(by_default: Gateway) -> str:
    return f"http://127.0.0.1:{by_default.port('web')}"


def mouse(tab: Tab, kind: str, at: tuple[float, float], **more: object) -> None:
    """At a part of the terminal, from its upper left corner to its lower right."""
    x, y, width, height = json.loads(tab.ask(WHERE))
    tab.call(
        "Input.dispatchMouseEvent",
        type=kind, x=x + width * at[0], y=y + height * at[1], **more,
    )  # fmt: skip


def test_a_new_terminal_is_tmux_and_the_wheel_shows_what_was_before(tab: Tab, base: str) -> None:
    terminal(tab, base, "wheel")
    shows(tab, "[wheel]")
    run(tab, "clear; seq -f 'line %g' 300")
    shows(tab, "line 300")
    tab.until(MOUSE)
    for _ in range(5):
        mouse(tab, "mouseWheel", (0.5, 0.5), deltaX=0, deltaY=-240)
    shows(tab, "line 250\n")


OTHERWISE_SINCE_3_5 = {"fire", "rainbow", "keycap"}
"""There tmux takes a VS16 for a wider cell: docs/decisions/0026-frontend.md."""
EMOJI = {
    "family": "👨‍👩‍👧",
    "profession": "👩‍💻",
    "fire": "❤️‍🔥",
    "flag": "🇩🇪",
    "rainbow": "🏳️‍🌈",
    "keycap": "1️⃣",
    "vs16": "⚠️",
    "kanji": "漢\u0301",
    "kana": "か\u3099",
}
WHERE_EACH_ENDS = """
for s in "$@"; do
  printf '%s' "$s"; IFS='[;' read -rsd R -p $'\\e[6n' _ _ column
  printf '|\\n%*s|\\n' $((column - 1)) ''
done
echo do''ne; read -r
"""
"""After each a mark; below it one where tmux says that it is."""
MARKS = """
JSON.stringify([...document.querySelectorAll('.xterm-rows > div')]
  .map(row => [row, document.createTreeWalker(row, NodeFilter.SHOW_TEXT)])
  .map(([row, walk]) => { for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const at = node.data.indexOf('|'); if (at < 0) continue;
    const range = document.createRange(); range.setStart(node, at); range.setEnd(node, at + 1);
    return range.getBoundingClientRect().left; } }).filter(left => left !== undefined))
"""


def test_what_follows_an_emoji_stands_where_tmux_says(tab: Tab, base: str, tmp_path: Path) -> None:
    script = tmp_path / "each.sh"
    script.write_text(WHERE_EACH_ENDS)
    terminal(tab, base, "emoji")
    shows(tab, "[emoji]")
    run(tab, f"clear; exec bash {script} {' '.join(EMOJI.values())}")
    shows(tab, "done")
    marks = json.loads(tab.ask(MARKS))
    assert len(marks) == 2 * len(EMOJI)
    off = {
        name: (drawn, message)
        for name, drawn, message in zip(EMOJI, marks[::2], marks[1::2], strict=True)
        if abs(drawn - message) > 1.5
    }
    version = subprocess.run(["tmux", "-V"], capture_output=True, text=True).stdout
    assert set(off) == (set() if re.match(r"tmux 3\.[0-3]", version) else OTHERWISE_SINCE_3_5), off


FOUND = "document.getElementById('found').textContent"


def above_status(tab: Tab) -> str:
    """Return the screen without its last line, in which tmux shows the time and the program's name."""
    return screen(tab).rpartition("\n")[0]


def test_the_search_finds_what_tmux_has_kept(tab: Tab, base: str) -> None:
    terminal(tab, base, "search")
    shows(tab, "[search]")
    run(tab, "clear; seq -f 'Line %g.' 300")
    shows(tab, "Line 300.")
    before = above_status(tab)
    tab.press("F", "KeyF", 70, modifiers=2 | 8)
    tab.type("line 2")
    tab.until(f"{FOUND} === '111 of 111'")
    tab.until("document.getElementById('history').textContent.includes('299.')")
    tab.enter()
    tab.until(f"{FOUND} === '110 of 111'")
    for name, value, found in (
        ("word", "line 2", 1),
        ("word", "line 2", 111),
        ("regex", "^line 1?7.$", 2),
        ("case", "^line 1?7.$", 0),
    ):
        click(tab, f"#search [name={name}]")
        tab.ask("document.getElementById('find').select()")
        tab.type(value)
        tab.until(f"{FOUND} === {json.dumps(f'{found} of {found}' if found else 'none')}")
    tab.press("Escape", "Escape", 27)
    tab.until("document.getElementById('history') === null")
    assert above_status(tab) == before, "tmux and other people have seen nothing of it"
    run(tab, "echo ba''ck")
    shows(tab, "back")
    assert not tab.trouble


def test_on_a_phone_a_finger_does_so_too(tab: Tab, base: str) -> None:
    phone(tab)
    terminal(tab, base, "finger")
    shows(tab, "[finger]")
    run(tab, "clear; seq -f 'line %g.' 300")
    shows(tab, "line 300.")
    tab.until(MOUSE)
    swipes(tab, 300)
    hides(tab, "line 300.")


def test_what_is_marked_with_the_mouse_is_copied(tab: Tab, base: str) -> None:
    terminal(tab, base, "marked")
    tab.ask(COPIES)
    run(tab, "clear; printf 'marked-%s\\n' text; printf '\\n\\n\\n'; echo do''ne")
    shows(tab, "done")
    tab.until(MOUSE)
    [row] = json.loads(
        tab.ask(
            "JSON.stringify([...document.querySelectorAll('.xterm-rows > div')]"
            ".filter(row => row.textContent.startsWith('marked-text'))"
            ".map(row => row.getBoundingClientRect()).map(box => [box.x, box.y + box.height / 2]))"
        )
    )

    def marks() -> bool:
        for kind, x in (
            ("mousePressed", 2),
            ("mouseMoved", 40),
            ("mouseMoved", 400),
            ("mouseReleased", 400),
        ):
            tab.call(
                "Input.dispatchMouseEvent",
                type=kind, x=row[0] + x, y=row[1], button="left", buttons=1, clickCount=1,
            )  # fmt: skip
        with suppress(BrowserError):
            tab.until("window.copies.some(text => text.startsWith('marked-text'))", 3)
            return True
        return False

    # tmux hands on no copy while it still has its window to draw.
    wait_until(marks)


def test_the_right_button_is_the_programs_that_has_the_mouse(tab: Tab, base: str) -> None:
    terminal(tab, base, "right")
    shows(tab, "[right]")
    tab.until(MOUSE)
    tab.ask(
        "window.kept = []; addEventListener('contextmenu', event => window.kept.push(event.defaultPrevented))"
    )
    for modifiers in (0, 8):  # Shift
        for kind in ("mousePressed", "mouseReleased"):
            mouse(tab, kind, (0.5, 0.5), button="right", clickCount=1, modifiers=modifiers)
    tab.until("window.kept.length >= 2")
    assert tab.ask("window.kept") == [True, False]


def test_who_has_chosen_otherwise_has_the_login_shell(tab: Tab, base: str) -> None:
    terminal(tab, base, "first")
    shows(tab, "[first]")
    click(tab, "#more")
    click(tab, "#settings-button")
    assert tab.ask("document.querySelector('input[name=tmux]').checked") is True
    click(tab, "input[name=tmux]")
    tab.open(f"{base}/app/app01?terminal=second")
    ready(tab)
    run(tab, "echo in=${TMUX-none}.")
    shows(tab, "in=none.")
    tab.ask("localStorage.clear()")
