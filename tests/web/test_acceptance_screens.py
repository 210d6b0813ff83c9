"""The WebShell's acceptance list, item 1: what ssh shows, `stagedoor attach` shows.

An outer tmux of 120 by 40 is the judge; the browser's cells are in `tests/web/browser`.
"""

from pathlib import Path

import pytest

from tests.fixtures.gateway import Gateway
from tests.waiting import wait_until
from tests.web.cells import Cell, captured
from tests.web.outer import Outer, attach_command, outer, ssh_command
from tests.web.scenes import MISSING, WINDOWS, Scenes

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"as root: apt-get install {MISSING}"),
    pytest.mark.timeout(600),
]


def cells(screen: Outer, *, settled: bool = False) -> list[list[Cell]]:
    return captured(screen.settled("-e", "-N") if settled else screen.screen("-e", "-N"))


def same(screen: Outer, expected: list[list[Cell]], what: str) -> None:
    """The screen comes to be what is expected; where it does not, the first row that differs is named."""
    try:
        wait_until(lambda: cells(screen) == expected)
    except AssertionError:
        rows = enumerate(zip(expected, cells(screen), strict=True))
        number, (by_ssh, by_us) = next((n, pair) for n, pair in rows if pair[0] != pair[1])
        pytest.fail(f"{what}, row {number}:\nssh {by_ssh!r}\nus  {by_us!r}")


@pytest.mark.webshell(1)
def test_1_splits_vim_htop_and_mc_are_cell_for_cell_what_ssh_shows(
    gateway: Gateway, port: int, tmp_path: Path
) -> None:
    scenes = Scenes(tmp_path)
    scenes.start()
    attach_command(tmp_path, port)  # the token that ssh's tunnel shows
    try:
        with outer(tmp_path) as screen:
            screen.start(ssh_command(gateway, tmp_path, scenes.attach))
            screen.shows("[x]")
            by_ssh = {}
            for window in WINDOWS:
                scenes.show(window)
                screen.shows(f"{window}*")
                by_ssh[window] = cells(screen, settled=True)
            screen.run(attach_command(tmp_path, port, "app01", "--", "sh", "-c", scenes.attach))
            screen.shows("[x]")
            for window in WINDOWS:
                scenes.show(window)
                same(screen, by_ssh[window], window)
    finally:
        scenes.stop()
    seen = {(cell.text, cell.foreground) for row in by_ssh["splits"] for cell in row}
    assert {("t", "#ff6400"), ("你", ""), ("😀", "")} <= seen
