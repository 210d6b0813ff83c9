"""The settings file: its default place, its parser, and the messages about mistakes in it."""

import os
import re
import tomllib
from pathlib import Path

import msgspec

from stagedoor.model.errors import SettingsError
from stagedoor.settings.mistakes import explain
from stagedoor.settings.settings import Settings

SYSTEM = Path("/etc/stagedoor/stagedoor.toml")

_NAME = re.compile(r"[a-z_]+(?:\.[a-z_]+|\[\d+\])*")
_UNKNOWN = re.compile(r"(?:(?P<table>[a-z_.\[\]\d]+): )?there is no setting `(?P<name>.*?)`")
_TOML = re.compile(r"\(at line (\d+), column \d+\)")
_HEADER = re.compile(r"\s*\[{1,2}\s*([\w.\"-]+)\s*\]{1,2}\s*(?:#.*)?")
_KEY = re.compile(r"\s*([\w-]+)\s*=")


def find_settings_file() -> Path:
    """Return the path of the settings file if no option names one.

    An account's own file comes before the machine's, so that a gateway's account finds its gateway's file.
    """
    if os.geteuid() == 0:
        return SYSTEM
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    own = Path(base) / "stagedoor" / "stagedoor.toml"
    # `access`, since $HOME may be another account's: under `runuser -u` it is root's.
    return own if os.access(own, os.F_OK) or not SYSTEM.exists() else SYSTEM


def read_settings(path: Path | None) -> tuple[str, str]:
    """Return the text of the settings file and its name for messages.

    If `path` is None, this is the file in the default place, which may be missing.
    Raises SettingsError.
    """
    file = path or find_settings_file()
    try:
        return file.read_text(encoding="utf-8"), str(file)
    except FileNotFoundError:
        if path is None:
            return "", "the default settings"
        raise SettingsError(f"there is no settings file {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the settings file {file}: {error}") from None


def load_settings(path: Path | None) -> Settings:
    """Read and parse the settings file. Raises SettingsError, which names the wrong setting."""
    return parse_settings(*read_settings(path))


def parse_settings(text: str, name: str) -> Settings:
    """Parse settings from TOML `text`. Messages call the file `name`.

    Raises SettingsError, with the line.
    """
    try:
        return msgspec.convert(tomllib.loads(text), Settings, dec_hook=_decode)
    except tomllib.TOMLDecodeError as error:
        place = _locate(name, text, str(error))
        raise SettingsError(f"{place}: this is not valid TOML: {error}") from None
    except msgspec.ValidationError as error:
        why = explain(str(error), Settings)
        raise SettingsError(f"{_locate(name, text, why)}: {why}") from None


def _locate(name: str, text: str, message: str) -> str:
    """Return the file's name with the line that `message` is about, if there is one."""
    line = find_line(text, message)
    return name if line is None else f"{name}:{line}"


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    raise ValueError(f"it must be a path as text, and is {value!r}")


def find_line(text: str, message: str) -> int | None:
    """Return the line, from 1 on, of the setting that `message` names first, or None if `text` has none."""
    if toml := _TOML.search(message):
        return int(toml[1])
    places = _find_places(text)
    if unknown := _UNKNOWN.search(message):
        table = re.sub(r"\[.*?\]", "", unknown["table"] or "")
        return places.get(f"{table}.{unknown['name']}".lstrip("."))
    for name in _NAME.findall(message):
        if (line := places.get(re.sub(r"\[\d+\]", "", name))) is not None:
            return line
    return None


def _find_places(text: str) -> dict[str, int]:
    """Map the full name of each setting and table to its first line."""
    places: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            table = header[1]
            places.setdefault(table, number)
        elif key := _KEY.match(line):
            places.setdefault(f"{table}.{key[1]}".lstrip("."), number)
    return places
