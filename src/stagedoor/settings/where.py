"""The line of a settings file that a message is about. Pure."""

import re

_NAME = re.compile(r"[a-z_]+(?:\.[a-z_]+|\[\d+\])*")
_UNKNOWN = re.compile(r"(?:(?P<table>[a-z_.\[\]\d]+): )?there is no setting `(?P<name>.*?)`")
_TOML = re.compile(r"\(at line (\d+), column \d+\)")
_HEADER = re.compile(r"\s*\[{1,2}\s*([\w.\"-]+)\s*\]{1,2}\s*(?:#.*)?")
_KEY = re.compile(r"\s*([\w-]+)\s*=")


def line_of(text: str, message: str) -> int | None:
    """The line, from 1 on, of the setting that `message` names first; None where none of `text` is named."""
    if toml := _TOML.search(message):
        return int(toml[1])
    places = _places(text)
    if unknown := _UNKNOWN.search(message):
        table = re.sub(r"\[.*?\]", "", unknown["table"] or "")
        return places.get(f"{table}.{unknown['name']}".lstrip("."))
    for name in _NAME.findall(message):
        if (line := places.get(re.sub(r"\[\d+\]", "", name))) is not None:
            return line
    return None


def _places(text: str) -> dict[str, int]:
    """Where each setting and each table first stands, by its full name."""
    places: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            table = header[1]
            places.setdefault(table, number)
        elif key := _KEY.match(line):
            places.setdefault(f"{table}.{key[1]}".lstrip("."), number)
    return places
