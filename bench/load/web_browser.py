"""Terminals in a real Chromium, ours and others: all use xterm.js without WebGL."""

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
"""Less than the time limit of DevTools (`acceptance.chromium.ANSWER_S`), so that a page's error arrives."""
PROMPT = "ready>"
"""The prompt of the shells in these terminals."""
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
"""JavaScript for the milliseconds from the next key, as the browser got it, until a condition holds."""
TITLED = """
new Promise((found, never) => {
  const look = () => { if (%s.includes(%s)) found(); else setTimeout(look, 10) };
  setTimeout(() => never(new Error("the title has not come")), %d);
  look();
})
"""
"""JavaScript that waits for a title in the page: polling from here would take a tenth of the machine."""
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
"""JavaScript that waits until the page's text stays the same: some pages show a size for two seconds."""
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
"""JavaScript for the milliseconds until any text of the page changes, and the new text; 0 if it does not."""
_CONTROL = 2


@dataclass
class Page:
    """One terminal on one page. Its methods raise LoadError if the page does not do what it should."""

    tab: Tab
    rows: str = ROWS
    title: str = "document.title"
    says: str = TITLE

    def show(self) -> None:
        """Bring the page to the front: others draw nothing."""
        with _browsing():
            self.tab.call("Page.bringToFront")

    def run(self, line: str) -> None:
        """Type a line and Enter."""
        with _browsing():
            self.tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
            self.tab.type(line)
            self.tab.enter()

    def until(self, condition: str, bound_s: float = PATIENCE_S) -> None:
        """Wait until a JavaScript condition holds."""
        with _browsing():
            self.tab.until(condition, bound_s)

    def cat_s(self, path: Path, mark: str) -> float:
        """Return the seconds of a `cat`, from Enter until the title has the mark at its end."""
        with _browsing():
            self.show()
            says = self.says % f"{mark[:1]}''{mark[1:]}"
            self.run(f"stty -opost; cat {path}; stty opost; printf '{says}'")
            begin = time.perf_counter()
            self.tab.ask(TITLED % (self.title, json.dumps(mark), PATIENCE_S * 1e3))
            return time.perf_counter() - begin

    def interrupt_s(self, flood_s: float) -> float:
        """Return the seconds from Ctrl-C, while `yes` runs, until the prompt is on the page."""
        with _browsing():
            self.show()
            self.run("clear; yes")
            self.until(f"{self.rows}.filter(row => row.trim() === 'y').length > 20")
            time.sleep(flood_s)  # the flood is what is measured
            has_prompt = f"{self.rows}.some(row => row.startsWith({json.dumps(PROMPT)}))"
            self.until(f"!{has_prompt}")
            self.tab.ask(WATCH % has_prompt)
            self.tab.press("c", "KeyC", 67, _CONTROL)
            return float(self.tab.ask("benchFound")) / 1e3

    def key_s(self, letter: str, expected: str) -> float:
        """Return the seconds from a key until the first row ends with `expected`."""
        with _browsing():
            ends = f"({self.rows}[0] ?? '').trimEnd().endsWith({json.dumps(expected)})"
            self.tab.ask(WATCH % ends)
            self.tab.press(letter, f"Key{letter.upper()}", ord(letter.upper()), text=letter)
            return float(self.tab.ask("benchFound")) / 1e3

    def escape_s(self) -> float:
        """Return the seconds from Escape in vim until `-- INSERT --` disappears."""
        with _browsing():
            inserts = f"{self.rows}.some(row => row.includes('-- INSERT --'))"
            self.tab.press("i", "KeyI", ord("I"), text="i")
            self.until(inserts)
            self.tab.ask(WATCH % f"!{inserts}")
            self.tab.press("Escape", "Escape", 27)
            return float(self.tab.ask("benchFound")) / 1e3

    def silence_s(self, begin: Callable[[], None], bound_s: float) -> tuple[float, str]:
        """Call `begin`, which starts a silence, and type a key; return when and how the page reacts.

        The result is the seconds until its text changes and the new text, or (0, "") after `bound_s`.
        """
        with _browsing():
            self.tab.ask(RESTS)
            self.tab.ask(SAID % (bound_s * 1e3))
            begin()
            self.tab.press("x", "KeyX", ord("X"), text="x")
            passed, said = self.tab.ask("benchSaid")
            return float(passed) / 1e3, " ".join(said.split())

    def raw(self) -> None:
        """Run `cat` in raw mode on an empty screen, so that typed keys are shown at once."""
        self.show()
        self.run("clear; stty raw -echo; exec cat")
        self.until(self.first_row_empty)

    @property
    def first_row_empty(self) -> str:
        """The JavaScript condition that the first row is empty."""
        return f"{self.rows}[0].trim() === ''"

    def load_all(self) -> None:
        """Open the page's address again, without any cache."""
        with _browsing():
            self.tab.call("Network.enable")
            self.tab.call("Network.setCacheDisabled", cacheDisabled=True)
            self.tab.call("Network.setBypassServiceWorker", bypass=True)
            first_prompt_s(self)
            self.tab.call("Network.disable")

    def leave(self) -> None:
        """Leave the page, so that it does no more work."""
        with contextlib.suppress(BrowserError):
            self.tab.open("about:blank")

    def close(self) -> None:
        """Close the page."""
        with contextlib.suppress(BrowserError):
            self.tab.end()


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Run a Chromium with its profile in `folder`. Raises MissingError, LoadError."""
    if find_chromium() is None:
        raise MissingError("no Chromium is installed (apt-get install chromium)")
    # Without WebGL, which would be drawn by the CPU for some of the pages.
    with _browsing(), chromium(folder, "--disable-3d-apis", whole=True) as running:
        yield running


def ours(running: Browser, port: int, terminal: str) -> Page:
    """Sign in, and open one of our terminals whose shell is ready. Raises LoadError."""
    with _browsing():
        return _ready(Page(_open_terminal(running, port, terminal)))


def tmuxed(running: Browser, gateway: WebGateway, terminal: str) -> Page:
    """Sign in, and open a new terminal of our page whose tmux is ready. Raises LoadError."""
    with _browsing():
        page = Page(_open_terminal(running, gateway.web, terminal))
        page.until(f"{ROWS}.some(row => row.startsWith('['))")
        page.run(f"clear; PS1='{PROMPT} '")
        return _ready(page)


def _open_terminal(running: Browser, port: int, terminal: str) -> Tab:
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
    """Open a terminal of `peer`, reached at `port`. `terminal` is for peers whose terminals have names.

    Raises LoadError.
    """
    with _browsing():
        base = f"http://127.0.0.1:{port}"
        tab = running.tab(base if peer.sign_in else "about:blank")
        if peer.sign_in:
            tab.ask(peer.sign_in)
        tab.open(base + peer.path.format(terminal=terminal))
        return _ready(Page(tab, peer.rows, peer.title, peer.says))


def first_prompt_s(page: Page) -> float:
    """Open the page's address again; return the seconds until the prompt is drawn. Raises LoadError."""
    with _browsing():
        page.show()
        address = page.tab.ask("location.href")
        page.tab.open("about:blank")
        begin = time.perf_counter()
        page.tab.call("Page.navigate", url=address)
        page.tab.until(f"{page.rows}.some(row => row.includes({json.dumps(PROMPT)}))")
        return time.perf_counter() - begin


def _ready(page: Page) -> Page:
    # Or Chromium would send us each WebSocket frame in base64, which costs more than the page itself.
    page.tab.call("Network.disable")
    page.until(f"{page.rows}.some(row => row.includes({json.dumps(PROMPT)}))")
    return page


@contextlib.contextmanager
def _browsing() -> Iterator[None]:
    try:
        yield
    except BrowserError as error:
        raise LoadError(f"Chromium: {' '.join(str(error).split())[:200]}") from None
