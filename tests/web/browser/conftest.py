"""A real Chromium before a real gateway. Skipped, with a word why, where there is no browser."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from acceptance.chromium import Browser, BrowserError, Tab, chromium, find_chromium
from stagedoor.listeners.web.pages.assets import FOLDER
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.fixtures.people import PlainBrowser
from tests.waiting import BOUND_S

TERMINAL = "document.querySelector('.xterm-rows')"


@pytest.fixture(scope="session")
def shared_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all modules that a worker runs; ask for `browser`."""
    if find_chromium() is None:
        pytest.skip("no Chromium is installed; as root: apt-get install chromium")
    if not (FOLDER / "terminal.js").exists():
        pytest.skip("the page is not built: script/web")
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="module")
def browser(shared_browser: Browser) -> Iterator[Browser]:
    """In which no other module is signed in or was allowed something; its gateway has a port of its own,
    and so its pages an origin of their own."""
    yield shared_browser
    last = shared_browser.tab()
    last.call("Network.clearBrowserCookies")
    last.call("Browser.resetPermissions")
    last.end()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    opened = browser.tab()
    try:
        yield opened
    finally:
        opened.end()


@pytest.fixture
def second(browser: Browser) -> Iterator[Tab]:
    """A page in a window of its own, without the cookies of `tab`; a hidden page is not drawn."""
    opened = browser.apart()
    try:
        yield opened
    finally:
        opened.end()


@pytest.fixture
def base(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def sign_in_by_form(
    tab: Tab, base: str, path: str = "/", name: str = "dev", secret: str = PASSWORD
) -> None:
    """As a person does; then at `path`."""
    tab.open(f"{base}/sign-in?next={path}")
    tab.ask("document.getElementById('name').focus()")
    tab.type(name)
    tab.ask("document.getElementById('secret').focus()")
    tab.type(secret)
    tab.enter()
    there = f"location.pathname === {json.dumps(path.partition('?')[0])}"
    tab.until(f"{there} && document.readyState === 'complete'")


def sign_in(tab: Tab, base: str, path: str = "/", name: str = "dev") -> None:
    """Sign in anew, without the form's two pages; then at `path`."""
    _COOKIES.pop((base, name), None)
    become(tab, base, name)
    tab.open(f"{base}{path}")


_COOKIES: dict[tuple[str, str], str] = {}
"""The cookie of a person at a gateway, by its address and their name."""


def become(tab: Tab, base: str, name: str = "dev") -> None:
    """Give the browser the cookie of a person, who signed in elsewhere, and no other."""
    tab.call("Network.clearBrowserCookies")
    if (cookie := _COOKIES.get((base, name))) is None:
        person = PlainBrowser(int(base.rpartition(":")[2]))
        assert person.sign_in(name).status == 303
        cookie = _COOKIES[base, name] = person.cookie
    key, _, value = cookie.partition("=")
    tab.call("Network.setCookie", url=base, name=key, value=value, httpOnly=True, sameSite="Strict")


def terminal(tab: Tab, base: str, name: str, app: str = "app01") -> None:
    """A terminal of that name, attached, its shell ready."""
    path = f"/app/{app}?terminal={name}"
    become(tab, base)
    tab.open(base + path)
    if tab.ask("location.pathname") == "/sign-in":  # a test has ended that sign-in
        sign_in(tab, base, path)
    ready(tab)


def ready(tab: Tab) -> None:
    try:
        tab.until("document.getElementById('status')?.dataset.state === 'open'")
    except BrowserError as error:
        raise AssertionError(f"{error}; {tab.ask(STATE)}") from None


KEEPS_STEPS = (
    "window.steps = []; addEventListener('DOMContentLoaded', () => new MutationObserver(() => {"
    " const list = document.getElementById('starting');"
    " if (list) window.steps.push(list.innerText); })"
    ".observe(document.body, {childList: true, subtree: true}))"
)
"""Run in a new page, it keeps in "window.steps" what the list of a start's steps shows, at each change."""
SCREEN = (
    "[...document.querySelectorAll('.xterm-rows > div')]"
    ".map(row => row.textContent.replaceAll('\\u00a0', ' ').trimEnd()).join('\\n')"
)
STATES = (
    "window.states = []; new MutationObserver(() => window.states.push("
    "document.getElementById('status').dataset.state)).observe("
    "document.getElementById('status'), {attributes: true, attributeFilter: ['data-state']})"
)
"""From here on the page keeps in "window.states" how its line fares; some states last for a moment."""
STATE = (
    "[location.href, document.getElementById('status')?.textContent, document.visibilityState,"
    " document.activeElement?.outerHTML.slice(0, 80), document.querySelector('dialog[open]')?.textContent]"
)


def screen(tab: Tab) -> str:
    """The rows as they are drawn, no-break spaces as spaces."""
    return str(tab.ask(SCREEN))


def shows(tab: Tab, text: str, bound_s: float = BOUND_S) -> str:
    try:
        tab.until(f"{SCREEN}.includes({json.dumps(text)})", bound_s)
    except BrowserError:
        raise AssertionError(f"no {text!r} in {screen(tab)!r}; {tab.ask(STATE)}") from None
    return screen(tab)


def columns(tab: Tab, text: str) -> list[float]:
    """Return where each character of the row that has just this text is drawn, in pixels."""
    places = tab.until(
        "(() => { for (const row of document.querySelectorAll('.xterm-rows > div')) {"
        f" if (row.textContent.trimEnd() !== {json.dumps(text)}) continue;"
        " const walk = document.createTreeWalker(row, NodeFilter.SHOW_TEXT); const all = [];"
        " for (let node = walk.nextNode(); node; node = walk.nextNode())"
        "  for (let at = 0; at < node.length; at++) { const r = document.createRange();"
        "   r.setStart(node, at); r.setEnd(node, at + 1); all.push(r.getBoundingClientRect().x); }"
        " return all.slice(0, row.textContent.trimEnd().length); } })()"
    )
    return [float(x) for x in places]


def hides(tab: Tab, text: str) -> None:
    """Wait until it is no more to be seen: what a page has taken in is drawn with one of its next frames."""
    tab.until(f"!{SCREEN}.includes({json.dumps(text)})")


def run(tab: Tab, line: str) -> None:
    """Type a line into the terminal."""
    tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
    tab.type(line)
    tab.enter()


def choose(tab: Tab, name: str, value: object) -> None:
    """A setting, as by its field."""
    tab.ask(
        "((name, value) => { const f = document.querySelector(`#settings [name=${name}]`);"
        " if (f.type === 'checkbox') f.checked = value; else f.value = value;"
        f" f.dispatchEvent(new Event('change')); }})({json.dumps(name)}, {json.dumps(value)})"
    )


def click(tab: Tab, selector: str) -> None:
    """As a person does, once it is there: in its middle, with a real press of the button."""
    where = json.loads(
        tab.until(
            f"(found => {{ if (!found) return; found.scrollIntoView({{block: 'nearest'}});"
            " const box = found.getBoundingClientRect();"
            " return box.width && JSON.stringify([box.x + box.width / 2, box.y + box.height / 2]); })"
            f"(document.querySelector({json.dumps(selector)}))"
        )
    )
    for kind in ("mousePressed", "mouseReleased"):
        tab.call(
            "Input.dispatchMouseEvent",
            type=kind, x=where[0], y=where[1], button="left", clickCount=1,
        )  # fmt: skip


Where = Callable[[str], Path]
__all__ = [
    "KEEPS_STEPS",
    "Gateway",
    "choose",
    "click",
    "hides",
    "ready",
    "run",
    "screen",
    "shows",
    "sign_in",
    "sign_in_by_form",
    "terminal",
]
