"""Messages about mistakes in the settings, in TOML's terms and with suggestions. Pure."""

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


def explain(message: str, whole: type[msgspec.Struct]) -> str:
    """Rewrite msgspec's message about settings of the type `whole`.

    The result has the setting, its mistake and the allowed values. Messages of our own checks keep
    their words.
    """
    what, _, at = message.partition(" - at `$.")
    place = at.rstrip("`")
    text = _reword(what, place, whole) + suggest(message, whole)
    return f"{place}: {text}" if place and not what.startswith(f"{place}.") else text


def _reword(what: str, place: str, whole: type[msgspec.Struct]) -> str:
    if unknown := _UNKNOWN.fullmatch(what):
        return f"there is no setting `{unknown['name']}`"
    if missing := _MISSING.fullmatch(what):
        return f"{missing['name']} is missing"
    if choice := _CHOICE.fullmatch(what):
        allowed = ", ".join(map(str, _list_literals(_find(whole, place))))
        return f"{choice['given']} is not one of: {allowed}"
    expected = _EXPECTED.fullmatch(what)
    if expected is None:
        return what
    must = f"it must be {_translate_kinds(expected['kind'])}{expected['bound']}"
    return (
        must if expected["got"] is None else f"{must}, and is {_translate_kinds(expected['got'])}"
    )


def _translate_kinds(names: str) -> str:
    """Return `float | null` in words. TOML has no null, so that is left out."""
    known = [_KINDS.get(name, name) for name in names.split(" | ") if name != "null"]
    return " or ".join(known) or "nothing"


def _find(whole: type[msgspec.Struct], path: str) -> inspect.Type | None:
    """Return the type of the setting or table at `path` (`shells.local[0].env`), or None if there is none."""
    kind: inspect.Type | None = inspect.type_info(whole)
    for name in filter(None, _INDEX.sub("", path).split(".")):
        table = _find_table(kind)
        kind = (
            {field.encode_name: field.type for field in table.fields}.get(name) if table else None
        )
    return kind


def _list_literals(kind: inspect.Type | None) -> tuple[object, ...]:
    match kind:
        case inspect.LiteralType(values=values):
            return tuple(values)
        case inspect.Metadata(type=inner):
            return _list_literals(inner)
        case inspect.VarTupleType(item_type=item):
            return _list_literals(item)
        case inspect.UnionType(types=types):
            return tuple(value for member in types for value in _list_literals(member))
    return ()


def suggest(message: str, whole: type[msgspec.Struct]) -> str:
    """Return `; did you mean …?` for msgspec's message about an unknown field of `whole`, or ""."""
    unknown = _UNKNOWN.fullmatch(message)
    if unknown is None:
        return ""
    table = _find_table(_find(whole, unknown["at"] or ""))
    names = [field.encode_name for field in table.fields] if table else []
    close = get_close_matches(unknown["name"], names, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _find_table(kind: inspect.Type | None) -> inspect.StructType | None:
    """Return the table itself, or the table that the setting is a list of."""
    match kind:
        case inspect.StructType():
            return kind
        case inspect.VarTupleType(item_type=item):
            return _find_table(item)
        case inspect.Metadata(type=inner):
            return _find_table(inner)
        case inspect.UnionType(types=types):
            return next(filter(None, map(_find_table, types)), None)
    return None
