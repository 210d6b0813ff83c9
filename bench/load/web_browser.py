"""A terminal in a real Chromium, ours or ttyd's: both are xterm.js with the DOM renderer."""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from acceptance.chromium import Browser, BrowserError, Tab, chromium, found
from load.tunnel import LoadError
from peers import NAME, PASSWORD, MissingError
from peers.ttyd import Ttyd
from peers.web_gateway import APP, WebGateway

PATIENCE_S = 55.0
"""Less than the DevTools are waited for (`acceptance.chromium.ANSWER_S`), so that a page is heard."""
PROMPT = "ready>"
"""What the shells in these terminals ask with."""
ROWS = "[...document.querySelectorAll('.xterm-rows > div')].map(row => row.textContent)"
WATCH = """
globalThis.benchFound = new Promise((found) => {
  let at = 0;
  addEventListener("keydown", (event) => { at = at || event.timeStamp }, { capture: true, once: true });
  const look = () => {
    if (at && (%s)) found(performance.now() - at);
    else setTimeout(look, 1);
  };
  look();
}); 0
"""
"""The milliseconds from the next key, as the browser got it, until the condition holds on the page."""
TITLED = """
new Promise((found, never) => {
  const look = () => { if (document.title.includes(%s)) found() };
  new MutationObserver(look).observe(document.head, { subtree: true, childList: true, characterData: true });
  setTimeout(() => never(new Error("the title has not come")), %d);
  look();
})
"""
"""Told by the page: to ask it again and again would take a tenth of the machine from what is measured."""
_CONTROL = 2


@dataclass
class Page:
    """One terminal on one page. Raises LoadError where the page does not do what it is there for."""

    tab: Tab

    def show(self) -> None:
        """Be the page that is seen: others draw nothing."""
        with _browsing():
            self.tab.call("Page.bringToFront")

    def run(self, line: str) -> None:
        """Type a line."""
        with _browsing():
            self.tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
            self.tab.type(line)
            self.tab.enter()

    def until(self, condition: str, bound_s: float = PATIENCE_S) -> None:
        with _browsing():
            self.tab.until(condition, bound_s)

    def cat_s(self, path: Path, mark: str) -> float:
        """Seconds for a file, from Enter until the page has drawn its end: it sets the title."""
        with _browsing():
            self.show()
            self.run(
                f"stty -opost; cat {path}; stty opost; printf '\\033]0;{mark[:1]}''{mark[1:]}\\007'"
            )
            begin = time.perf_counter()
            self.tab.ask(TITLED % (json.dumps(mark), PATIENCE_S * 1e3))
            return time.perf_counter() - begin

    def interrupt_s(self, flood_s: float) -> float:
        """Seconds from Ctrl-C, in the midst of `yes`, until the prompt is on the page."""
        with _browsing():
            self.show()
            self.run("clear; yes")
            self.until(f"{ROWS}.filter(row => row.trim() === 'y').length > 20")
            time.sleep(flood_s)  # the flood is what is measured
            self.tab.ask(WATCH % f"{ROWS}.some(row => row.startsWith({json.dumps(PROMPT)}))")
            self.tab.press("c", "KeyC", 67, _CONTROL)
            return float(self.tab.ask("benchFound")) / 1e3

    def key_s(self, letter: str, expected: str) -> float:
        """Seconds from a key until the first row ends with `expected`."""
        with _browsing():
            ends = f"({ROWS}[0] ?? '').trimEnd().endsWith({json.dumps(expected)})"
            self.tab.ask(WATCH % ends)
            self.tab.press(letter, f"Key{letter.upper()}", ord(letter.upper()), text=letter)
            return float(self.tab.ask("benchFound")) / 1e3

    def close(self) -> None:
        with contextlib.suppress(BrowserError):
            self.tab.end()


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Raises MissingError."""
    if found() is None:
        raise MissingError("no Chromium is installed (apt-get install chromium)")
    with _browsing(), chromium(folder) as running:
        yield running


def ours(running: Browser, gateway: WebGateway, terminal: str) -> Page:
    """Signed in, and at a terminal whose shell is ready."""
    with _browsing():
        tab = running.tab()
        base = f"http://127.0.0.1:{gateway.web}"
        page = f"/app/{APP}?terminal={terminal}"
        tab.open(base + page)
        if tab.ask("location.pathname") == "/sign-in":
            for field, text in (("name", NAME), ("secret", PASSWORD)):
                tab.ask(f"document.getElementById('{field}').focus()")
                tab.type(text)
            tab.enter()
            tab.until("location.pathname !== '/sign-in'")
            tab.open(base + page)
        tab.until("document.getElementById('status')?.dataset.state === 'open'")
        return _ready(tab)


def ttyds(running: Browser, ttyd: Ttyd) -> Page:
    with _browsing():
        return _ready(running.tab(f"http://127.0.0.1:{ttyd.port}/"))


def first_prompt_s(page: Page) -> float:
    """Seconds to open the page's address once more, until the shell's prompt is drawn."""
    with _browsing():
        page.show()
        address = page.tab.ask("location.href")
        page.tab.open("about:blank")
        begin = time.perf_counter()
        page.tab.call("Page.navigate", url=address)
        page.tab.until(f"{ROWS}.some(row => row.includes({json.dumps(PROMPT)}))")
        return time.perf_counter() - begin


def _ready(tab: Tab) -> Page:
    page = Page(tab)
    # Else Chromium tells us each WebSocket frame whole, in base64, which costs more than the way to the page.
    tab.call("Network.disable")
    page.until(f"{ROWS}.some(row => row.includes({json.dumps(PROMPT)}))")
    return page


@contextlib.contextmanager
def _browsing() -> Iterator[None]:
    try:
        yield
    except BrowserError as error:
        raise LoadError(f"Chromium: {error}") from None
