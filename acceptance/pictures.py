"""Pictures of the WebShell for the documentation: `python -m acceptance.pictures ENGLISH CHINESE`.

The arguments are two folders, one for each language of the pages.
"""

import asyncio
import base64
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from acceptance.chromium import Browser, BrowserError, Tab, chromium
from stagedoor.admin.requests.access_requests import make_request
from stagedoor.admin.roles import add_role
from stagedoor.admin.service import add_grant, open_service, read_policy
from stagedoor.demo.clients import USER, DemoUser
from stagedoor.demo.gateway import DemoGateway, run_demo
from stagedoor.model.errors import StagedoorError
from stagedoor.model.permission import Permission
from stagedoor.model.role import Role, RoleRule
from stagedoor.model.target import Target
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


_APPS = (
    *(
        ("billing", "production"),
        ("billing", "staging"),
        ("catalog", "production"),
        ("catalog", "staging"),
    ),
    *(
        ("checkout", "production"),
        ("checkout", "staging"),
        ("reports", "production"),
        ("search", "staging"),
    ),
)
_SHELLS = "".join(
    f'\n[[shells.local]]\napp = "{app}"\nenvironment = "{environment}"\n'
    for app, environment in _APPS
)
_COLLEAGUE = DemoUser("alice", ("app01", "catalog"), on_request=("billing",))
_DESK = Appearance("light", 1000, 640)
_WIDE = Appearance("light", 1280, 800)
_PHONE = Appearance("light", 390, 640, phone=True)
_STEADY = """(() => {
  const ago = document.documentElement.lang === 'en'
    ? ['2 min ago', '40 min ago', '3 h ago', 'yesterday'] : ['2 分钟前', '40 分钟前', '3 小时前', '昨天'];
  const clock = (minutes) =>
    new Date(Date.UTC(2026, 2, 2, 0, minutes)).toISOString().slice(0, 16).replace('T', ' ');
  let times = 0, agos = 0;
  for (const time of document.querySelectorAll('time')) {
    // A session has its beginning and its end in one row.
    const earlier = 30 * Math.floor(times / 2) - (times % 2) * 17;
    if (time.dataset.ago !== undefined) time.textContent = ago[Math.min(agos++, ago.length - 1)];
    else time.textContent = clock(600 - (time.closest('[aria-labelledby=past]') ? earlier : times)), times++;
  }
  for (const key of document.querySelectorAll('ul.keys code'))
    key.textContent = 'SHA256:' + 'Zm9yIHRoZSBwaWN0dXJlIG9ubHk'.padEnd(43, 'x');
  for (const at of document.querySelectorAll('td.mono'))
    if (at.textContent) at.textContent = '10.2.8.31:50112';
  for (const id of document.querySelectorAll('#about code')) id.textContent = '0'.repeat(26) + '.1';
})()"""
"""JavaScript that replaces the values that differ in each demo: pictures change only when the page does."""


async def take(english: Path, chinese: Path) -> None:
    """Write the pictures of the pages in each language. Raises BrowserError, StagedoorError."""
    async with run_demo(_COLLEAGUE, settings=_SHELLS) as (demo, _):
        await asyncio.to_thread(_take, demo, english, chinese)


def _take(demo: DemoGateway, english: Path, chinese: Path) -> None:
    with open_service(demo.settings, create=False) as service:
        add_grant(service, f"user:{USER}", "*")
        add_role(service, RoleRule(0, f"user:{USER}", Role.ADMINISTRATOR))
        recorded_only = frozenset({Permission.RECORD})
        add_grant(
            service,
            f"user:{USER}",
            "billing",
            environment_pattern="production",
            permissions=recorded_only,
        )
        [rule] = read_policy(service).request_rules.values()
        target = Target("billing", "production")
        make_request(service, _COLLEAGUE.name, [target], rule, "INC-42, stuck queue")
    with (
        tempfile.TemporaryDirectory(prefix="stagedoor-pictures-") as profile,
        chromium(Path(profile)) as browser,
    ):
        tab, inside = browser.tab(), browser.apart()
        _DESK.apply(tab)
        _sign_in(tab, demo, USER)
        _sign_in(inside, demo, _COLLEAGUE.name)
        _open(inside, demo, "catalog.production")
        for app in ("catalog.staging", "search.staging", "billing.production"):
            _open(tab, demo, app)
        _take_shared(browser, tab, demo, english)
        _take_shared(browser, tab, demo, chinese, "zh-CN")
        _take_home(tab, demo, chinese)
        _speak(tab, "en")
        _take_home(tab, demo, english)
        with open_service(demo.settings, create=False) as service:
            past = list_sessions(service.database, open_only=False, limit=50)
        _take_replay(
            tab, demo, next(record.id for record in past if record.target == "app01.ssh"), english
        )
        for name in ("sessions", "audit"):
            _WIDE.apply(tab)
            tab.open(f"{demo.web}/admin/{name}")
            tab.until("document.querySelector('main table') !== null")
            _save(tab, english / f"console-{name}.png")
        inside.end()
        tab.close()


def _speak(tab: Tab, language: str) -> None:
    tab.call("Network.enable")
    tab.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})


def _sign_in(tab: Tab, demo: DemoGateway, name: str) -> None:
    with open_service(demo.settings, create=False) as service:
        link = make_link(demo.settings, service, name, url=demo.web).url
    tab.open(link)
    tab.until("!document.querySelector('#link button').disabled")
    tab.ask("document.querySelector('#link button').click()")
    tab.until("document.querySelector('table.apps') !== null")


def _open(tab: Tab, demo: DemoGateway, app: str = "app01") -> None:
    tab.open(f"{demo.web}/app/{app}")
    tab.until("document.getElementById('status')?.dataset.state === 'open'")
    tab.ask("document.querySelector('.xterm-helper-textarea').focus()")


def _take_shared(
    browser: Browser, tab: Tab, demo: DemoGateway, folder: Path, language: str = "en"
) -> None:
    """Take pictures of a terminal, of two people at it, and of a request."""
    folder.mkdir(parents=True, exist_ok=True)
    _speak(tab, language)
    _DESK.apply(tab)
    _open(tab, demo)
    # If tmux is installed, its status line would show the clock and the running program.
    tab.type(
        "PS1='$ '; tmux set status-right '' \\; rename-window sh 2>/dev/null; clear; "
        "echo $APP_NAME: $GREETING; printf '\\033[1;32mgreen\\033[m é你😀─│\\n'"
    )
    tab.enter()
    tab.until("document.querySelector('.xterm-rows').textContent.includes('green é你😀─│')")
    _save(tab, folder / "terminal.png")
    _take_together(browser, tab, demo, folder, language)
    tab.open(f"{demo.web}/requests/1")
    tab.until("document.querySelector('main dl') !== null")
    _save(tab, folder / "request.png")


def _take_together(
    browser: Browser, tab: Tab, demo: DemoGateway, folder: Path, language: str
) -> None:
    """Take pictures of two people at one terminal, in windows of different size; the smaller typed last."""
    phone = browser.apart()  # a page in the background would not be drawn
    _PHONE.apply(phone)
    _speak(phone, language)
    _sign_in(phone, demo, _COLLEAGUE.name)
    phone.open(f"{demo.web}/app/app01")
    phone.until("document.getElementById('dialog').open")
    phone.ask("document.querySelectorAll('#dialog .answers button')[1].click()")
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


def _take_replay(tab: Tab, demo: DemoGateway, session: str, folder: Path) -> None:
    tab.open(f"{demo.web}/recordings/{recorded(demo, session)}")
    tab.until("document.body.dataset.looked === 'true'")
    tab.ask("document.getElementById('seek').value = 21")
    tab.ask("document.getElementById('seek').dispatchEvent(new Event('input'))")
    tab.until("document.querySelector('.xterm-rows').textContent.includes('ready')")
    _save(tab, folder / "replay.png")


def _take_home(tab: Tab, demo: DemoGateway, folder: Path) -> None:
    """Take a picture of the home page, once the sessions that it lists are over."""
    _WIDE.apply(tab)
    tab.open(f"{demo.web}/")
    tab.until("fetch('/').then(r => r.text()).then(page => !/<td>(open|进行中)<\\/td>/.test(page))")
    tab.open(f"{demo.web}/")
    tab.until("!document.querySelector('button.copy').hidden")
    height = tab.ask("document.documentElement.scrollHeight")
    replace(_WIDE, height=height).apply(tab)
    _save(tab, folder / "home.png")
    _DESK.apply(tab)


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


def main(english: Path, chinese: Path) -> int:
    """Take the pictures; return 0, or 1 after an error line on stderr."""
    try:
        asyncio.run(take(english, chinese))
    except (BrowserError, StagedoorError) as error:
        print(f"stagedoor: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
