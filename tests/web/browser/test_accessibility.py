"""Every page in each look, and what no rule sees: keys alone, and motion."""

import json
from collections.abc import Callable, Iterator

import pytest

from acceptance.chromium import Tab
from stagedoor.admin.requests import access_requests
from stagedoor.model.access_request import RequestRule
from stagedoor.model.permission import Permission
from stagedoor.model.target import Target
from tests.fixtures.gateway import Gateway
from tests.web.browser.conftest import ready
from tests.web.browser.looks import colours, needs_axe, problems_of
from tests.web.browser.states import PAGES, at_home, at_terminal, live_terminal
from tests.web.conftest import SETTINGS

pytestmark = needs_axe
ACCOUNTS = '\n[accounts]\nself_service = ["password", "tokens", "keys"]\n'
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKq0nBHbVUnPWtJjJ4zBFw0Mt2AplGYVGYgVTjbTpWpV laptop"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("accessible"), SETTINGS + ACCOUNTS) as found:
        found.add_user("dev", "app01", "app02")
        found.add_user("newcomer")
        found.add_user("lead", "app01")
        found.permit("user:dev", "app01", Permission.RUN)
        with found.service() as service:
            rule = RequestRule(0, "user:dev", "secret", approvers=("user:lead",))
            rule = access_requests.add_rule(service, rule)
            access_requests.make_request(service, "dev", [Target("secret")], rule, "INC-42, stuck")
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
        found.permit("user:lead", "app01", Permission.WATCH)
        with live_terminal(found.start().port("web")):
            yield found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__.removeprefix("at_"))
def test_each_page_can_be_read_and_reached_in_each_look(
    tab: Tab, base: str, page: Callable[[Tab, str], None]
) -> None:
    """WCAG 2.1 §1.4.4 and §1.4.10, and axe-core's rules."""
    problems = problems_of(tab, page.__name__, lambda: page(tab, base))
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
        "fontFamily",
        "cursor",
        "copyOnSelect",
        "pasteGuard",
        "screenReader",
        "keyBar",
        "remap",
    ):
        assert seen(tab)
        walked.append(name)
    assert walked[:5] == ["palette", "readable", "fontSize", "fontFamily", "cursor"]
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
