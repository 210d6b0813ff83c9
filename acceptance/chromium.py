"""A driver for a Chromium without a window, over its DevTools protocol.

It has only what is needed here: open a page, evaluate expressions in it, type into it. A driver with its own
browser and runtime would be a hundred times as large. (https://chromedevtools.github.io/devtools-protocol/)
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PAGES_ALONE = "chromium-headless-shell"
"""The same Chromium, built without the browser's own windows: a tab takes half as much CPU time."""
_TOGETHER = ("--in-process-gpu", "--renderer-process-limit=1")
"""Options of that build, by which pages share a process: most pages live shorter than a process starts."""
START_S = 60.0
ANSWER_S = 60.0
END_S = 5.0
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The address bar's popups and a new tab are pages too, each as much work as a terminal at each start.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup",
    "--remote-debugging-port=0",
    "--window-size=1000,700",
)


class BrowserError(Exception):
    """The browser did not do what the caller requested."""


def find_chromium() -> str | None:
    """Return the path of an installed Chromium, or None."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Tab:
    """A connection to one page, or to the whole browser.

    `trouble` has the errors and exceptions on the page's console; `dialogs` has the kinds of the dialogs that
    it opened, each of which is accepted.
    """

    def __init__(self, url: str, *, page: bool = True) -> None:
        """Connect to the DevTools at the WebSocket `url`."""
        self._until_closed = ExitStack()
        self._line: ClientConnection = self._until_closed.enter_context(
            connect(url, max_size=None, compression=None, proxy=None, ping_interval=None)
        )
        self._number = 0
        self.trouble: list[str] = []
        self.dialogs: list[str] = []
        # Not the Network domain, which would report each byte of a terminal.
        for domain in ("Page", "Runtime", "Log") if page else ():
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol and return its result. Raises BrowserError."""
        self._number += 1
        number = self._number  # a dialog that opens meanwhile is answered with the next number
        self._line.send(json.dumps({"id": number, "method": method, "params": parameters}))
        deadline = time.monotonic() + ANSWER_S
        while True:
            try:
                said = json.loads(self._line.recv(max(deadline - time.monotonic(), 0)))
            except (TimeoutError, ConnectionClosed) as error:
                raise BrowserError(f"{method}: no answer ({error})") from None
            if said.get("id") == number:
                if "error" in said:
                    raise BrowserError(f"{method}: {said['error'].get('message')}")
                result: dict[str, Any] = said["result"]
                return result
            self._handle(said)

    def open(self, url: str) -> None:
        """Open `url` and wait until the page is loaded. Raises BrowserError."""
        answer = self.call("Page.navigate", url=url)
        if answer.get("errorText"):
            raise BrowserError(f"{url}: {answer['errorText']}")
        self.until("document.readyState === 'complete'")

    def ask(self, expression: str, *, gesture: bool = False) -> Any:
        """Evaluate a JavaScript expression, await it and return its value.

        With `gesture`, it runs as if a person had clicked. Raises BrowserError for an exception.
        """
        answer = self.call(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
            userGesture=gesture,
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            text = details.get("exception", {}).get("description") or details.get("text")
            raise BrowserError(f"{expression[:80]}: {text}")
        return answer["result"].get("value")

    def until(self, expression: str, bound_s: float = ANSWER_S) -> Any:
        """Evaluate an expression until it is true; return its value. Raises BrowserError after `bound_s`."""
        began = time.monotonic()
        while True:
            problem: object = None
            # While the page changes, nothing can evaluate it.
            try:
                if value := self.ask(expression):
                    return value
            except BrowserError as error:
                problem = error
            waited_s = time.monotonic() - began
            if waited_s > bound_s:
                raise BrowserError(f"never true: {expression} ({problem}; {self.trouble[-3:]})")
            # Each evaluation is work for three processes.
            time.sleep(min(0.1, 0.02 + waited_s / 20))

    def type(self, text: str) -> None:
        """Insert text into the focused element, as if it were typed or composed."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: str, number: int, modifiers: int = 0, text: str = "") -> None:
        """Press and release a key. `modifiers` is a sum of Alt 1, Ctrl 2, Meta 4, Shift 8."""
        shared = {
            "key": key,
            "code": code,
            "windowsVirtualKeyCode": number,
            "modifiers": modifiers,
        }
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.call("Input.dispatchKeyEvent", **shared, **down)
        self.call("Input.dispatchKeyEvent", type="keyUp", **shared)

    def enter(self) -> None:
        """Press Enter."""
        self.press("Enter", "Enter", 13, text="\r")

    def resize(self, width: int, height: int, *, scale: int = 1, phone: bool = False) -> None:
        """Resize the window, in CSS pixels of `scale` screen pixels. `phone` lays pages out as on a phone."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=phone,
        )  # fmt: skip

    def picture(self) -> str:
        """Return a screenshot as PNG in base64."""
        return str(self.call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """Close the connection; the page stays open."""
        self._until_closed.close()

    def end(self) -> None:
        """Close the page without its consent, and return once it is closed. Raises BrowserError.

        `Page.close` would ask a page in which a job runs. It would stay, and its dialog would hide the next
        page, which then draws nothing.
        """
        target = self.call("Target.getTargetInfo")["targetInfo"]["targetId"]
        self.call("Target.closeTarget", targetId=target)
        deadline = time.monotonic() + ANSWER_S
        with suppress(ConnectionClosed):
            while True:
                try:
                    self._line.recv(max(deadline - time.monotonic(), 0))
                except TimeoutError:
                    raise BrowserError("the page is not closed") from None
        self.close()

    def _handle(self, said: dict[str, Any]) -> None:
        parameters = said.get("params", {})
        match said.get("method"):
            case "Runtime.exceptionThrown":
                self.trouble.append(
                    str(parameters["exceptionDetails"].get("exception", parameters))
                )
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.trouble.append(parameters["entry"]["text"])
            case "Page.javascriptDialogOpening":
                self.dialogs.append(parameters["type"])
                self._number += 1
                answer = {"id": self._number, "method": "Page.handleJavaScriptDialog"}
                self._line.send(json.dumps({**answer, "params": {"accept": True}}))


class Browser:
    """A running Chromium with its own profile."""

    def __init__(self, address: str) -> None:
        self._address = address

    @property
    def port(self) -> int:
        """The port of its DevTools on this machine."""
        return int(self._address.rpartition(":")[2])

    def tab(self, url: str = "about:blank") -> Tab:
        """Open a new page."""
        request = urllib.request.Request(
            f"http://{self._address}/json/new?about:blank", method="PUT"
        )
        with _opener().open(request, timeout=ANSWER_S) as answer:
            tab = Tab(json.load(answer)["webSocketDebuggerUrl"])
        if url != "about:blank":
            tab.open(url)
        return tab

    def apart(self) -> Tab:
        """Open a new page in its own context, which shares no cookies with any other page."""
        with _opener().open(f"http://{self._address}/json/version", timeout=ANSWER_S) as answer:
            browser = Tab(json.load(answer)["webSocketDebuggerUrl"], page=False)
        context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=context)
        browser.close()
        return Tab(f"ws://{self._address}/devtools/page/{target['targetId']}")

    def pages(self, url: str) -> list[str]:
        """Return the DevTools addresses of the pages whose URL begins with `url`."""
        with _opener().open(f"http://{self._address}/json/list", timeout=ANSWER_S) as answer:
            return [
                target["webSocketDebuggerUrl"]
                for target in json.load(answer)
                if target["type"] == "page" and target["url"].startswith(url)
            ]

    def attach(self, url: str) -> Tab:
        """Connect to an open page whose URL begins with `url`; wait for one. Raises BrowserError."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            for page in self.pages(url):
                return Tab(page)
            time.sleep(0.05)
        raise BrowserError(f"no page {url} is open")


def _opener() -> urllib.request.OpenerDirector:
    # Ignore a proxy from the environment, which cannot reach this machine's loopback.
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def chromium(
    folder: Path, *options: str, headless: bool = True, whole: bool = False
) -> Iterator[Browser]:
    """Run a Chromium that ends with the block; `folder` is empty and becomes its profile.

    `whole` demands the complete browser, for example for the permissions of pages. Raises BrowserError.
    """
    alone = shutil.which(PAGES_ALONE) if headless and not whole else None
    program = alone or find_chromium()
    if program is None:
        raise BrowserError("no Chromium is installed; as root: apt-get install chromium")
    head = (("--headless=new",) if headless else ()) + (_TOGETHER if alone else ())
    # Chromium binds a Unix socket below TMPDIR, whose path may have 107 characters (unix(7)), and may
    # leave it behind.
    with tempfile.TemporaryDirectory(
        prefix="stagedoor-", dir="/tmp", ignore_cleanup_errors=True
    ) as short:
        process = subprocess.Popen(
            [program, *head, *_OPTIONS, f"--user-data-dir={folder}", *options, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": short},
            start_new_session=True,
        )
        try:
            yield Browser(_address_of(folder / "DevToolsActivePort", process))
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            _end_group(process)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill the processes that Chromium started, which would still write into the profile for a moment."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + END_S
    while _runs(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.wait()


def _runs(group: int) -> bool:
    """Return True if a process of the group still runs and is not a zombie (proc(5))."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has just ended
            state, _, its = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its) == group and state not in "ZX":
                return True
    return False


def _address_of(file: Path, process: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError, ValueError, IndexError):  # not written yet, or incomplete
            return f"127.0.0.1:{int(file.read_text().splitlines()[0])}"
        time.sleep(0.02)
    if process.poll() is not None:
        raise BrowserError(f"Chromium ended with {process.returncode} before it listened")
    raise BrowserError(f"Chromium did not start within {START_S:g} s")
