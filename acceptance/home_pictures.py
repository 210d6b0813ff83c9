"""Pictures of the pages, with few and many apps: `python -m acceptance.home_pictures FOLDER`.

They are light and dark, in the widths of a desktop and a phone, in English and, in the folder `zh-CN`, in
Chinese: for review and not for the documentation.
"""

import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from acceptance.chromium import BrowserError, Tab, chromium
from stagedoor.admin.requests.access_requests import add_rule, make_request
from stagedoor.admin.roles import add_role
from stagedoor.admin.service import add_grant, add_user, open_service
from stagedoor.model.access_request import RequestRule
from stagedoor.model.errors import StagedoorError
from stagedoor.model.event import Event, EventKind
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.model.role import Role, RoleRule
from stagedoor.model.target import Target
from stagedoor.settings.file import load_settings
from stagedoor.signin.links import make_link
from stagedoor.store.journal import StoreJournal
from stagedoor.wire.language.choose import CHINESE, ENGLISH

NUMBERS = (3, 500)
WIDTHS = {"desk": (1440, 900), "phone": (390, 844)}
THEMES = ("light", "dark")


@dataclass(frozen=True, slots=True)
class Scene:
    """A page to take a picture of: its path, a click on `press` when `ready` holds, and what then holds."""

    path: str
    ready: str = "document.readyState === 'complete'"
    press: str = ""
    then: str = "true"


_TERMINAL = "/app/api-000.production?terminal=main"
_OPEN = "document.getElementById('status')?.dataset.state === 'open'"
_DIALOG = "document.getElementById('company').open"
SCENES = {
    "menu": Scene("/", press="#app-list summary"),
    "palette": Scene("/", press="#go", then="document.querySelectorAll('#palette li').length > 3"),
    "account": Scene("/account"),
    "client": Scene("/client"),
    "recordings": Scene("/recordings"),
    "requests": Scene("/requests"),
    "runs": Scene("/runs"),
    "refused": Scene("/app/nosuch", "document.getElementById('hint')?.hidden !== true"),
    "missing": Scene("/nowhere"),
    "logs": Scene("/app/api-000.production?terminal=logs", _OPEN),
    "terminal": Scene(_TERMINAL, _OPEN),
    "settings": Scene(_TERMINAL, _OPEN, "#menu", "!document.getElementById('settings').hidden"),
    "more": Scene(_TERMINAL, _OPEN, "#more"),
    "files": Scene(_TERMINAL, _OPEN, "#files-menu", "!document.getElementById('files').hidden"),
    "share": Scene(_TERMINAL, _OPEN, "#share", _DIALOG),
    "people": Scene(_TERMINAL, _OPEN, "#people", _DIALOG),
    "terminals": Scene(
        _TERMINAL,
        _OPEN,
        "#terminals",
        f"{_DIALOG} && document.querySelector('#company li') !== null",
    ),
    "go": Scene(_TERMINAL, _OPEN, "#go", "document.querySelectorAll('#palette li').length > 3"),
    "admin-sessions": Scene("/admin/sessions"),
    "admin-sessions-end": Scene("/admin/sessions", press="td.act summary"),
    "admin-requests": Scene("/admin/requests"),
    "admin-people": Scene("/admin/people"),
    "admin-person": Scene("/admin/people/dev"),
    "admin-grants": Scene("/admin/grants"),
    "admin-grants-add": Scene("/admin/grants", press="details.add summary"),
    "admin-grant": Scene("/admin/grants/1"),
    "admin-grant-new": Scene(
        "/admin/grants/preview?subject=group:developers&app=*&permission=enter&permission=files"
    ),
    "admin-audit": Scene("/admin/audit?days="),
    "admin-why": Scene("/admin/why?user=carol&app=api-000.production"),
    "admin-sign-ins": Scene("/admin/sign-ins"),
    "admin-keys": Scene("/admin/sign-ins?kind=key"),
    "admin-rules": Scene("/admin/rules"),
    "admin-rules-add": Scene("/admin/rules", press="details.add summary"),
    "admin-rule-new": Scene(
        "/admin/rules/request/preview?subject=group:developers&app=*&approvers=group:sre"
    ),
    "admin-proof": Scene("/step-up?next=/admin/rules"),
    "recordings-text": Scene("/recordings?text=nothing-like-it"),
    "admin-health": Scene("/admin/health?checks"),
    "sign-in": Scene("/sign-in"),
}
"""The pages beside the home page, by the names of their pictures."""
_WORDS = (
    "api",
    "billing",
    "catalog",
    "docs",
    "events",
    "frontend-of-the-partner-portal",
    "gw",
    "image-resizer",
)
_HEAD = """data_dir = {data_dir}
[tunnel]
addresses = ["127.0.0.1:0"]
[web]
addresses = ["127.0.0.1:0"]
[log]
format = "json"
level = "debug"
[workers]
count = 1
drain_timeout_s = 1
"""


def names(number: int) -> list[str]:
    """Return names for `number` apps, short and long ones in turn."""
    return [f"{_WORDS[at % len(_WORDS)]}-{at:03}" for at in range(number)]


@contextmanager
def served(folder: Path, apps: list[str]) -> Iterator[tuple[Path, str]]:
    """Run a gateway with these apps; yield its settings file and its web address.

    Every third shell is a static one, and every sixth cannot hold terminals. Half of the local shells
    are in an environment. Raises StagedoorError.
    """
    file = folder / "stagedoor.toml"
    tables = [_HEAD.format(data_dir=json.dumps(str(folder / "data")))]
    for at, app in enumerate(apps):
        environment = ("production", "", "", "staging", "", "")[at % 6]
        if at % 3 != 2:
            named = f'environment = "{environment}"\n' if environment else ""
            tables.append(f'[[shells.local]]\napp = "{app}"\n{named}')
            continue
        holder = "" if at % 6 == 5 else 'holder = "python3 -m stagedoor.holder"\n'
        tables.append(f'[[shells.static]]\napp = "{app}"\nhost = "10.0.0.9"\n{holder}')
    file.write_text("".join(tables))
    with open_service(load_settings(file)) as service:
        add_user(service, "dev")
        add_user(service, "carol", groups=["developers"])
        add_grant(service, "user:dev", "*", permissions=DEFAULT | {Permission.REPLAY})
        add_grant(service, "group:developers", "api*", environment_pattern="staging")
        add_role(service, RoleRule(0, "user:dev", Role.ADMINISTRATOR))
        rule = RequestRule(0, "group:developers", "*", approvers=("user:dev",))
        rule = add_rule(service, rule)
        target = Target("api-000", "production")
        make_request(service, "carol", [target], rule, "INC-4821, stuck queue")
    command = [sys.executable, "-m", "stagedoor", "--config", str(file), "serve"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield file, f"http://{_address(process)}"
        finally:
            process.terminate()
            assert process.stderr is not None
            process.stderr.read()


def _address(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    address, said = "", ""
    for text in process.stderr:
        said = text
        line = json.loads(text) if text.startswith("{") else {}
        if line.get("event") == "listening" and line.get("kind") == "web":
            address = line["addresses"][0]
        if line.get("event") == "serving" and address:
            return address
    raise StagedoorError(f"the gateway does not start: {said.strip()}")


def take(folder: Path, number: int, language: str) -> None:
    """Write `NAME-WIDTH-THEME.png` of the home page with so many apps, and with a few of all other pages.

    Raises BrowserError, StagedoorError.
    """
    with (
        tempfile.TemporaryDirectory(prefix="stagedoor-pictures-") as place,
        served(Path(place), names(number)) as (file, web),
        chromium(Path(place) / "profile") as browser,
    ):
        settings = load_settings(file)
        with open_service(settings, create=False) as service:
            link = make_link(settings, service, "dev", url=web).url
            StoreJournal(service.database).append(_list_logins(service.clock()))
        tab = browser.tab()
        tab.call("Network.enable")
        tab.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})
        tab.open(link)
        tab.until("!document.querySelector('#link button').disabled")
        tab.ask("document.querySelector('#link button').click()")
        tab.until("document.querySelector('table.apps') !== null")
        scenes = {f"home-{number}": Scene("/")} | (SCENES if number == min(NUMBERS) else {})
        for name, scene in scenes.items():
            for width in WIDTHS:
                for theme in THEMES:
                    _set_look(tab, width, theme)
                    _show(tab, web, scene)
                    picture = folder / f"{name}-{width}-{theme}.png"
                    picture.write_bytes(base64.b64decode(tab.picture()))
                    print(picture.name, flush=True)
        tab.close()


def _list_logins(now: float) -> list[Event]:
    """Return open sessions of people and ways that these pictures have not, for the administrators' pages."""
    made = (
        ("carol", "api-000.production.ssh", "10.2.8.31:50112", "connect", 2520),
        ("mia", "billing-001.ssh", "10.2.9.4:40404", "web", 420),
        ("deploy-bot", "frontend-of-the-partner-portal-005.ssh", "[2001:db8::7]:22022", "jump", 3),
    )
    return [
        Event(now - ago, EventKind.SESSION_OPENED, "gw2-1-0", f"{at:012x}", name, app, source, way)
        for at, (name, app, source, way, ago) in enumerate(made)
    ]


def _show(tab: Tab, web: str, scene: Scene) -> None:
    tab.open(web + scene.path)
    tab.until(scene.ready)
    if scene.press:
        tab.ask(f"document.querySelector({json.dumps(scene.press)}).click()")
    tab.until(scene.then)
    tab.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def _set_look(tab: Tab, width: str, theme: str) -> None:
    wide, high = WIDTHS[width]
    tab.call(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}]
    )
    tab.resize(wide, high)
    tab.until(f"innerWidth === {wide}")


def main(folder: Path) -> int:
    """Take all pictures; return 0, or 1 after an error line on stderr."""
    chinese = folder / CHINESE
    chinese.mkdir(parents=True, exist_ok=True)
    try:
        for number in NUMBERS:
            take(folder, number, ENGLISH)
            take(chinese, number, CHINESE)
    except (BrowserError, StagedoorError) as error:
        print(f"stagedoor: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
