"""The line of an entry or key in a TOML or JSON text, for messages. Pure."""

import re
from json import loads

_HEADER = re.compile(r"\s*\[{1,2}\s*([\w.\"-]+)\s*\]{1,2}\s*(?:#.*)?")
_KEY = re.compile(r"\s*([\w-]+)\s*=")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],]|[^\s{}\[\],:"]+')


def find_toml_line(text: str, table: str, index: int, key: str | None) -> int | None:
    """Return the line of `key` in the entry `index` of a table, or of the entry, from 1 on; None if unknown.

    An entry that is not under a header of its own has the line of the key `table`.
    """
    entry: int | None = None
    count = -1
    is_inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            is_inside = header[1] == table
            count += is_inside
            if is_inside and count == index:
                entry = number
        elif assignment := _KEY.match(line):
            if is_inside and count == index and assignment[1] == key:
                return number
            if count < 0 and assignment[1] == table:
                entry = number
    return entry


def find_json_line(text: str, table: str, index: int, key: str | None) -> int | None:
    """Return the line of `key` in the entry `index` of a list, or of the entry, as `find_toml_line` does."""
    wanted = [table, index] if key is None else [table, index, key]
    entry: int | None = None
    path: list[str | int | None] = []
    for match in _TOKEN.finditer(text):
        part = match[0]
        if part in "{[":
            path.append(None if part == "{" else 0)
        elif part in "}]":
            path = path[:-1]
        elif part == "," and path:
            place = path[-1]
            path[-1] = place + 1 if isinstance(place, int) else None
        elif part[0] == '"' and path and path[-1] is None:
            path[-1] = loads(part, strict=False)
        if part in ",[":
            continue
        if path[: len(wanted)] == wanted:
            return text.count("\n", 0, match.start()) + 1
        if entry is None and (path[:2] == wanted[:2] or path == [table]):
            entry = text.count("\n", 0, match.start()) + 1
    return entry
