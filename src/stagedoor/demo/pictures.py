"""Pictures of the WebShell, for the documentation: `python -m stagedoor.demo.pictures FOLDER`."""

import asyncio
import base64
import sys
import tempfile
from pathlib import Path

from stagedoor.demo.chromium import Tab, chromium
from stagedoor.demo.stage import Stage, staged
from stagedoor.recording.recorder import SUFFIX
from stagedoor.wire.asciicast import Code, Event, Header, encode_event, encode_header


async def take(folder: Path) -> None:
    """Write `home.png`, `terminal.png` and `replay.png`. Raises BrowserError, StagedoorError."""
    async with staged("error") as (stage, _):
        await asyncio.to_thread(_take, stage, folder)


def _take(stage: Stage, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="stagedoor-pictures-") as profile,
        chromium(Path(profile)) as browser,
    ):
        tab = browser.tab(stage.web_link())
        tab.until("!document.querySelector('#link button').disabled")
        tab.ask("document.querySelector('#link button').click()")
        tab.until("document.querySelector('ul.apps') !== null")
        _keep(tab, folder / "home.png")
        tab.open(f"{stage.web}/app/app01")
        tab.until("document.getElementById('status')?.dataset.state === 'open'")
        tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
        tab.type(
            "PS1='$ '; clear; echo $APP_NAME: $GREETING; printf '\\033[1;32mgreen\\033[m é你😀─│\\n'"
        )
        tab.enter()
        tab.until("document.querySelector('.xterm-rows').textContent.includes('app01: 你好')")
        _keep(tab, folder / "terminal.png")
        tab.open(f"{stage.web}/recordings/{recorded(stage)}")
        tab.until("document.body.dataset.looked === 'true'")
        tab.ask("document.getElementById('seek').value = 21")
        tab.ask("document.getElementById('seek').dispatchEvent(new Event('input'))")
        tab.until("document.querySelector('.xterm-rows').textContent.includes('ready')")
        _keep(tab, folder / "replay.png")
        tab.close()


def recorded(stage: Stage) -> str:
    """The id of a recording that is written by hand, of nobody's terminal."""
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
    name = "0" * 26 + ".1"
    folder = stage.settings.recordings_folder
    folder.mkdir(mode=0o700, exist_ok=True)
    header = encode_header(Header(96, 24, 1_700_000_000))
    body = b"".join(encode_event(Event(*line)) for line in lines)
    (folder / f"{name}{SUFFIX}").write_bytes(header + body)
    return name


def _keep(tab: Tab, file: Path) -> None:
    file.write_bytes(base64.b64decode(tab.picture()))


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1])))
