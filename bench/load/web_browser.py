"""A terminal in a real Chromium, ours or another's: all are xterm.js, without WebGL."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from acceptance.chromium import Browser, BrowserError, Tab, chromium, find_chromium
from load.tunnel import LoadError
from peers import NAME, PASSWORD, MissingError
from peers.web_gateway import APP, WebGateway
from peers.web_peer import ROWS, TITLE, WebPeer

PATIENCE_S = 55.0
"""Less than the DevTools are waited for (`acceptance.chromium.ANSWER_S`), so that a page is heard."""
PROMPT = "ready>"
"""What the shells in these terminals ask with."""
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
  const look = () => { if (%s.includes(%s)) found(); else setTimeout(look, 10) };
  setTimeout(() => never(new Error("the title has not come")), %d);
  look();
})
"""
"""Told by the page: to ask it again and again would take a tenth of the machine from what is measured."""
RESTS = """
new Promise((rests) => {
  const text = () => document.title + document.body.innerText;
  let last = text(), since = performance.now();
  const look = () => {
    const now = text();
    if (now !== last) [last, since] = [now, performance.now()];
    if (performance.now() - since > 2500) rests();
    else setTimeout(look, 50);
  };
  look();
})
"""
"""Told by the page once its text has been the same for a while: some show a size for two seconds."""
SAID = """
globalThis.benchSaid = new Promise((found) => {
  const text = () => document.title + document.body.innerText;
  const before = text(), begin = performance.now();
  const look = () => {
    const now = text(), passed = performance.now() - begin;
    if (now !== before) {
      let at = 0;
      while (now[at] === before[at]) at++;
      found([passed, now.slice(at, at + 80)]);
    } else if (passed > %d) found([0, ""]);
    else setTimeout(look, 20);
  };
  look();
}); 0
"""
"""The milliseconds until any text of the page is another, and that text; 0 if it never is."""
_CONTROL = 2


@dataclass
class Page:
    """One terminal on one page. Raises LoadError where the page does not do what it is there for."""

    tab: Tab
    rows: str = ROWS
    title: str = "document.title"
    says: str = TITLE

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
        """Seconds for a file, from Enter until the page has drawn the mark at its end, as its title."""
        with _browsing():
            self.show()
            says = self.says % f"{mark[:1]}''{mark[1:]}"
            self.run(f"stty -opost; cat {path}; stty opost; printf '{says}'")
            begin = time.perf_counter()
            self.tab.ask(TITLED % (self.title, json.dumps(mark), PATIENCE_S * 1e3))
            return time.perf_counter() - begin

    def interrupt_s(self, flood_s: float) -> float:
        """Seconds from Ctrl-C, in the midst of `yes`, until the prompt is on the page."""
        with _browsing():
            self.show()
            self.run("clear; yes")
            self.until(f"{self.rows}.filter(row => row.trim() === 'y').length > 20")
            time.sleep(flood_s)  # the flood is what is measured
            asked = f"{self.rows}.some(row => row.startsWith({json.dumps(PROMPT)}))"
            self.until(f"!{asked}")
            self.tab.ask(WATCH % asked)
            self.tab.press("c", "KeyC", 67, _CONTROL)
            return float(self.tab.ask("benchFound")) / 1e3

    def key_s(self, letter: str, expected: str) -> float:
        """Seconds from a key until the first row ends with `expected`."""
        with _browsing():
            ends = f"({self.rows}[0] ?? '').trimEnd().endsWith({json.dumps(expected)})"
            self.tab.ask(WATCH % ends)
            self.tab.press(letter, f"Key{letter.upper()}", ord(letter.upper()), text=letter)
            return float(self.tab.ask("benchFound")) / 1e3

    def escape_s(self) -> float:
        """Seconds from Escape, in vim, until it no longer says that it inserts."""
        with _browsing():
            inserts = f"{self.rows}.some(row => row.includes('-- INSERT --'))"
            self.tab.press("i", "KeyI", ord("I"), text="i")
            self.until(inserts)
            self.tab.ask(WATCH % f"!{inserts}")
            self.tab.press("Escape", "Escape", 27)
            return float(self.tab.ask("benchFound")) / 1e3

    def silence_s(self, begin: Callable[[], None], bound_s: float) -> tuple[float, str]:
        """`begin` the silence, and type a key: seconds until the page says something, and what.

        (0, "") if it says nothing within `bound_s`.
        """
        with _browsing():
            self.tab.ask(RESTS)
            self.tab.ask(SAID % (bound_s * 1e3))
            begin()
            self.tab.press("x", "KeyX", ord("X"), text="x")
            passed, said = self.tab.ask("benchSaid")
            return float(passed) / 1e3, " ".join(said.split())

    def raw(self) -> None:
        """From now on what is typed is shown at once, by `cat`, on an empty screen."""
        self.show()
        self.run("clear; stty raw -echo; exec cat")
        self.until(self.first_row_empty)

    @property
    def first_row_empty(self) -> str:
        return f"{self.rows}[0].trim() === ''"

    def load_all(self) -> None:
        """Open the page's address once more, with nothing of it in any cache."""
        with _browsing():
            self.tab.call("Network.enable")
            self.tab.call("Network.setCacheDisabled", cacheDisabled=True)
            self.tab.call("Network.setBypassServiceWorker", bypass=True)
            first_prompt_s(self)
            self.tab.call("Network.disable")

    def leave(self) -> None:
        """Show nothing more."""
        with contextlib.suppress(BrowserError):
            self.tab.open("about:blank")

    def close(self) -> None:
        with contextlib.suppress(BrowserError):
            self.tab.end()


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Raises MissingError."""
    if find_chromium() is None:
        raise MissingError("no Chromium is installed (apt-get install chromium)")
    # Without WebGL, which some of the pages would have the processor draw.
    with _browsing(), chromium(folder, "--disable-3d-apis", whole=True) as running:
        yield running


def ours(running: Browser, port: int, terminal: str) -> Page:
    """Signed in, and at a terminal whose shell is ready."""
    with _browsing():
        return _ready(Page(_opened(running, port, terminal)))


def tmuxed(running: Browser, gateway: WebGateway, terminal: str) -> Page:
    """Signed in, at a new terminal, whose tmux is ready."""
    with _browsing():
        page = Page(_opened(running, gateway.web, terminal))
        page.until(f"{ROWS}.some(row => row.startsWith('['))")
        page.run(f"clear; PS1='{PROMPT} '")
        return _ready(page)


def _opened(running: Browser, port: int, terminal: str) -> Tab:
    with _browsing():
        tab = running.tab()
        base = f"http://127.0.0.1:{port}"
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
        return tab


def others(running: Browser, peer: WebPeer, port: int, terminal: str) -> Page:
    """At `port`, which leads to `peer`; `terminal` is for those that name theirs."""
    with _browsing():
        base = f"http://127.0.0.1:{port}"
        tab = running.tab(base if peer.sign_in else "about:blank")
        if peer.sign_in:
            tab.ask(peer.sign_in)
        tab.open(base + peer.path.format(terminal=terminal))
        return _ready(Page(tab, peer.rows, peer.title, peer.says))


def first_prompt_s(page: Page) -> float:
    """Seconds to open the page's address once more, until the shell's prompt is drawn."""
    with _browsing():
        page.show()
        address = page.tab.ask("location.href")
        page.tab.open("about:blank")
        begin = time.perf_counter()
        page.tab.call("Page.navigate", url=address)
        page.tab.until(f"{page.rows}.some(row => row.includes({json.dumps(PROMPT)}))")
        return time.perf_counter() - begin


def _ready(page: Page) -> Page:
    # Else Chromium tells us each WebSocket frame whole, in base64, which costs more than the way to the page.
    page.tab.call("Network.disable")
    page.until(f"{page.rows}.some(row => row.includes({json.dumps(PROMPT)}))")
    return page


@contextlib.contextmanager
def _browsing() -> Iterator[None]:
    try:
        yield
    except BrowserError as error:
        raise LoadError(f"Chromium: {' '.join(str(error).split())[:200]}") from None
