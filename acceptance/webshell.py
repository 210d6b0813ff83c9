"""Checks of the WebShell: a link in a program and in a real Chromium, and `stagedoor attach` in a pipe."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from acceptance.chromium import BrowserError, Tab, chromium, find_chromium
from acceptance.person import Person
from acceptance.verdict import FailedError, NotHereError, expect
from stagedoor.demo.clients import DemoLogin
from stagedoor.listeners.web.pages.assets import FOLDER

ATTACH_S = 60.0
Drive = Callable[[Path], object]


def drives(
    stagedoor: tuple[str, ...], url: str, login: DemoLogin, link: Callable[[], str]
) -> dict[str, Drive]:
    """Return the checks by name. `url` is the WebShell's; `link` makes a one-time link."""
    return {
        "WebShell by HTTP and WebSocket": lambda _: _socket(url, link()),
        "WebShell in a browser": lambda folder: _browser(folder, link()),
        "stagedoor attach": lambda _: _attach(stagedoor, url, login),
    }


def _socket(url: str, link: str) -> str:
    """Sign in by a link and type into the terminal of app01, without a browser."""
    person = Person(url)
    person.follow(link)
    person.in_terminal("app01", "echo in=$((40+2))-$APP_NAME", "in=42-app01")
    return "a one-time link, then its terminal"


def _browser(folder: Path, link: str) -> str:
    """Sign in by a link to app01 and type into its terminal, in Chromium."""
    if not (FOLDER / "terminal.js").exists():
        raise NotHereError("the page is not built: script/web")
    if find_chromium() is None:
        raise NotHereError(packages=["chromium"])
    try:
        with chromium(folder / "chromium") as browser:
            tab = browser.tab(link)
            try:
                return _drive(tab)
            finally:
                tab.close()
    except BrowserError as error:
        raise FailedError(str(error)) from None


def _drive(tab: Tab) -> str:
    tab.until("!document.querySelector('#link button').disabled")
    tab.ask("document.querySelector('#link button').click()")
    tab.until("document.getElementById('status')?.dataset.state === 'open'")
    tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
    tab.type("echo in=$((40+2))-$APP_NAME")
    tab.enter()
    tab.until("document.querySelector('.xterm-rows').textContent.includes('in=42-app01')")
    expect(not tab.trouble, f"the page complained: {tab.trouble[:1]}")
    return "a one-time link, then its terminal"


def _attach(stagedoor: tuple[str, ...], url: str, login: DemoLogin) -> None:
    done = subprocess.run(
        [
            *stagedoor, "attach", "--url", url, "--user", login.user, "--token-file",
            str(login.token_file), "--via", "direct", "app01", "--", "sh", "-c",
            "printf %s-42 $APP_NAME",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ATTACH_S,
        check=False,
    )  # fmt: skip
    expect(done.returncode == 0, f"it ended with {done.returncode}: {done.stderr.strip()[:200]}")
    expect(done.stdout == "app01-42", f"it showed {done.stdout[:200]!r}")
