"""The WebShell's acceptance list in a real Chromium: what is pasted, what is foreign, what is secret.

Numbers are those of the list.
"""

import hashlib
import json
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from acceptance.chromium import Browser, Tab
from stagedoor.wire.terminal.frames import SUBPROTOCOL
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.waiting import wait_until
from tests.web.browser.conftest import ready, run, shows, terminal

CTRL, SHIFT = 2, 8

TAKES_A_PASTE = r"""
import os, sys, tty
tty.setraw(0)
os.write(1, b"\x1b[?2004hre" + b"ady")
taken = bytearray()
while not taken.endswith(b"\x1b[201~"):
    taken += os.read(0, 65536)
with open(sys.argv[1], "wb") as file:
    file.write(taken)
os.write(1, b"\x1b[?2004l\r\narri" + b"ved\r\n")
"""


def a_megabyte() -> str:
    """Lines of characters that take one to four bytes, so that any frame may end within one."""
    chance = random.Random(9)
    pieces, left = [], 1024 * 1024
    while left > 0:
        piece = chance.choice("ab ~\néßя你語→😀𝄞")
        pieces.append(piece)
        left -= len(piece.encode())
    return "".join(pieces)


@pytest.mark.webshell(9)
def test_9_a_megabyte_from_the_clipboard_arrives_byte_for_byte(
    tab: Tab, base: str, tmp_path: Path
) -> None:
    for name in ("clipboard-read", "clipboard-write"):
        tab.call("Browser.setPermission", permission={"name": name}, setting="granted", origin=base)
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    terminal(tab, base, "clipboard")
    program, taken = tmp_path / "takes.py", tmp_path / "taken"
    program.write_text(TAKES_A_PASTE)
    run(tab, f"clear; {sys.executable} {program} {taken}; stty sane")
    shows(tab, "ready")
    text = a_megabyte()
    tab.ask(f"navigator.clipboard.writeText({json.dumps(text)})")
    # The key as a person presses it, and what the browser does for it.
    tab.call(
        "Input.dispatchKeyEvent",
        type="rawKeyDown", key="V", code="KeyV", windowsVirtualKeyCode=86,
        modifiers=CTRL | SHIFT, commands=["paste"],
    )  # fmt: skip
    shows(tab, "arrived", 60)
    # A terminal's Enter is CR; what is copied ends its lines with LF.
    sent = b"\x1b[200~" + text.replace("\n", "\r").encode() + b"\x1b[201~"
    got = taken.read_bytes()
    assert len(got) == len(sent)
    assert hashlib.sha256(got).digest() == hashlib.sha256(sent).digest()


class Watching(Tab):
    """A second line to a page's DevTools, which hears what the browser asks of servers."""

    def __init__(self, browser: Browser, tab: Tab) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        page = tab.call("Target.getTargetInfo")["targetInfo"]["targetId"]
        super().__init__(f"ws://127.0.0.1:{browser.port}/devtools/page/{page}")
        self.call("Network.enable")

    def _handle(self, said: dict[str, Any]) -> None:
        self.heard.append((said.get("method", ""), said.get("params", {})))
        super()._handle(said)

    def all(self, method: str) -> list[dict[str, Any]]:
        """The events of that name so far."""
        self.ask("0")  # what was reported before its answer has come before it
        return [parameters for name, parameters in self.heard if name == method]

    def urls(self) -> list[str]:
        """Return what was asked for, and from where. No server gets a fragment: Chromium keeps it apart."""
        requests = [event["request"] for event in self.all("Network.requestWillBeSent")]
        sockets = [event["url"] for event in self.all("Network.webSocketCreated")]
        froms = [event["headers"].get("Referer", "") for event in requests]
        return [*(request["url"] for request in requests), *froms, *sockets]

    def statuses(self, path: str) -> list[int]:
        """How the server answered over HTTP, each time; whether or not the page was let see it."""
        asked = {
            event["requestId"]: event["request"]["url"]
            for event in self.all("Network.requestWillBeSent")
        }
        return [
            event["statusCode"]
            for event in self.all("Network.responseReceivedExtraInfo")
            if asked.get(event["requestId"], "").endswith(path)
        ]

    def refusals(self) -> list[str]:
        """Return what Chromium says of each WebSocket that was not opened."""
        return [event["errorMessage"] for event in self.all("Network.webSocketFrameError")]


@pytest.fixture
def watching(browser: Browser, tab: Tab) -> Iterator[Watching]:
    with closing(Watching(browser, tab)) as second:
        yield second


@contextmanager
def foreign_site() -> Iterator[int]:
    """The port of a foreign server with an empty page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>foreign</title><body>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            serving.join()


OPENS_A_SOCKET = """
(port => new Promise(done => {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/terminal`, 'SUBPROTOCOL');
  socket.onopen = () => { done('open'); socket.close(); };
  socket.onclose = event => done(event.code);
}))
""".replace("SUBPROTOCOL", SUBPROTOCOL)

# There is no promise that a frame which is blocked reports a load to its page.
FRAMES = """
(url => {
  const frame = document.createElement('iframe');
  frame.src = url;
  document.body.append(frame);
  return true;
})
"""


@pytest.mark.webshell(12)
@pytest.mark.parametrize(
    ("host", "refused"),
    argvalues=[("127.0.0.1", 403), ("localhost", 401)],
    ids=["same-site", "cross-site"],
)
def test_12_a_foreign_page_gets_no_socket_no_ticket_and_no_frame(
    tab: Tab, watching: Watching, base: str, port: int, host: str, refused: int
) -> None:
    terminal(tab, base, f"foreign-{host.replace('.', '-')}")
    # What is refused below is open to our own page.
    assert tab.ask(f"{OPENS_A_SOCKET}({port})") == "open"
    with foreign_site() as foreign:
        tab.open(f"http://{host}:{foreign}/")
        watching.all("")
        watching.heard.clear()
        assert tab.ask(f"{OPENS_A_SOCKET}({port})") == 1006
        [refusal] = watching.refusals()
        assert refusal.endswith("403")
        # To the same host, whatever its port, the browser sends the cookie along, Strict or not.
        asked = {"method": "POST", "credentials": "include", "body": '{"target": "app01"}'}
        for mode in ("cors", "no-cors"):
            options = json.dumps({**asked, "mode": mode})
            read = f"fetch('{base}/api/ticket', {options}).then(() => 'read', () => 'blocked')"
            assert tab.ask(read) == "blocked"
        wait_until(lambda: len(watching.statuses("/api/ticket")) == 2)
        assert set(watching.statuses("/api/ticket")) == {refused}
        tab.trouble.clear()
        tab.ask(f"{FRAMES}('{base}/app/app01?terminal=framed')")
        wait_until(
            lambda: tab.ask("0") or any("frame-ancestors" in trouble for trouble in tab.trouble)
        )
        [child] = tab.call("Page.getFrameTree")["frameTree"].get("childFrames", [None])
        # Nothing yet, or the browser's own page that says so.
        assert child is None or child["frame"]["url"].partition(":")[0] in ("", "chrome-error")
        assert len(watching.all("Network.webSocketCreated")) == 1, (
            "the framed page opened a terminal"
        )


@pytest.mark.webshell(12)
@pytest.mark.parametrize("osc", [0, 2])
def test_12_a_title_of_html_is_shown_and_runs_nothing(
    tab: Tab, watching: Watching, base: str, osc: int
) -> None:
    terminal(tab, base, f"title-{osc}")
    html = "<img src=x-of-title onerror=window.bad=1>"
    run(tab, f"printf '\\033]{osc};{html}\\a'; echo do''ne")
    shows(tab, "done")
    tab.until(f"document.getElementById('title').textContent === {json.dumps(html)}")
    assert str(tab.ask("document.title")).startswith(html)
    assert tab.ask("document.getElementById('title').children.length") == 0
    assert tab.ask("document.images.length") == 0
    assert tab.ask("typeof window.bad") == "undefined"
    assert not [url for url in watching.urls() if "x-of-title" in url]


@pytest.mark.webshell(12)
def test_12_no_secret_is_in_what_the_browser_asks_for_or_in_a_log(
    tab: Tab, watching: Watching, base: str, gateway: Gateway
) -> None:
    def ticket_and_cookie() -> list[str]:
        asked = [
            event["requestId"]
            for event in watching.all("Network.responseReceived")
            if event["response"]["url"].endswith("/api/ticket")
        ]
        body = watching.call("Network.getResponseBody", requestId=asked[-1])["body"]
        cookies = tab.call("Network.getCookies", urls=[base])["cookies"]
        return [json.loads(body)["ticket"], *(cookie["value"] for cookie in cookies)]

    terminal(tab, base, "careful")
    run(tab, "echo typed-with-care; echo do''ne")
    shows(tab, "done")
    secrets = [PASSWORD, "typed-with-care", *ticket_and_cookie()]
    tab.call("Network.clearBrowserCookies")
    link = gateway.command("web-link", "dev", "--app", "app01", "--url", base).stdout.strip()
    secrets.append(link.partition("#")[2])
    tab.open(link)
    tab.until("!document.querySelector('#link button').disabled")
    tab.ask("document.querySelector('#link button').click()")
    tab.until("location.pathname === '/app/app01'")
    ready(tab)
    secrets += ticket_and_cookie()
    assert len(secrets) == len(set(secrets)) == 7
    assert min(map(len, secrets)) > 12
    urls = watching.urls()
    assert any(url.startswith("ws:") for url in urls)
    said = json.dumps([urls, gateway.lines, gateway.audit()])
    assert not [secret for secret in secrets if secret in said]
