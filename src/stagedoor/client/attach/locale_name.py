"""The locale and the type of this terminal, from the environment (locale(7), terminfo(5))."""

import os
from collections.abc import Mapping
from pathlib import Path

_NAME_MAX = 255
"""The longest name of a locale or a terminal type: both name files, so NAME_MAX of limits.h applies."""


def find_locale() -> str:
    """Return the name of the locale, which determines the characters that this terminal shows."""
    environment = _initial_environment()
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    return next((value for name in names if (value := read_variable(name, environment))), "")


def read_variable(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return a variable that names a locale or a terminal type; "" if it is unset or not a valid name."""
    value = environment.get(name, "")
    return value if value.isascii() and len(value) <= _NAME_MAX else ""


def is_utf8(locale: str) -> bool:
    """Return True if terminals use UTF-8 in this locale."""
    return "utf-8" in locale.lower() or "utf8" in locale.lower()


def _initial_environment() -> Mapping[str, str]:
    """Return the environment before Python set LC_CTYPE, as it does without a locale (PEP 538)."""
    try:
        pairs = os.fsdecode(Path("/proc/self/environ").read_bytes()).split("\0")
    except OSError:
        return os.environ
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
