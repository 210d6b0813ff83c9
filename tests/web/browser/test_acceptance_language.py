"""Item 2 of the WebShell's acceptance list in a real Chromium: a shell that has no language."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from acceptance.chromium import Tab
from tests.fixtures.gateway import Gateway, open_gateway
from tests.web.browser.conftest import choose, click, run, shows, terminal
from tests.web.browser.test_acceptance import COLUMNS, ROWS, sized
from tests.web.cells import SPANS, Cell, drawn
from tests.web.processes import pids_of

TEXT = "é你😀─│"
LANGUAGE = ("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE")


@pytest.fixture
def speechless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """A gateway, and so an app's shell, without a language; its tmux is its own."""
    for name in LANGUAGE:
        monkeypatch.delenv(name, raising=False)
    settings = (
        '[web]\naddresses = ["127.0.0.1:0"]\ntmux = false\n[[shells.local]]\napp = "app01"\n'
        f'login_shell = "/bin/sh"\nenv = {{ TMUX_TMPDIR = "{tmp_path}" }}\n'
    )
    with open_gateway(tmp_path, settings, "app01") as gateway:
        yield gateway
    subprocess.run(
        ["tmux", "kill-server"],
        env={**os.environ, "TMUX": "", "TMUX_TMPDIR": str(tmp_path)},
        capture_output=True,
        check=False,
    )


def without_language(name: str) -> bool:
    """Return whether the terminal's holder was started so; what runs in it has what the page has said."""
    named: set[str] = set()
    for pid in pids_of(f"stagedoor.holder attach {name}"):
        with suppress(OSError):  # one that leads to the holder, and has just gone
            environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
            named |= {variable.partition("=")[0] for variable in environment}
    return "PATH" in named and not named & {*LANGUAGE}


def row_of(tab: Tab, text: str, cell_width: float) -> list[Cell]:
    """The row that begins so, each cell of which stands in its column."""
    [found] = [
        row
        for row in drawn(tab.ask(SPANS), cell_width)
        if "".join(cell.text for cell in row).startswith(text)
    ]
    return found


@pytest.mark.webshell(2)
@pytest.mark.timeout(300)
def test_2_a_shell_without_a_language_shows_every_character_and_so_does_the_page_s_tmux(
    tab: Tab, speechless: Gateway
) -> None:
    base = f"http://127.0.0.1:{speechless.port('web')}"
    terminal(tab, base, "plain")
    assert without_language("plain")
    cell_width = sized(tab, COLUMNS, ROWS)
    run(tab, f"clear; echo '{TEXT}'; echo do''ne")
    shows(tab, "\ndone")
    assert row_of(tab, TEXT, cell_width) == [Cell(char) for char in TEXT]
    click(tab, "#more")
    click(tab, "#settings-button")
    click(tab, "input[name=tmux]")
    choose(tab, "readable", False)  # the program's own colours are looked at
    terminal(tab, base, "mute")
    shows(tab, "[mute]")
    assert without_language("mute")
    cell_width = sized(tab, COLUMNS, ROWS)
    run(tab, f"clear; echo '{TEXT}'; tmux display -p '#{{client_utf8}} #{{client_termfeatures}}'")
    shown = shows(tab, "RGB")
    assert "1 256," in shown
    assert row_of(tab, TEXT, cell_width) == [Cell(char) for char in TEXT]
    run(tab, r"clear; printf '\033[38;2;255;100;0mtrue\033[m\n'; echo do''ne")
    shows(tab, "\ndone")
    assert row_of(tab, "true", cell_width) == [Cell(char, "#ff6400") for char in "true"]
