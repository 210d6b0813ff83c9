"""The terminal's page beside carrying bytes, in a real Chromium."""

import base64
import json
import re
import zlib
from collections.abc import Iterator

import pytest

from acceptance.chromium import Browser, Tab
from tests.fixtures.gateway import Gateway
from tests.web.browser.conftest import (
    KEEPS_STEPS,
    choose,
    click,
    hides,
    ready,
    run,
    screen,
    shows,
    terminal,
)

COPIES = "window.copies = []; navigator.clipboard.writeText = async text => { window.copies.push(text); }"
OPENS = "window.opens = []; window.open = (...given) => { window.opens.push(given); return null; }"


@pytest.fixture(autouse=True)
def fresh(tab: Tab) -> Iterator[None]:
    """A page that has the focus, as far as it can see, and settings as at first."""
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    yield
    tab.ask("location.protocol.startsWith('http') && localStorage.clear()")


def cell(tab: Tab, text: str) -> tuple[float, float]:
    """The middle of where `text` begins on the screen."""
    state = tab.until(
        "(() => { for (const row of document.querySelectorAll('.xterm-rows > div')) {"
        f" const at = row.textContent.indexOf({json.dumps(text)}); if (at < 0) continue;"
        " const box = row.getBoundingClientRect(); const cols = window.columns ?? 80;"
        " const walk = document.createTreeWalker(row, NodeFilter.SHOW_TEXT); let left = at;"
        " for (let node = walk.nextNode(); node; node = walk.nextNode()) {"
        "  if (left < node.length) { const r = document.createRange(); r.setStart(node, left);"
        "   r.setEnd(node, left + 1); const b = r.getBoundingClientRect();"
        "   return [b.x + b.width / 2, box.y + box.height / 2]; }"
        "  left -= node.length; } } })()"
    )
    return float(state[0]), float(state[1])


def mouse(tab: Tab, kind: str, x: float, y: float, **more: object) -> None:
    tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)


def away(tab: Tab, offline: bool) -> None:
    """Cut the line, or mend it. Enable the network domain before the page is opened."""
    tab.call(
        "Network.emulateNetworkConditions",
        offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=-1,
    )  # fmt: skip


# What a program asks of the page.


def test_a_bell_marks_the_title_until_somebody_looks(tab: Tab, base: str) -> None:
    terminal(tab, base, "bell")
    tab.ask("document.hasFocus = () => false")
    run(tab, "printf '\\a'")
    tab.until("document.title.startsWith('🔔')")
    tab.ask("dispatchEvent(new Event('focus'))")
    tab.until("!document.title.includes('🔔')")
    tab.ask("document.hasFocus = () => true")
    run(tab, "printf '\\a'; echo ru''ng")
    shows(tab, "rung")
    assert "🔔" not in tab.ask("document.title")


def row(tab: Tab, number: int) -> str:
    """A picture of one row, and of what reaches a pixel below it."""
    box = tab.ask(
        f"(box => [box.x, box.y, box.width, box.height + 1])"
        f"(document.querySelectorAll('.xterm-rows > div')[{number}].getBoundingClientRect())"
    )
    clip = dict(zip(("x", "y", "width", "height"), box, strict=True), scale=1)
    return str(tab.call("Page.captureScreenshot", format="png", clip=clip)["data"])


def test_an_underscore_is_seen_whatever_the_size(tab: Tab, base: str) -> None:
    terminal(tab, base, "underscore")
    run(tab, "clear; printf '____\\n\\n\\n\\n'; echo do''ne")
    shows(tab, "____\n\n\n\ndone")
    unseen = []
    for size in range(8, 25):
        choose(tab, "fontSize", size)
        tab.until(
            f"getComputedStyle(document.querySelector('.xterm-rows')).fontSize === '{size}px'"
        )
        if row(tab, 0) == row(tab, 2):
            unseen.append(size)
    assert unseen == []


def test_osc_52_takes_no_more_than_a_megabyte(tab: Tab, base: str) -> None:
    terminal(tab, base, "cap")
    tab.ask(COPIES)
    run(
        tab,
        "copy() { printf '\\033]52;c;%s\\a' \"$(head -c $1 /dev/zero | tr '\\0' x | base64 -w0)\"; }",
    )
    run(tab, "copy 1100000; copy 1000000; echo do''ne")
    shows(tab, "done", 60)
    assert tab.ask("window.copies.map(text => text.length)") == [1_000_000]


def png() -> bytes:
    """Red, 8 by 8 pixels (PNG specification §5)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    head = (8).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    rows = (b"\0" + b"\xff\0\0" * 8) * 8
    image = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + image


PIXELS = png()
IN_BASE64 = base64.b64encode(PIXELS).decode()


@pytest.mark.parametrize(
    ("name", "sequence"),
    ids=("sixel", "iterm"),
    argvalues=[
        ("sixel", "\\033Pq#1;2;100;0;0#1~~~~~~~~~~~~-~~~~~~~~~~~~\\033\\\\"),
        ("iterm", f"\\033]1337;File=inline=1;size={len(PIXELS)};width=4;height=2:{IN_BASE64}\\a"),
    ],
)
def test_an_image_is_drawn(tab: Tab, base: str, name: str, sequence: str) -> None:
    terminal(tab, base, name)
    run(tab, f"clear; printf '{sequence}\\n\\n'; echo dra''wn")
    shows(tab, "drawn")
    tab.until(
        "[...document.querySelectorAll('.xterm-screen canvas')].some(c => c.width && c.height &&"
        " c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
        ".some((value, at) => at % 4 === 0 && value > 200))"
    )
    assert not tab.trouble


def test_a_link_opens_by_a_gesture_only_and_alone_the_web(tab: Tab, base: str) -> None:
    terminal(tab, base, "links")
    tab.ask(OPENS)
    run(
        tab,
        "clear; echo https://example.com/pl''ain; printf '\\033]8;;https://example.com/osc\\033\\\\hid''den\\033]8;;\\033\\\\\\n';"
        " printf '\\033]8;;javascript:alert(1)\\033\\\\e''vil\\033]8;;\\033\\\\\\n'; echo do''ne",
    )
    shows(tab, "done")
    for text, control, opened in (
        ("https://example.com/plain", 0, 0),
        ("https://example.com/plain", 2, 1),
        ("hidden", 0, 1),
        ("hidden", 2, 2),
        ("evil", 2, 2),
    ):
        x, y = cell(tab, text)
        mouse(tab, "mouseMoved", x + 1, y, modifiers=control)
        if text != "evil":  # nothing but the web is taken for a link at all
            tab.until("document.querySelector('.xterm-cursor-pointer') !== null")
        for kind in ("mousePressed", "mouseReleased"):
            mouse(tab, kind, x + 1, y, button="left", clickCount=1, modifiers=control)
        tab.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        opens = tab.ask("window.opens")
        assert len(opens) == opened, (text, control, opens)
        mouse(tab, "mouseMoved", x + 1, y + 300)
        tab.until("document.querySelector('.xterm-cursor-pointer') === null")
    assert all(given[2] == "noopener,noreferrer" for given in tab.ask("window.opens"))


# What a person does.


def test_what_is_selected_is_copied_if_wished(tab: Tab, base: str) -> None:
    terminal(tab, base, "select")
    tab.ask(COPIES)
    run(tab, "clear; echo first''word secondword")
    shows(tab, "firstword")
    for wished in (False, True):
        choose(tab, "copyOnSelect", wished)
        x, y = cell(tab, "firstword")
        for count in (1, 2):  # a double click takes the word
            mouse(tab, "mousePressed", x, y, button="left", clickCount=count)
            mouse(tab, "mouseReleased", x, y, button="left", clickCount=count)
        if wished:
            tab.until("window.copies.length > 0")
        mouse(tab, "mousePressed", x + 300, y + 100, button="left", clickCount=1)
        mouse(tab, "mouseReleased", x + 300, y + 100, button="left", clickCount=1)
    assert set(tab.ask("window.copies")) == {"firstword"}


def test_the_theme_follows_the_system_at_once(tab: Tab, base: str) -> None:
    def background(scheme: str) -> str:
        tab.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        tab.until(f"document.documentElement.dataset.theme === '{scheme}'")
        return str(
            tab.ask(
                "getComputedStyle(document.querySelector('.xterm-scrollable-element, .xterm-viewport')).color"
            )
            + tab.ask("getComputedStyle(document.body).backgroundColor")
        )

    terminal(tab, base, "theme")
    assert background("dark") != background("light")
    choose(tab, "theme", "dark")
    tab.until("document.documentElement.dataset.theme === 'dark'")


def test_text_is_composed_and_arrives_once(tab: Tab, base: str) -> None:
    terminal(tab, base, "ime")
    run(tab, "stty -echo; echo re''ady; cat")
    shows(tab, "ready")
    tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
    for text in ("に", "にほ", "にほん"):
        tab.call(
            "Input.imeSetComposition", text=text, selectionStart=len(text), selectionEnd=len(text)
        )
    assert "にほん" not in screen(tab).replace("ready", ""), "it is not sent before it is composed"
    tab.call("Input.insertText", text="日本")
    tab.enter()
    text = shows(tab, "日本")
    assert text.count("日本") == 1
    assert "に" not in text.split("ready")[1]


def test_line_ends_that_no_key_made_are_not_lost(tab: Tab, base: str) -> None:
    """Dictation, text expanders and some phones put text in without a key."""
    terminal(tab, base, "inserted")
    tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
    tab.type("echo le''ft")
    tab.type("\n")
    shows(tab, "left")
    tab.type("echo on''e\necho tw''o\n")
    tab.until("document.getElementById('confirm-paste').open")
    tab.ask("document.querySelector('#confirm-paste button[value=yes]').click()")
    shows(tab, "one")
    shows(tab, "two")


def test_the_screen_is_filled_with_all_keys(tab: Tab, base: str) -> None:
    terminal(tab, base, "full")
    tab.ask(
        "window.locked = 0; const own = navigator.keyboard.lock.bind(navigator.keyboard);"
        " navigator.keyboard.lock = async (...keys) => { await own(...keys); window.locked += 1; }"
    )
    before = int(tab.ask("document.querySelectorAll('.xterm-rows > div').length"))
    click(tab, "#more")
    click(tab, "#full")
    tab.until("document.fullscreenElement !== null && window.locked === 1")
    tab.until(f"document.querySelectorAll('.xterm-rows > div').length >= {before}")
    click(tab, "#more")
    click(tab, "#full")
    tab.until("document.fullscreenElement === null")


def test_the_page_can_be_a_window_of_its_own(tab: Tab, base: str) -> None:
    terminal(tab, base, "window")
    answer = tab.call("Page.getAppManifest")
    assert not answer["errors"], answer["errors"]
    manifest = json.loads(answer["data"])
    assert manifest["display"] == "standalone"
    assert manifest["start_url"] == "/app/app01"
    assert manifest["name"] == "app01 · Stagedoor"
    errors = tab.call("Page.getInstallabilityErrors")["installabilityErrors"]
    # A window in which nothing is remembered installs nothing; nor does one without a picture of it.
    assert not {e["errorId"] for e in errors} - {"in-incognito"}, errors
    assert tab.ask("document.getElementById('window').hidden") is False


def test_who_reaches_for_a_key_of_the_browser_is_told_once(tab: Tab, base: str) -> None:
    terminal(tab, base, "hint")
    assert tab.ask("document.getElementById('hint').hidden") is True
    tab.press("Control", "ControlLeft", 17)
    tab.until("document.getElementById('hint').textContent.includes('Ctrl-W')")
    click(tab, "#hint button")
    tab.until("document.getElementById('hint').hidden")
    tab.press("Control", "ControlLeft", 17)
    assert tab.ask("document.getElementById('hint').hidden") is True


def phone(tab: Tab) -> None:
    tab.resize(390, 844, scale=2, phone=True)
    tab.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=5)


def test_a_phone_has_a_bar_of_keys(tab: Tab, base: str) -> None:
    phone(tab)
    terminal(tab, base, "phone")
    assert tab.ask("document.getElementById('keys').hidden") is False
    run(tab, "stty raw -echo; echo re''ady; cat -v")
    shows(tab, "ready")

    def tap(name: str) -> None:
        box = tab.ask(
            f"(b => {{ b.scrollIntoView({{inline: 'center'}}); const r = b.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2, r.width, r.height]; })"
            f"(document.querySelector('#keys [data-key={json.dumps(name)}]'))"
        )
        assert min(box[2], box[3]) >= 44, "too small for a finger"
        point = {"x": box[0], "y": box[1]}
        tab.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[point])
        tab.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    tap("Esc")
    shows(tab, "^[")
    tap("↑")
    shows(tab, "^[[A")
    tap("Tab")
    tap("Ctrl")
    tab.until("document.querySelector('[data-key=Ctrl]').ariaPressed === 'true'")
    tab.type("a")
    shows(tab, "^A")
    tab.until("document.querySelector('[data-key=Ctrl]').ariaPressed === 'false'")
    assert tab.ask("document.activeElement.matches('.xterm-helper-textarea')"), "the keyboard stays"
    tab.type("a")
    shows(tab, "^Aa")
    tap("Alt")
    tab.type("b")
    shows(tab, "^Aa^[b")
    tap("PgUp")
    tap("PgDn")
    shows(tab, "^Aa^[b^[[5~^[[6~")
    tab.ask("navigator.clipboard.readText = async () => 'pasted'")
    tap("Paste")
    shows(tab, "^[[6~pasted")


def swipes(tab: Tab, by: float) -> None:
    """A finger that goes by so many pixels down the screen, or up. Nothing goes on by itself after it."""
    still = {"name": "prefers-reduced-motion", "value": "reduce"}
    tab.call("Emulation.setEmulatedMedia", features=[still])
    x, y = 195.0, 400.0
    tab.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
    for step in range(1, 11):
        point = {"x": x, "y": y + by * step / 10}
        tab.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[point])
    tab.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


def test_on_a_phone_a_finger_reads_back(tab: Tab, base: str) -> None:
    phone(tab)
    terminal(tab, base, "swipe")
    run(tab, "clear; seq -f 'line %g.' 300")
    shows(tab, "line 300.")
    swipes(tab, 300)
    hides(tab, "line 300.")
    assert "\nline 270.\n" in shows(tab, "line 270.")
    swipes(tab, -300)
    shows(tab, "line 300.")
    assert tab.ask("document.activeElement.matches('.xterm-helper-textarea')")


def test_on_a_phone_a_finger_pages_through_a_full_screen_program(tab: Tab, base: str) -> None:
    phone(tab)
    terminal(tab, base, "pager")
    run(tab, "clear; seq -f 'line %g.' 300 | less")
    shows(tab, "line 1.")
    swipes(tab, -200)
    hides(tab, "line 1.")
    swipes(tab, 300)
    shows(tab, "line 1.")


def test_a_long_reason_makes_a_phones_bar_no_higher(tab: Tab, browser: Browser, base: str) -> None:
    """A higher one would change the terminal's size, and so what is drawn in it."""
    phone(tab)
    terminal(tab, base, "narrow")
    high = "document.getElementById('bar').offsetHeight"
    before = tab.ask(high)
    second = browser.tab()
    try:
        second.open(f"{base}/app/app01?terminal=narrow")
        second.until("document.getElementById('dialog').open")
        second.ask(
            "[...document.querySelectorAll('#dialog-body button')]"
            ".find(each => each.textContent === 'Take over').click()"
        )
        tab.until("document.getElementById('status').dataset.state === 'over'")
        assert tab.ask(high) == before
        assert tab.ask("document.getElementById('status').title") == ("Over: taken over by dev"), (
            "its whole text can be read"
        )
    finally:
        second.end()


def leaves(tab: Tab) -> list[str]:
    """Return what the browser asks a person who loads the page again; they say yes."""
    tab.dialogs.clear()
    was = tab.ask("performance.timeOrigin")
    tab.call("Page.reload")
    tab.until(f"performance.timeOrigin !== {was}")
    ready(tab)
    return list(tab.dialogs)


def test_only_who_has_something_running_is_asked_before_leaving(tab: Tab, base: str) -> None:
    terminal(tab, base, "leave")
    run(tab, "exec bash --norc")
    shows(tab, "bash")

    def prompts(expected: bool) -> None:
        """The page knows it by itself, and soon; only then does the browser ask."""
        leaves_unasked = "dispatchEvent(new Event('beforeunload', {cancelable: true}))"
        known = f"{leaves_unasked} !== {json.dumps(expected)}"
        tab.until(known)
        tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
        tab.type(" ")  # a browser asks only a person who has done something on the page
        assert leaves(tab) == (["beforeunload"] if expected else [])
        tab.until(known)

    prompts(False)
    run(tab, "sleep 1000")
    prompts(True)
    prompts(True)  # a person who comes to what runs already has typed no line
    tab.press("c", "KeyC", 67, modifiers=2)
    prompts(False)
    run(tab, "vim -u NONE +'set t_RV='")
    prompts(True)
    tab.press("Escape", "Escape", 27)
    run(tab, ":q!")
    prompts(False)


def test_a_shell_that_ended_is_followed_by_another_after_a_reload_too(tab: Tab, base: str) -> None:
    terminal(tab, base, "reloaded")
    run(tab, "echo be''gun")
    shows(tab, "begun")
    tab.open(f"{base}/app/app01?terminal=reloaded")
    ready(tab)
    run(tab, "exit")
    tab.until("document.getElementById('status').dataset.state === 'over'")
    click(tab, "#hint button")
    ready(tab)
    run(tab, "echo a''new")
    shows(tab, "anew")


# What happens on the way.


def test_a_cold_start_says_how_far_it_has_come(tab: Tab, base: str, gateway: Gateway) -> None:
    gateway.stop_shells()
    tab.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source=KEEPS_STEPS
        + "; window.told = []; addEventListener('DOMContentLoaded', () => { const s ="
        " document.getElementById('status'); if (s) new MutationObserver(() =>"
        " window.told.push(s.textContent)).observe(s, {childList: true, characterData: true,"
        " subtree: true}); })",
    )
    terminal(tab, base, "cold", "app02")
    steps = tab.ask("window.steps")
    assert any(re.search(r"starting the process\s*\d+\.\d s", text) for text in steps), steps
    assert tab.ask("document.getElementById('starting')") is None
    message = tab.ask("window.told")
    assert any(text.startswith("Starting: ") for text in message), message
    assert tab.ask("document.getElementById('status').textContent") == ""


def test_signed_out_while_the_line_was_cut_says_so(tab: Tab, base: str) -> None:
    tab.call("Network.enable")
    terminal(tab, base, "expired")
    away(tab, True)
    tab.until("document.getElementById('status').dataset.state === 'lost'")
    tab.call("Network.clearBrowserCookies")
    away(tab, False)
    # No question of the browser's own is in the way.
    tab.until("document.getElementById('status').dataset.state === 'over'")
    assert "sign in" in str(tab.ask("document.getElementById('hint').textContent"))
    click(tab, "#sign-in-later")
    click(tab, "#hint button")
    tab.until("location.pathname === '/sign-in'")


def test_who_loses_the_grant_reads_why(tab: Tab, base: str, gateway: Gateway) -> None:
    rules = json.loads(gateway.command("grant", "list", "--json").stdout)
    terminal(tab, base, "revoked", "app02")
    number = next(str(rule["id"]) for rule in rules if rule["app"] == "app02")
    gateway.command("grant", "remove", number)
    try:
        tab.until("document.getElementById('status').dataset.state === 'over'")
        assert "no grant for 'dev' to enter app02" in tab.ask(
            "document.getElementById('hint').textContent"
        )
        assert screen(tab), "what was seen stays"
    finally:
        gateway.command("grant", "add", "user:dev", "app02")
