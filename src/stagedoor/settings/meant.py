"""What is wrong in the settings, in the words of who wrote them, and what was meant. Pure."""

import re
from difflib import get_close_matches

import msgspec
from msgspec import inspect

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*?)`(?: - at `\$\.?(?P<at>.*)`)?")
_INDEX = re.compile(r"\[.*?\]")


_EXPECTED = re.compile(r"Expected `(?P<kind>[^`]*)`(?:, got `(?P<got>[^`]*)`)?(?P<bound>.*)")
_CHOICE = re.compile(r"Invalid enum value (?P<given>.*)")
_MISSING = re.compile(r"Object missing required field (?P<name>`.*`)")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
"""TOML's types (https://toml.io) by msgspec's names."""


def plain(message: str, whole: type[msgspec.Struct]) -> str:
    """msgspec's message about settings of the type `whole`: the setting, what is wrong with it, and what is
    allowed there. What we wrote ourselves stays as it is.
    """
    what, _, at = message.partition(" - at `$.")
    place = at.rstrip("`")
    text = _what(what, place, whole) + meant(message, whole)
    return f"{place}: {text}" if place and not what.startswith(f"{place}.") else text


def _what(what: str, place: str, whole: type[msgspec.Struct]) -> str:
    if unknown := _UNKNOWN.fullmatch(what):
        return f"there is no setting `{unknown['name']}`"
    if missing := _MISSING.fullmatch(what):
        return f"{missing['name']} is missing"
    if choice := _CHOICE.fullmatch(what):
        allowed = _choices(inspect.type_info(whole), _INDEX.sub("", place))
        return f"{choice['given']} is not one of: {', '.join(allowed)}"
    expected = _EXPECTED.fullmatch(what)
    if expected is None:
        return what
    must = f"it must be {_kinds(expected['kind'])}{expected['bound']}"
    return must if expected["got"] is None else f"{must}, and is {_kinds(expected['got'])}"


def _kinds(names: str) -> str:
    """`float | null` in words; TOML has no null."""
    known = [_KINDS.get(name, name) for name in names.split(" | ") if name != "null"]
    return " or ".join(known) or "nothing"


def _choices(kind: inspect.Type, path: str) -> list[str]:
    """The values that the setting at `path` may have."""
    for name in filter(None, path.split(".")):
        table = _table(kind)
        found = {field.encode_name: field.type for field in table.fields} if table else {}
        if name not in found:
            return []
        kind = found[name]
    return [str(value) for value in _literals(kind)]


def _literals(kind: inspect.Type) -> tuple[object, ...]:
    match kind:
        case inspect.LiteralType(values=values):
            return tuple(values)
        case inspect.Metadata(type=inner):
            return _literals(inner)
        case inspect.VarTupleType(item_type=item):
            return _literals(item)
        case inspect.UnionType(types=types):
            return tuple(value for one in types for value in _literals(one))
    return ()


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
