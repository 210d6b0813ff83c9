"""A driver for a Firefox on a screen of its own, by WebDriver BiDi and real X key events.

`FirefoxTab` has the methods of `acceptance.chromium.Tab`, so that both browsers have the same stories. Keys
go through the X server (xdotool), and so through all of the browser's own shortcuts.
(https://w3c.github.io/webdriver-bidi/)
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from acceptance.chromium import START_S, BrowserError, Tab

PROGRAMS = ("firefox-esr", "firefox")
NEEDED = ("Xvfb", "xdotool")
_PREFERENCES = {
    "browser.aboutwelcome.enabled": False,
    "browser.download.alwaysOpenPanel": False,
    "browser.download.folderList": 2,
    "browser.helperApps.neverAsk.saveToDisk": "application/octet-stream",
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.tabs.warnOnClose": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    # Without a GPU the processor draws each frame, and each process of the browser takes a second to start.
    "layout.frame_rate": 20,
    "fission.autostart": False,
    "dom.ipc.processCount": 1,
    "dom.ipc.processPrelaunch.enabled": False,
    "media.rdd-process.enabled": False,
    "network.process.enabled": False,
    # A container has no user namespaces for its sandbox.
    "security.sandbox.content.level": 0,
}


def find_firefox() -> str | None:
    """Return the path of an installed Firefox, or None if it or what shows it is missing."""
    if any(shutil.which(name) is None for name in NEEDED):
        return None
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


@contextmanager
def x_screen() -> Iterator[str]:
    """Run an X server without a monitor; yield its DISPLAY. Xvfb takes a free number and prints it.

    Keys are not repeated (`-r`): on a busy machine xdotool may release a key later than Xvfb repeats one.
    """
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1200x800x24", "-nolisten", "tcp", "-r"],
        pass_fds=[write],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        with os.fdopen(read) as pipe:
            yield f":{pipe.readline().strip()}"
    finally:
        server.terminate()
        server.wait(20)


class FirefoxTab(Tab):
    """A page in a Firefox on the X screen `display`."""

    def __init__(self, line: ClientConnection, display: str, context: str) -> None:
        self._line = line
        self._until_closed = ExitStack()
        self._display = display
        self._context = context
        self._number = 0
        self.trouble: list[str] = []
        self.dialogs: list[str] = []

    def open(self, url: str) -> None:
        """Open `url` and wait until the page is loaded. Raises BrowserError."""
        self.call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def ask(self, expression: str, *, gesture: bool = False) -> Any:
        """Evaluate a JavaScript expression, await it and return its value. Raises BrowserError."""
        answer = self.call(
            "script.evaluate",
            expression=f"(async () => JSON.stringify((await ({expression})) ?? null))()",
            target={"context": self._context},
            awaitPromise=True,
            userActivation=gesture,
        )
        if answer["type"] != "success":
            raise BrowserError(f"{expression[:80]}: {answer['exceptionDetails']['text']}")
        return json.loads(answer["result"]["value"])

    def type(self, text: str) -> None:
        """Type text by real keys."""
        self._xdotool("type", "--delay", "8", "--", text)

    def keys(self, *names: str) -> None:
        """Press keys by X's names for them, such as `ctrl+shift+c`."""
        self._xdotool("key", "--clearmodifiers", *names)

    def enter(self) -> None:
        """Press Enter."""
        self.keys("Return")

    def click(self, x: float, y: float, count: int = 1) -> None:
        """Click at a point of the page, by the real mouse's button."""
        press = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        move = {"type": "pointerMove", "x": round(x), "y": round(y)}
        self.call(
            "input.performActions",
            context=self._context,
            actions=[{"type": "pointer", "id": "mouse", "actions": [move, *press * count]}],
        )

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files for a file field, as by the browser's own dialog."""
        node = self.call(
            "browsingContext.locateNodes",
            context=self._context,
            locator={"type": "css", "value": selector},
        )["nodes"][0]
        self.call(
            "input.setFiles",
            context=self._context,
            element={"sharedId": node["sharedId"]},
            files=[str(file) for file in files],
        )

    def resize(self, width: int, height: int, *, scale: int = 1, phone: bool = False) -> None:
        """Resize the page, in CSS pixels."""
        viewport = {"width": width, "height": height}
        self.call("browsingContext.setViewport", context=self._context, viewport=viewport)

    def picture(self) -> str:
        """Return a screenshot as PNG in base64."""
        return str(self.call("browsingContext.captureScreenshot", context=self._context)["data"])

    def apart(self) -> "FirefoxTab":
        """Open a page that shares no cookies with this one, behind it."""
        user = self.call("browser.createUserContext")["userContext"]
        answer = self.call("browsingContext.create", type="tab", userContext=user, background=True)
        return FirefoxTab(self._line, self._display, answer["context"])

    def focus_window(self) -> None:
        """Click into the window: without a window manager none gets the keys."""
        self._xdotool("mousemove", "600", "500", "click", "1")

    def show(self) -> None:
        """Bring the page to the front, where it gets the keys."""
        self.call("browsingContext.activate", context=self._context)

    def end(self) -> None:
        """Close the page."""
        self.call("browsingContext.close", context=self._context)

    def _handle(self, said: dict[str, Any]) -> None:
        parameters = said.get("params", {})
        if said.get("method") == "log.entryAdded" and parameters["level"] == "error":
            self.trouble.append(str(parameters["text"]))

    def _xdotool(self, *words: str) -> None:
        subprocess.run(
            ["xdotool", *words], env={**os.environ, "DISPLAY": self._display}, check=True
        )


@contextmanager
def firefox(folder: Path) -> Iterator[FirefoxTab]:
    """Run a Firefox that ends with the block; `folder` becomes its profile, its downloads are in `downloads`.

    Raises BrowserError.
    """
    program = find_firefox()
    if program is None:
        raise BrowserError("Firefox is missing; as root: apt-get install firefox-esr xvfb xdotool")
    (folder / "downloads").mkdir(parents=True)
    preferences = {**_PREFERENCES, "browser.download.dir": str(folder / "downloads")}
    (folder / "user.js").write_text(
        "".join(f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in preferences.items())
    )
    with x_screen() as display, ExitStack() as stack:
        process = subprocess.Popen(
            [program, "--no-remote", "--profile", str(folder), "--remote-debugging-port=0",
             "--width", "1200", "--height", "800", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "DISPLAY": display, "HOME": str(folder), "MOZ_DISABLE_CONTENT_SANDBOX": "1"},
        )  # fmt: skip
        stack.callback(_end, process)
        address = _address_of(folder / "WebDriverBiDiServer.json", process)
        line = stack.enter_context(
            connect(address, max_size=None, compression=None, proxy=None, ping_interval=None)
        )
        tab = FirefoxTab(line, display, "")
        behaviour = {"unhandledPromptBehavior": {"default": "accept"}}
        tab.call("session.new", capabilities={"alwaysMatch": behaviour})
        tab.call("session.subscribe", events=["log.entryAdded"])
        [context, *_] = tab.call("browsingContext.getTree")["contexts"]
        tab = FirefoxTab(line, display, context["context"])
        tab.focus_window()
        yield tab


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    process.kill()
    process.wait()


def _address_of(file: Path, process: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError, ValueError, KeyError):  # not written yet, or incomplete
            said = json.loads(file.read_text())
            return f"ws://{said['ws_host']}:{said['ws_port']}/session"
        time.sleep(0.05)
    raise BrowserError(f"Firefox did not start within {START_S:g} s")
