"""The pages and their states, each with the way to it: for axe-core's rules and for the languages."""

import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from acceptance.chromium import Tab
from stagedoor.wire.terminal.frames import FrameKind
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import WebTerminal, basic, post, ticket
from tests.login.machine import Key, Machine
from tests.waiting import wait_until
from tests.web.browser.conftest import become, click, ready, run, shows, terminal
from tests.web.test_run_pages import start, until_over

NUMBERS = itertools.count()
LIVE = "live"
"""The terminal in which another client of dev is."""


@contextmanager
def live_terminal(port: int, app: str = "app01") -> Iterator[None]:
    client = WebTerminal(port)
    client.hello(ticket(port, app), terminal=LIVE)
    try:
        yield
    finally:
        client.close()


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
    become(tab, base)
    tab.open(f"{base}/")
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
    become(tab, base)
    tab.open(f"{base}/account")
    click(tab, "form[action$='/tokens/add'] button")
    tab.until("document.getElementById('new-token') !== null")


def at_invitation(tab: Tab, base: str) -> None:
    tab.call("Network.clearBrowserCookies")
    tab.open(f"{base}/invitation#secret&name=newcomer")
    tab.until("document.activeElement.id === 'new'")


def at_empty_home(tab: Tab, base: str) -> None:
    become(tab, base, "newcomer")
    tab.open(f"{base}/")


def at_refused(tab: Tab, base: str) -> None:
    become(tab, base)
    tab.open(f"{base}/app/secret")


def at_missing(tab: Tab, base: str) -> None:
    tab.open(f"{base}/nowhere")


def at_terminal(tab: Tab, base: str) -> None:
    # Another each time: the person who was in it last may be on their way out, and this would be asked about.
    terminal(tab, base, f"axe-{next(NUMBERS)}")


def at_terminal_with_all_open(tab: Tab, base: str) -> None:
    """The settings, the search, the bar of keys, a hint, and what is read aloud."""
    at_terminal(tab, base)
    tab.ask("document.getElementById('settings-button').click()")
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


def at_files(tab: Tab, base: str) -> None:
    at_terminal(tab, base)
    tab.ask("document.getElementById('files-menu').click()")
    tab.until("document.querySelector('#browse li') !== null")


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
    tab.until("document.getElementById('confirm-paste').open")


def at_people(tab: Tab, base: str) -> None:
    """The people of a locked terminal."""
    at_terminal(tab, base)
    click(tab, "#people")
    click(tab, "#lock")
    tab.until("document.querySelector('#people .locked') !== null")


def at_share(tab: Tab, base: str) -> None:
    """The dialog of a locked terminal, with a link."""
    at_people(tab, base)
    tab.ask("document.getElementById('dialog').close()")
    tab.ask("document.getElementById('share').click()")
    click(tab, "#dialog-body form .primary")
    tab.until("document.getElementById('share-link') !== null")


def at_terminals(tab: Tab, base: str) -> None:
    """The list, with the question before a terminal is ended."""
    at_terminal(tab, base)
    tab.ask("document.getElementById('terminals').click()")
    click(tab, "#dialog li button")
    tab.until("document.activeElement.parentElement.matches('#dialog li > span')")


def at_terminal_in_use(tab: Tab, base: str) -> None:
    become(tab, base)
    tab.open(f"{base}/app/app01?terminal={LIVE}")
    tab.until("document.querySelectorAll('#dialog .answers button').length === 3")


def fitted(tab: Tab) -> None:
    """Wait until a terminal with the size of another window is drawn so small that it fits this one."""
    ready(tab)
    fits = "(e => e !== null && e.scrollWidth <= e.clientWidth + 1)"
    screen = "document.querySelector('#screen.beyond')"
    tab.until(f"{fits}({screen}) && {fits}({screen}.querySelector('.xterm-rows'))")


def at_watched(tab: Tab, base: str) -> None:
    lead = PlainBrowser(int(base.rpartition(":")[2]))
    lead.sign_in("lead")

    def find_link() -> str | None:
        link = re.search(r'href="(/watch/[^"]+)"', lead.get("/").text)
        return link and link[1]

    wait_until(find_link)
    become(tab, base, "lead")
    tab.open(f"{base}{find_link()}")
    fitted(tab)


def at_shared_terminal(tab: Tab, base: str) -> None:
    terms = json.dumps({"target": "app01", "terminal": LIVE}).encode()
    _, share, _ = post(int(base.rpartition(":")[2]), "/api/share", terms, basic())
    become(tab, base, "lead")
    tab.open(f"{base}/shared#{share['fragment']}")
    click(tab, "#open")
    fitted(tab)


def at_lost_line(tab: Tab, base: str) -> None:
    tab.call("Network.enable")
    at_terminal(tab, base)
    none = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    tab.call("Network.emulateNetworkConditions", offline=True, **none)
    tab.until("document.getElementById('status').dataset.state === 'lost'")


def at_silent_line(tab: Tab, base: str) -> None:
    at_terminal(tab, base)
    tab.ask("WebSocket.prototype.send = () => undefined")
    run(tab, "true")
    tab.until("document.getElementById('status').dataset.state === 'silent'")


def at_start(tab: Tab, base: str) -> None:
    """The steps of the first start of app02, whose last the page does not hear of."""
    unheard = f"(data) => new Uint8Array(data)[0] === {int(FrameKind.WELCOME)}"
    tab.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="window.WebSocket = class extends WebSocket { set onmessage(handle) {"
        f" super.onmessage = (event) => ({unheard})(event.data) || handle(event); }} }}",
    )
    become(tab, base)
    tab.open(f"{base}/app/app02")
    tab.until("document.querySelector('#starting li') !== null")


def at_search_in_tmux(tab: Tab, base: str) -> None:
    at_home(tab, base)
    tab.ask("localStorage.setItem('stagedoor.settings', '{\"tmux\": true}')")
    at_terminal(tab, base)
    shows(tab, "[axe-")
    run(tab, "seq 300")
    shows(tab, "300")
    tab.press("F", "KeyF", 70, modifiers=2 | 8)
    tab.until("document.getElementById('history') !== null")
    tab.type("20")
    tab.until("document.getElementById('found').textContent !== ''")


def at_recordings(tab: Tab, base: str) -> None:
    become(tab, base)
    tab.open(f"{base}/recordings")


def at_replay(tab: Tab, base: str) -> None:
    become(tab, base)
    tab.open(f"{base}/recordings/0short.1")
    tab.until("document.body.dataset.looked === 'true'")


def at_requests(tab: Tab, base: str) -> None:
    become(tab, base)
    tab.open(f"{base}/requests")
    tab.until("document.querySelector('main .card') !== null")


def at_request(tab: Tab, base: str) -> None:
    become(tab, base)
    tab.open(f"{base}/requests/1")


def at_request_to_decide_on(tab: Tab, base: str) -> None:
    become(tab, base, "lead")
    tab.open(f"{base}/requests/1")


def at_run(tab: Tab, base: str) -> None:
    become(tab, base)
    port = int(base.rpartition(":")[2])
    run_id = start(port, "printf one")
    dev = PlainBrowser(port)
    dev.sign_in()
    until_over(dev, run_id)
    tab.open(f"{base}/runs/{run_id}")


def at_step_up(tab: Tab, base: str) -> None:
    become(tab, base)
    tab.open(f"{base}/step-up")


def at_client(tab: Tab, base: str) -> None:
    tab.open(f"{base}/client")


def at_login(tab: Tab, base: str) -> None:
    with TemporaryDirectory() as folder:
        _, begun = Machine(base, Key(Path(folder))).start()
    become(tab, base)
    tab.open(f"{base}/login/{begun['id']}")


def at_shared(tab: Tab, base: str) -> None:
    tab.call("Network.clearBrowserCookies")
    tab.open(f"{base}/shared#secret")
    tab.until("document.getElementById('open').hidden === false")


def at_runs(tab: Tab, base: str) -> None:
    become(tab, base)
    tab.open(f"{base}/runs")
    tab.until("document.querySelector('main .card') !== null")


def at_sign_in_over_terminal(tab: Tab, base: str) -> None:
    at_terminal(tab, base)
    tab.call("Network.clearBrowserCookies")
    tab.ask("dispatchEvent(new Event('offline'))")
    tab.until("document.getElementById('sign-in').open")


def at_sealed(tab: Tab, base: str) -> None:
    become(tab, base)
    tab.open(f"{base}/recordings/0sealed.1")


PAGES: tuple[Callable[[Tab, str], None], ...] = (
    at_sign_in, at_wrong_password, at_link, at_home, at_row_menu, at_palette, at_shortcuts,
    at_account, at_invitation, at_empty_home,
    at_refused, at_missing, at_terminal, at_terminal_with_all_open, at_more, at_files, at_end, at_question,
    at_people, at_share, at_terminals, at_terminal_in_use, at_watched, at_shared_terminal,
    at_lost_line, at_silent_line, at_start, *([at_search_in_tmux] if shutil.which("tmux") else []),
    at_sign_in_over_terminal, at_requests, at_request, at_request_to_decide_on, at_runs, at_run,
    at_step_up, at_client, at_login, at_shared, at_recordings, at_replay, at_sealed,
)  # fmt: skip
