"""Pictures of the WebShell for the documentation: `python -m acceptance.pictures FOLDER`."""

import asyncio
import base64
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from acceptance.chromium import Browser, BrowserError, Tab, chromium
from stagedoor.admin.roles import add_role
from stagedoor.admin.service import open_service
from stagedoor.demo.clients import USER, DemoUser
from stagedoor.demo.gateway import DemoGateway, run_demo
from stagedoor.model.errors import StagedoorError
from stagedoor.model.role import Role, RoleRule
from stagedoor.recording.folder import SUFFIX
from stagedoor.signin.links import make_link
from stagedoor.store.sessions import list_sessions
from stagedoor.wire.terminal.asciicast import (
    AsciicastEvent,
    AsciicastHeader,
    Code,
    encode_event,
    encode_header,
)


@dataclass(frozen=True, slots=True)
class Appearance:
    """A window and its person's preferences.

    `phone` means touch instead of a mouse; `scale` is the number of screen pixels in one CSS pixel.
    """

    scheme: str
    width: int
    height: int
    phone: bool = False
    scale: int = 1

    def apply(self, tab: Tab) -> None:
        """Apply the appearance to pages that are loaded afterwards, with a cursor that does not blink."""
        wanted = {"prefers-color-scheme": self.scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wanted.items()]
        tab.call("Emulation.setEmulatedMedia", features=features)
        tab.call("Emulation.setTouchEmulationEnabled", enabled=self.phone)
        tab.resize(self.width, self.height, scale=self.scale, phone=self.phone)


_COLLEAGUE = DemoUser("alice", ("app01",))
_DESK = Appearance("light", 1000, 640)
_PHONE = Appearance("light", 390, 640, phone=True)
_STEADY = """(() => {
  for (const time of document.querySelectorAll('time'))
    time.textContent = time.dataset.ago === undefined ? '2026-03-02 09:30' : '2 min ago';
  for (const key of document.querySelectorAll('ul.keys code'))
    key.textContent = 'SHA256:' + 'Zm9yIHRoZSBwaWN0dXJlIG9ubHk'.padEnd(43, 'x');
  for (const at of document.querySelectorAll('td.mono')) at.textContent = '10.2.8.31:50112';
  for (const id of document.querySelectorAll('#about code')) id.textContent = '0'.repeat(26) + '.1';
})()"""
"""JavaScript that replaces the values that differ in each demo: pictures change only when the page does."""


async def take(folder: Path) -> None:
    """Write `home.png`, `terminal.png`, `replay.png` and three more. Raises BrowserError, StagedoorError."""
    async with run_demo(_COLLEAGUE) as (demo, _):
        await asyncio.to_thread(_take, demo, folder)


def _take(demo: DemoGateway, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="stagedoor-pictures-") as profile,
        chromium(Path(profile)) as browser,
    ):
        tab = browser.tab()
        _DESK.apply(tab)
        _sign_in(tab, demo, USER)
        _open(tab, demo)
        # If tmux is installed, its status line would show the clock and the running program.
        tab.type(
            "PS1='$ '; tmux set status-right '' \\; rename-window sh 2>/dev/null; clear; "
            "echo $APP_NAME: $GREETING; printf '\\033[1;32mgreen\\033[m é你😀─│\\n'"
        )
        tab.enter()
        tab.until("document.querySelector('.xterm-rows').textContent.includes('green é你😀─│')")
        _save(tab, folder / "terminal.png")
        _take_together(browser, tab, demo, folder)
        with open_service(demo.settings, create=False) as service:
            session = list_sessions(service.database, limit=1)[0].id
            add_role(service, RoleRule(0, f"user:{USER}", Role.ADMINISTRATOR))
        tab.until("fetch('/admin/sessions').then(answer => answer.ok)")
        tab.open(f"{demo.web}/admin/sessions")
        tab.until("document.querySelector('main table') !== null")
        _save(tab, folder / "console-sessions.png")
        tab.open(f"{demo.web}/recordings/{recorded(demo, session)}")
        tab.until("document.body.dataset.looked === 'true'")
        tab.ask("document.getElementById('seek').value = 21")
        tab.ask("document.getElementById('seek').dispatchEvent(new Event('input'))")
        tab.until("document.querySelector('.xterm-rows').textContent.includes('ready')")
        _save(tab, folder / "replay.png")
        # The home page comes last, since there is a session by now, and it is over.
        over = "fetch('/').then(r => r.text()).then(page => !page.includes('<td>open</td>'))"
        tab.open(f"{demo.web}/")
        tab.until(over)
        tab.open(f"{demo.web}/")
        tab.until("!document.querySelector('button.copy').hidden")
        height = tab.ask("document.documentElement.scrollHeight")
        replace(_DESK, height=height).apply(tab)
        _save(tab, folder / "home.png")
        tab.close()


def _sign_in(tab: Tab, demo: DemoGateway, name: str) -> None:
    with open_service(demo.settings, create=False) as service:
        link = make_link(demo.settings, service, name, url=demo.web).url
    tab.open(link)
    tab.until("!document.querySelector('#link button').disabled")
    tab.ask("document.querySelector('#link button').click()")
    tab.until("document.querySelector('table.apps') !== null")


def _open(tab: Tab, demo: DemoGateway) -> None:
    tab.open(f"{demo.web}/app/app01")
    tab.until("document.getElementById('status')?.dataset.state === 'open'")
    tab.ask("document.querySelector('.xterm-helper-textarea').focus()")


def _take_together(browser: Browser, tab: Tab, demo: DemoGateway, folder: Path) -> None:
    """Take pictures of two people at one terminal, in windows of different size; the smaller typed last."""
    phone = browser.apart()  # a page in the background would not be drawn
    _PHONE.apply(phone)
    _sign_in(phone, demo, _COLLEAGUE.name)
    phone.open(f"{demo.web}/app/app01")
    phone.until("document.getElementById('company').open")
    phone.ask(
        "[...document.querySelectorAll('#company button')].find(b => b.textContent === 'Join in').click()"
    )
    phone.until("document.getElementById('status')?.dataset.state === 'open'")
    phone.ask("document.querySelector('.xterm-helper-textarea').focus()")
    phone.type("clear; echo both of us 'see this'")
    phone.enter()
    for page in (tab, phone):
        page.until(
            "document.querySelector('.xterm-rows').textContent.includes('both of us see this')"
        )
        page.until("document.getElementById('people').hidden === false")
    tab.until("document.getElementById('screen').classList.contains('beyond')")
    tab.until("document.getElementById('news').textContent !== ''")
    # The page shows after a moment who typed last.
    tab.until("document.querySelector('#people .typed') !== null")
    phone.until("document.querySelector('#people .typed') === null")
    _save(tab, folder / "together.png")
    _save(phone, folder / "together-phone.png")
    phone.end()


def recorded(demo: DemoGateway, session: str = "0" * 26) -> str:
    """Write a recording by hand, of `session` or of no session; return the recording's id."""
    lines = (
        (0.4, Code.OUTPUT, "$ "),
        (1.5, Code.INPUT, "m"),
        (1.6, Code.OUTPUT, "./deploy staging\r\n"),
        (2.2, Code.OUTPUT, "\x1b[1mbuilding\x1b[m app01 …\r\n"),
        (9.0, Code.OUTPUT, "\x1b[32mbuilt\x1b[m in 6.8 s\r\n"),
        (9.1, Code.MARKER, "rolling out"),
        (20.5, Code.OUTPUT, "3 of 3 \x1b[32mready\x1b[m 你好 ☕\r\n$ "),
        (34.0, Code.INPUT, "e"),
        (35.0, Code.OUTPUT, "exit\r\n"),
    )
    name = f"{session}.1"
    folder = demo.settings.recordings_folder
    folder.mkdir(mode=0o700, exist_ok=True)
    header = encode_header(AsciicastHeader(96, 24, 1_700_000_000))
    body = b"".join(encode_event(AsciicastEvent(*line)) for line in lines)
    (folder / f"{name}{SUFFIX}").write_bytes(header + body)
    return name


def _save(tab: Tab, file: Path) -> None:
    tab.ask(_STEADY)
    file.write_bytes(base64.b64decode(tab.picture()))
    print(file.name, flush=True)


def main(folder: Path) -> int:
    """Take the pictures; return 0, or 1 after an error line on stderr."""
    try:
        asyncio.run(take(folder))
    except (BrowserError, StagedoorError) as error:
        print(f"stagedoor: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
