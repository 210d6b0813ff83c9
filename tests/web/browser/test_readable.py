"""Legibility of full-screen programs: mc's real cells, as the browser has them."""

import json
import re
import shutil
from collections.abc import Callable

import pytest

from acceptance.chromium import Tab
from tests.waiting import wait_until
from tests.web.browser.conftest import choose, run, shows, terminal

pytestmark = pytest.mark.skipif(shutil.which("mc") is None, reason="as root: apt-get install mc")

PALETTES = ("stagedoor", "contrast", "solarized", "dracula", "gruvbox", "system")
CELLS = """
JSON.stringify([...document.querySelectorAll('.xterm-rows > div > span')]
  .filter(span => span.textContent.trim() && !span.classList.contains('xterm-cursor'))
  .map(span => {
    const back = getComputedStyle(span).backgroundColor;
    return [span.textContent, getComputedStyle(span).color,
      back === 'rgba(0, 0, 0, 0)'
        ? getComputedStyle(document.getElementById('screen')).backgroundColor : back];
  }))
"""


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(…)` (WCAG 2.2)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def unreadable(tab: Tab, least: float) -> list[object]:
    """The cells below `least`, each text with its ratio; the frames of windows are cells as well."""
    cells = json.loads(tab.ask(CELLS))
    if len(cells) <= 20:
        return ["not all is drawn yet"]
    return [
        (text.strip(), round(ratio, 2))
        for text, fore, back in cells
        if (ratio := contrast(fore, back)) < least - 0.05  # its colours are whole numbers
    ]


THEMES = ("light", "dark")


def read_in_each(tab: Tab, bad: Callable[[float], list[object]]) -> None:
    """Fail where `bad`, of the least contrast of a palette, finds cells in one of the themes."""
    for theme in THEMES:
        choose(tab, "theme", theme)
        for palette in PALETTES:
            choose(tab, "palette", palette)
            least = 7 if palette == "contrast" else 4.5
            try:
                wait_until(lambda: not bad(least), 10)  # noqa: B023
            except AssertionError:
                pytest.fail(f"{palette} {theme}: {bad(least)[:10]}")


def test_mc_can_be_read_in_each_palette(tab: Tab, base: str) -> None:
    terminal(tab, base, "mc")
    run(tab, "cd /usr/share/mc; exec mc --nosubshell -x")
    shows(tab, "Quit")
    tab.press("F9", "F9", 120)  # its menu, with letters of a third colour
    tab.enter()
    shows(tab, "File listing")
    assert "│" in shows(tab, "─")
    read_in_each(tab, lambda least: unreadable(tab, least))
    tab.ask("localStorage.clear()")


def test_dim_text_can_be_read_in_each_palette_and_is_dim(tab: Tab, base: str) -> None:
    terminal(tab, base, "dim")
    colours = "".join(rf"\033[2;{number}mdim{number}\033[m " for number in (*range(31, 38), 39))
    run(tab, rf"clear; printf '\033[2mdim\033[m {colours} plain\n'; printf '\033[2;44mdim\033[m\n'")
    shows(tab, "plain")

    def bad(least: float) -> list[object]:
        cells = [cell for cell in json.loads(tab.ask(CELLS)) if "dim" in cell[0]]
        if not cells:
            return ["nothing is drawn yet"]
        return [
            (text, round(ratio, 2))
            for text, fore, back in cells
            if (ratio := contrast(fore, back)) < least - 0.05
        ]

    read_in_each(tab, bad)
    for theme in THEMES:
        choose(tab, "theme", theme)
        choose(tab, "palette", "stagedoor")
        wait_until(lambda: dimmed(tab) < 0.8, 10)  # it differs from plain text
    tab.ask("localStorage.clear()")


def dimmed(tab: Tab) -> float:
    """Return the contrast of dim text in the default colour, as a part of that of other text."""
    cells = json.loads(tab.ask(CELLS))
    dim = next(cell for cell in cells if cell[0].strip() == "dim39")
    plain = next(cell for cell in cells if "plain" in cell[0])
    return contrast(*dim[1:]) / contrast(*plain[1:])
