"""Which setting was meant by a name that is none. Pure."""

import re
from difflib import get_close_matches

import msgspec
from msgspec import inspect

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*?)`(?: - at `\$\.?(?P<at>.*)`)?")
_INDEX = re.compile(r"\[.*?\]")


def meant(message: str, whole: type[msgspec.Struct]) -> str:
    """What to add to msgspec's message about an unknown field of `whole`: `; did you mean …?`, or nothing."""
    unknown = _UNKNOWN.fullmatch(message)
    if unknown is None:
        return ""
    names = _names(inspect.type_info(whole), _INDEX.sub("", unknown["at"] or ""))
    close = get_close_matches(unknown["name"], names, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _names(kind: inspect.Type, path: str) -> list[str]:
    """The settings of the table at `path` (`shells.local`), none where that is no table."""
    table = _table(kind)
    if table is None:
        return []
    fields = {field.encode_name: field.type for field in table.fields}
    name, _, rest = path.partition(".")
    if not name:
        return list(fields)
    return _names(fields[name], rest) if name in fields else []


def _table(kind: inspect.Type) -> inspect.StructType | None:
    """A table, or that of which the setting is a list."""
    match kind:
        case inspect.StructType():
            return kind
        case inspect.VarTupleType(item_type=item):
            return _table(item)
        case inspect.Metadata(type=inner):
            return _table(inner)
        case inspect.UnionType(types=types):
            return next(filter(None, map(_table, types)), None)
    return None
