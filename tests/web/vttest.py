"""vttest(1) by its menus, on whatever shows it."""

import re
from collections.abc import Callable
from typing import Protocol

from tests.waiting import wait_until

MENU = "Enter choice number"
SECTIONS = ("1", "2", "3", "4", "7", "8")
"""Cursor movements, screen features, character sets, characters of double size, VT52, VT102 features."""

WITHIN = {"Character-Set Tests": ["8", "9", "10", "11"]}
"""The choices in a menu of a section; most show nothing that stays still.

To a terminal that it takes for a VT100 vttest shows the same without that menu."""


_ASKS = re.compile(rb"Push <RETURN>|Enter choice number \(0 - \d+\): ")
_ASKS_LAST = re.compile(rb"(?:%b)$" % _ASKS.pattern)
_IDENTIFY = b"\x1bZ"
"""The question to a VT52 (DECID): tmux and xterm.js are none, and say nothing."""
_VERSION = re.compile(rb"version [0-9.]+ \((\d{8})\)")
PATIENT = 20221229
"""Debian 12's version waits for that answer until a key is pressed; Debian 13's goes on by itself."""


def stands(shown: bytes, after: int) -> bool:
    """Return whether it is at a stop, by the bytes it has shown; `after` were there at the stop before."""
    return len(shown) > after and _ASKS_LAST.search(shown) is not None


def is_stuck(shown: bytes) -> bool:
    """Return whether it waits for an answer that no terminal gives, and any key will do."""
    version = _VERSION.search(shown)
    return shown.endswith(_IDENTIFY) and version is not None and int(version[1]) <= PATIENT


class Screen(Protocol):
    """The terminal that vttest is shown on, and typed into."""

    def type(self, text: str) -> None: ...

    def keys(self, *keys: str) -> None: ...

    def screen(self) -> str: ...


def is_recognised(screen: Screen, shown: Callable[[], bytes]) -> bool:
    """Return whether vttest, whose menu is on `screen`, has got the terminal's answer to its question (DA1).

    Debian 13's version waits 0.3 s for it, and takes one that comes later for typed text.
    """
    screen.type("x")  # its echo comes after that of the answer
    wait_until(lambda: shown().endswith(b"x"))
    screen.type("\x15")  # forget what is typed
    return b"^[[?" not in shown()


def walk(screen: Screen, look: Callable[[str], None]) -> None:
    """Through vttest by its menus, from the first. `look` is called at each stop with what was pressed."""
    for section in SECTIONS:
        screen.type(section)
        screen.keys("Enter")
        left = {title: [*choices] for title, choices in WITHIN.items()}
        for step in range(60):
            look(f"{section}.{step}")
            shown = screen.screen()
            if MENU in shown and "VT100 test program" in shown:
                break
            # In a menu of its own, 0 leads back; everywhere else Enter leads on.
            if MENU in shown:
                choices = next((left[title] for title in left if title in shown), [])
                screen.type(choices.pop(0) if choices else "0")
            screen.keys("Enter")
