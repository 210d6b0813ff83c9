"""Every page by axe-core's rules, in light and in dark, and what no rule sees: keys alone, and motion."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from acceptance.chromium import Tab
from stagedoor.model.permission import Permission
from tests.fixtures.gateway import Gateway
from tests.fixtures.people import PlainBrowser
from tests.web.browser.conftest import click, ready, run, sign_in, terminal
from tests.web.conftest import SETTINGS

AXE = Path(__file__).parents[3] / "web/node_modules/axe-core/axe.min.js"
"""Deque's rules, which Lighthouse's accessibility category runs too."""
pytestmark = pytest.mark.skipif(not AXE.exists(), reason="script/web brings axe-core")

ACCOUNTS = '\n[accounts]\nself_service = ["password", "tokens", "keys"]\n'
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKq0nBHbVUnPWtJjJ4zBFw0Mt2AplGYVGYgVTjbTpWpV laptop"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
NUMBERS = itertools.count()
RULES = {"runOnly": {"type": "tag", "values": TAGS}}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("accessible"), SETTINGS + ACCOUNTS) as found:
        found.add_user("dev", "app01", "app02")
        found.add_user("newcomer")
        found.permit("everybody", "app01", Permission.RECORD)
        found.permit("user:dev", "*", Permission.REPLAY)
        found.command("key", "add", "dev", "-", stdin=KEY + "\n")
        folder = found.data_dir / "recordings"
        folder.mkdir(mode=0o700)
        head = '{"version": 2, "width": 80, "height": 24, "timestamp": 1700000000}\n'
        shown = [
            [0, "o", "\x1b[31mred\x1b[m plain\r\n"],
            [1, "i", "x"],
            [9, "m", "here"],
            [10, "o", "end"],
        ]
        (folder / "0short.1.cast").write_text(
            head + "".join(json.dumps(entry) + "\n" for entry in shown)
        )
        (folder / "0sealed.1.cast.age").write_bytes(b"age-encryption.org/v1\n")
        yield found.start()


def colours(tab: Tab, scheme: str, motion: str = "no-preference") -> None:
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": motion},
    ]
    tab.call("Emulation.setEmulatedMedia", features=features)


def violations(tab: Tab) -> list[str]:
    """Return what axe-core finds wrong, one line each: the rule, the element, and why."""
    tab.until("document.readyState === 'complete'")
    tab.ask(f"window.axe ? 0 : (() => {{ {AXE.read_text()} }})() || 0")
    document = json.loads(
        tab.ask(f"axe.run(document, {json.dumps(RULES)}).then(r => JSON.stringify(r.violations))")
    )
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in document
        for node in rule["nodes"]
    ]


def at_sign_in(tab: Tab, base: str) -> None:
    tab.call("Network.clearBrowserCookies")
    tab.open(f"{base}/sign-in")


def at_wrong_password(tab: Tab, base: str) -> None:
    at_sign_in(tab, base)
    tab.ask("document.getElementById('name').value = 'nobody'")
    tab.ask("document.getElementById('secret').focus()")
    tab.type("wrong")
    tab.enter()
    tab.until("document.querySelector('[role=alert]') !== null")


def at_link(tab: Tab, base: str) -> None:
    tab.open(f"{base}/link#secret")
    tab.until("!document.querySelector('#link button').disabled")


def at_home(tab: Tab, base: str) -> None:
    tab.call("Network.clearBrowserCookies")
    sign_in(tab, base)
    tab.until("document.querySelector('button.copy')?.hidden === false")


def at_row_menu(tab: Tab, base: str) -> None:
    at_home(tab, base)
    click(tab, "#app-list summary")
    tab.until("document.querySelector('details.more[open]') !== null")


def at_palette(tab: Tab, base: str) -> None:
    at_home(tab, base)
    tab.ask("document.getElementById('go').click()")
    tab.until("document.querySelectorAll('#palette [role=option]').length > 3")


def at_shortcuts(tab: Tab, base: str) -> None:
    at_home(tab, base)
    tab.press("?", "Slash", 191, text="?")
    tab.until("document.getElementById('shortcuts').open")


def at_account(tab: Tab, base: str) -> None:
    """With a new token, and a sign-in in another browser."""
    PlainBrowser(int(base.rpartition(":")[2])).sign_in()
    at_home(tab, base)
    tab.open(f"{base}/account")
    click(tab, "form[action$='/tokens/add'] button")
    tab.until("document.getElementById('new-token') !== null")


def at_invitation(tab: Tab, base: str) -> None:
    tab.call("Network.clearBrowserCookies")
    tab.open(f"{base}/invitation#secret&name=newcomer")
    tab.until("document.activeElement.id === 'new'")


def at_empty_home(tab: Tab, base: str) -> None:
    tab.call("Network.clearBrowserCookies")
    sign_in(tab, base, name="newcomer")


def at_refused(tab: Tab, base: str) -> None:
    at_home(tab, base)
    tab.open(f"{base}/app/secret")


def at_missing(tab: Tab, base: str) -> None:
    tab.open(f"{base}/nowhere")


def at_terminal(tab: Tab, base: str) -> None:
    # Another each time: the person who was in it last may be on their way out, and this would be asked about.
    terminal(tab, base, f"axe-{next(NUMBERS)}")


def at_terminal_with_all_open(tab: Tab, base: str) -> None:
    """The settings, the search, the bar of keys, a hint, and what is read aloud."""
    at_terminal(tab, base)
    tab.ask("document.getElementById('menu').click()")
    for name in ("screenReader", "keyBar"):
        if not tab.ask(f"document.querySelector('[name={name}]').checked"):
            click(tab, f"[name={name}]")
    tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
    tab.press("F", "KeyF", 70, modifiers=2 | 8)
    tab.until("!document.getElementById('search').hidden")
    tab.press("Control", "ControlLeft", 17)
    tab.until("!document.getElementById('hint').hidden")


def at_more(tab: Tab, base: str) -> None:
    at_terminal(tab, base)
    click(tab, "#more")
    tab.until("document.getElementById('more-menu').matches(':popover-open')")


def at_end(tab: Tab, base: str) -> None:
    at_terminal(tab, base)
    run(tab, "exit")
    tab.until("document.getElementById('status').dataset.state === 'over'")


def at_question(tab: Tab, base: str) -> None:
    at_terminal(tab, base)
    tab.ask(
        "(() => { const t = new DataTransfer(); t.setData('text/plain', 'one\\ntwo');"
        " document.querySelector('.xterm-helper-textarea').dispatchEvent(new ClipboardEvent('paste',"
        " {clipboardData: t, bubbles: true, cancelable: true})); })()"
    )
    tab.until("document.getElementById('ask').open")


def at_recordings(tab: Tab, base: str) -> None:
    at_home(tab, base)
    tab.open(f"{base}/recordings")


def at_replay(tab: Tab, base: str) -> None:
    at_home(tab, base)
    tab.open(f"{base}/recordings/0short.1")
    tab.until("document.body.dataset.looked === 'true'")


def at_requests(tab: Tab, base: str) -> None:
    at_home(tab, base)
    tab.open(f"{base}/requests")
    tab.until("document.querySelector('main .card') !== null")


def at_runs(tab: Tab, base: str) -> None:
    at_home(tab, base)
    tab.open(f"{base}/runs")
    tab.until("document.querySelector('main .card') !== null")


def at_sign_in_over_terminal(tab: Tab, base: str) -> None:
    at_terminal(tab, base)
    tab.call("Network.clearBrowserCookies")
    tab.ask("dispatchEvent(new Event('offline'))")
    tab.until("document.getElementById('sign-in').open")


def at_sealed(tab: Tab, base: str) -> None:
    at_home(tab, base)
    tab.open(f"{base}/recordings/0sealed.1")


PAGES: tuple[Callable[[Tab, str], None], ...] = (
    at_sign_in, at_wrong_password, at_link, at_home, at_row_menu, at_palette, at_shortcuts,
    at_account, at_invitation, at_empty_home,
    at_refused, at_missing, at_terminal, at_terminal_with_all_open, at_more, at_end, at_question,
    at_sign_in_over_terminal, at_requests, at_runs, at_recordings, at_replay, at_sealed,
)  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__.removeprefix("at_"))
def test_axe_finds_nothing(tab: Tab, base: str, page: Callable[[Tab, str], None]) -> None:
    colours(tab, "light")
    page(tab, base)
    problems = violations(tab)
    colours(tab, "dark")
    tab.until("(document.documentElement.dataset.theme ?? 'dark') === 'dark'")
    # What a terminal shows is drawn in its colours with the next frame.
    tab.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    problems += [f"in dark, {violation}" for violation in violations(tab)]
    tab.ask("localStorage.clear()")
    assert not problems, "\n".join(problems)


def focused(tab: Tab) -> str:
    """Return what has the focus, by its text or name."""
    return str(
        tab.ask(
            "(e => e.tagName === 'BODY' ? 'BODY' : e.id || e.name || e.textContent.trim())"
            "(document.activeElement)"
        )
    )


def forward(tab: Tab) -> str:
    tab.press("Tab", "Tab", 9)
    return focused(tab)


def seen(tab: Tab) -> bool:
    """Return whether the focus can be seen: a ring of some width, or the field's own."""
    return bool(
        tab.ask(
            "(s => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2)"
            "(getComputedStyle(document.activeElement))"
        )
    )


def walked_by_keys(tab: Tab) -> list[str]:
    """Return what the Tab key leads to, each of it visible."""
    walked: list[str] = []
    while (name := forward(tab)) != "BODY" and len(walked) < 60:
        assert seen(tab), f"the focus on {name} is not to be seen"
        walked.append(name)
    return walked


def test_the_home_page_and_the_account_are_walked_by_keys_alone(tab: Tab, base: str) -> None:
    at_home(tab, base)
    walked = walked_by_keys(tab)
    for wanted in ("Recordings", "Account", "Sign out", "wanted", "Open", "⋯"):
        assert wanted in walked, walked
    # In the order that it is read.
    assert walked.index("Sign out") < walked.index("Open")
    tab.open(f"{base}/account")
    walked = walked_by_keys(tab)
    for wanted in (
        "Apps",
        "present",
        "Change password",
        "apps",
        "Make a token",
        "signature",
        "Add",
    ):
        assert wanted in walked, walked
    assert walked.index("Sign out") < walked.index("present") < walked.index("signature")
    tab.open(f"{base}/")
    tab.ask("document.querySelector('#app-list a.button').focus()")
    tab.enter()
    ready(tab)


def test_the_terminal_gives_the_focus_back_to_keys(tab: Tab, base: str) -> None:
    """Tab is the shell's, so another key leads out of it, and on to the settings and back."""
    at_terminal(tab, base)
    tab.until("document.activeElement.matches('.xterm-helper-textarea')")
    tab.press("Tab", "Tab", 9)
    assert tab.ask("document.activeElement.matches('.xterm-helper-textarea')")
    tab.press("M", "KeyM", 77, modifiers=1 | 8)
    tab.until("!document.getElementById('settings').hidden")
    tab.until("document.activeElement.name === 'theme'")
    walked = []
    while (name := forward(tab)) in (
        "palette",
        "readable",
        "fontSize",
        "copyOnSelect",
        "pasteGuard",
        "screenReader",
        "keyBar",
        "remap",
    ):
        assert seen(tab)
        walked.append(name)
    assert walked[:5] == ["palette", "readable", "fontSize", "copyOnSelect", "pasteGuard"]
    tab.ask("document.querySelector('[name=screenReader]').focus()")
    tab.press(" ", "Space", 32, text=" ")
    tab.until("document.querySelector('.xterm-accessibility') !== null")
    tab.press(" ", "Space", 32, text=" ")
    tab.until("document.querySelector('.xterm-accessibility') === null")
    tab.press("Escape", "Escape", 27)
    tab.until("document.getElementById('settings').hidden")
    tab.until("document.activeElement.matches('.xterm-helper-textarea')")
    tab.ask("localStorage.clear()")


def test_nothing_blinks_or_moves_for_whom_that_disturbs(tab: Tab, base: str) -> None:
    colours(tab, "dark", "reduce")
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    at_terminal(tab, base)
    tab.until("document.querySelector('.xterm.focus .xterm-cursor') !== null")
    assert not tab.ask("document.querySelector('.xterm-cursor-blink') !== null")
    assert tab.ask("document.getAnimations().length") == 0
    colours(tab, "dark")
    for off in ("true", "false"):
        tab.until(
            "document.querySelector('.xterm-cursor-blink') !== null &&"
            f" (document.querySelector('.xterm.cursor-off') !== null) === {off}"
        )
    # For an animation the page would be drawn at each frame of the display.
    assert tab.ask("document.getAnimations().length") == 0


@pytest.mark.parametrize("width", [320, 360, 640, 800, 960, 1100])
def test_nothing_is_wider_than_a_small_window(tab: Tab, base: str, width: int) -> None:
    """400 % larger, a window of 1280 pixels has 320 (WCAG 2.1 §1.4.10)."""
    tab.resize(width, 640)
    for page in (
        at_sign_in,
        at_home,
        at_account,
        at_recordings,
        at_replay,
        at_refused,
        at_terminal,
    ):
        page(tab, base)
        wide = tab.ask(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 0, f"{page.__name__} is {wide} pixels too wide"
