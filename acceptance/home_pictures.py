"""Pictures of the home page with few and many apps: `python -m acceptance.home_pictures FOLDER`.

They are light and dark, in the widths of a desktop and a phone, for review and not for the documentation.
"""

import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acceptance.chromium import BrowserError, Tab, chromium
from stagedoor.admin.service import add_grant, add_user, open_service
from stagedoor.model.errors import StagedoorError
from stagedoor.settings.file import load_settings
from stagedoor.signin.links import make_link

NUMBERS = (3, 500)
WIDTHS = {"desk": (1440, 900), "phone": (390, 844)}
THEMES = ("light", "dark")
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

    Every third shell is a static one, and every sixth cannot hold terminals. Raises StagedoorError.
    """
    file = folder / "stagedoor.toml"
    tables = [_HEAD.format(data_dir=json.dumps(str(folder / "data")))]
    for at, app in enumerate(apps):
        if at % 3 != 2:
            tables.append(f'[[shells.local]]\napp = "{app}"\n')
            continue
        holder = "" if at % 6 == 5 else 'holder = "python3 -m stagedoor.holder"\n'
        tables.append(f'[[shells.static]]\napp = "{app}"\nhost = "10.0.0.9"\n{holder}')
    file.write_text("".join(tables))
    with open_service(load_settings(file)) as service:
        add_user(service, "dev")
        add_grant(service, "user:dev", "*")
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


def take(folder: Path, number: int) -> None:
    """Write `home-NUMBER-WIDTH-THEME.png` for each width and theme. Raises BrowserError, StagedoorError."""
    with (
        tempfile.TemporaryDirectory(prefix="stagedoor-pictures-") as place,
        served(Path(place), names(number)) as (file, web),
        chromium(Path(place) / "profile") as browser,
    ):
        settings = load_settings(file)
        with open_service(settings, create=False) as service:
            link = make_link(settings, service, "dev", url=web).url
        tab = browser.tab()
        tab.open(link)
        tab.until("!document.querySelector('#link button').disabled")
        tab.ask("document.querySelector('#link button').click()")
        tab.until("document.querySelector('ul.apps') !== null")
        for width in WIDTHS:
            for theme in THEMES:
                _set_look(tab, width, theme)
                picture = folder / f"home-{number}-{width}-{theme}.png"
                picture.write_bytes(base64.b64decode(tab.picture()))
                print(picture.name, flush=True)
        tab.close()


def _set_look(tab: Tab, width: str, theme: str) -> None:
    wide, high = WIDTHS[width]
    tab.call(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}]
    )
    tab.resize(wide, high)
    tab.until(f"innerWidth === {wide} && !document.querySelector('button.copy').hidden")


def main(folder: Path) -> int:
    """Take all pictures; return 0, or 1 after an error line on stderr."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for number in NUMBERS:
            take(folder, number)
    except (BrowserError, StagedoorError) as error:
        print(f"stagedoor: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
