"""The locale and the terminal type of this terminal, by the environment (locale(7), terminfo(5))."""

import os
from collections.abc import Mapping
from pathlib import Path

_NAME_MAX = 255
"""The longest name of a locale or a terminal type. Both name files, so this is NAME_MAX of limits.h."""


def find_locale() -> str:
    """Return the name of the locale, which says which characters this terminal shows (locale(7))."""
    environment = _initial_environment()
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    return next((value for name in names if (value := read_variable(name, environment))), "")


def read_variable(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return a variable that names a locale or a terminal type; "" if it is not set or cannot be a name."""
    value = environment.get(name, "")
    return value if value.isascii() and len(value) <= _NAME_MAX else ""


def is_utf8(locale: str) -> bool:
    """Return whether a terminal of this locale takes UTF-8."""
    return "utf-8" in locale.lower() or "utf8" in locale.lower()


def _initial_environment() -> Mapping[str, str]:
    """Return the environment as this process received it.

    Without a locale, Python sets LC_CTYPE for itself (PEP 538).
    """
    try:
        pairs = os.fsdecode(Path("/proc/self/environ").read_bytes()).split("\0")
    except OSError:
        return os.environ
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
