"""The files of an access set: TOML or JSON in one directory. Error messages name file, line and key."""

import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from stagedoor.admin.apply.entries import TABLES, AccessFile
from stagedoor.admin.checks import check_name
from stagedoor.model.access_set import Owner, Row, RowKey, RowKind
from stagedoor.model.errors import RefusedError
from stagedoor.settings.mistakes import explain
from stagedoor.wire.oneline import to_one_line

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_FILES = 1000
MAX_KEY_PARTS = 16
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![\w.-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MAX_KEY_PARTS}}}")
_TOML_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_AT = re.compile(r"`\$\.(?P<table>\w+)(?:\[(?P<index>\d+)\](?:\.(?P<key>\w+))?)?")
_UNKNOWN = re.compile(r"unknown field `(\w+)`")
_KEY = re.compile(r"(\w+): ")
_HEADER = re.compile(r"\s*\[{1,2}\s*([\w.\"-]+)\s*\]{1,2}\s*(?:#.*)?")
_ASSIGNMENT = re.compile(r"\s*([\w-]+)\s*=")
_Part = tuple[str | int | None, str | int | None, str | int | None]
Lines = Mapping[_Part, int]
"""The line of each key of an entry (`("grants", 2, "app")`), of the entry (`("grants", 2, None)`), and of a
key outside entries (`("set", None, None)`)."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],]|[^\s{}\[\],:"]+')


@dataclass(frozen=True, slots=True)
class _Place:
    """An entry of a file, such as `grants[2]`."""

    file: str
    table: str
    index: int


@dataclass(frozen=True, slots=True)
class DeclaredSet:
    """The rows that the files of a set declare, and their places."""

    name: str
    rows: Sequence[Row]
    texts: Mapping[str, str]
    places: Mapping[tuple[RowKind, RowKey], _Place]
    _known: dict[str, Lines] = field(default_factory=dict, init=False, repr=False, compare=False)

    def describe_problem(self, row: Row, text: str) -> str:
        """Return a message about a row, with the file, the line and the entry that declare it."""
        place = self.places.get((row.kind, row.key))
        return text if place is None else _describe(self.texts, place, text, self._known)


def read_texts(directory: Path) -> dict[str, str]:
    """Return the texts of all `.toml` and `.json` files below `directory` by their paths in it.

    Raises RefusedError.
    """
    texts = {str(path.relative_to(directory)): _read(path) for path in _find_files(directory)}
    if not texts:
        raise RefusedError(f"there is no .toml or .json file in {directory}")
    return texts


def parse_set(texts: Mapping[str, str], name: str | None = None) -> DeclaredSet:
    """Parse the files of a set, given by their paths.

    `name` is the set's if no file says it. Raises RefusedError, whose message names file, line and key.
    """
    files = {file: _parse(file, text) for file, text in texts.items()}
    set_name = _find_name(texts, files, name)
    rows: list[Row] = []
    places: dict[tuple[RowKind, RowKey], _Place] = {}
    for file, content in files.items():
        owner = Owner(set_name, file)
        for table in TABLES:
            for index, entry in enumerate(getattr(content, table)):
                place = _Place(file, table, index)
                try:
                    for row in entry.make_rows(owner):
                        _add(texts, places, row, place)
                        rows.append(row)
                except (RefusedError, ValueError) as error:
                    raise RefusedError(_describe(texts, place, str(error))) from None
    return DeclaredSet(set_name, rows, texts, places)


def _add(
    texts: Mapping[str, str],
    places: dict[tuple[RowKind, RowKey], _Place],
    row: Row,
    place: _Place,
) -> None:
    known = places.setdefault((row.kind, row.key), place)
    if known is not place:
        raise RefusedError(f"the {row.name} is declared twice; see {_locate(texts, known, None)}")


def _find_files(directory: Path) -> Iterator[Path]:
    """Yield the files, sorted. Hidden files and folders are left out, as Kubernetes has in a volume."""
    count = 0
    for folder, folders, names in os.walk(directory, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or not name.endswith((".toml", ".json")):
                continue
            count += 1
            if count > MAX_FILES:
                raise RefusedError(f"there are more than {MAX_FILES} files in {directory}")
            yield Path(folder) / name


def _refuse(error: OSError) -> None:
    raise RefusedError(f"{error.filename} cannot be read: {error.strerror}")


def _read(path: Path) -> str:
    if not str(path).isprintable():
        raise RefusedError(f"{str(path)!r} cannot be the name of a file of a set: rename it")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise RefusedError(f"{path} has more than {MAX_FILE_BYTES} bytes")
        return content.decode()
    except UnicodeDecodeError:
        raise RefusedError(f"{path} is not UTF-8") from None
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror}") from None


def _find_name(texts: Mapping[str, str], files: Mapping[str, AccessFile], name: str | None) -> str:
    """Return the name of the set, on which all files agree. Raises RefusedError."""
    for file, content in files.items():
        if content.set is None or content.set == name:
            continue
        if name is not None:
            at = _locate(texts, _Place(file, "set", 0), None)
            raise RefusedError(
                f"{at}: set is {content.set!r}, and {name!r} in another file or by --set"
            )
        name = content.set
    if name is None:
        raise RefusedError('no file names the set; write set = "NAME" in one, or use --set')
    check_name(name, "set")
    return name


def _parse(file: str, text: str) -> AccessFile:
    """Parse one file. Raises RefusedError."""
    try:
        if file.endswith(".json"):
            document = json.loads(text, object_pairs_hook=_require_distinct)
        else:
            _check_keys(file, text)
            document = tomllib.loads(text)
        return msgspec.convert(document, AccessFile)
    except json.JSONDecodeError as error:
        raise RefusedError(f"{file}:{error.lineno}: this is not valid JSON: {error.msg}") from None
    except tomllib.TOMLDecodeError as error:
        line = _TOML_LINE.search(str(error))
        at = file if line is None else f"{file}:{line[1]}"
        raise RefusedError(
            f"{at}: this is not valid TOML: {to_one_line(str(error), 200)}"
        ) from None
    except msgspec.ValidationError as error:
        raise RefusedError(_explain(file, text, str(error))) from None
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{file}: {to_one_line(str(error), 200)}") from None


def _check_keys(file: str, text: str) -> None:
    """Refuse a dotted key with too many parts: `tomllib` takes memory by the square of their number."""
    key = _LONG_KEY.search(text)
    if key is not None:
        line = text.count("\n", 0, key.start()) + 1
        raise RefusedError(f"{file}:{line}: a key has more than {MAX_KEY_PARTS} parts")


def _require_distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object. Raise ValueError for a repeated key, which would hide a value."""
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {max(keys, key=keys.count)!r} is there twice")
    return content


def _explain(file: str, text: str, message: str) -> str:
    """Rewrite msgspec's message, with the line."""
    what = explain(message, AccessFile).replace("there is no setting", "there is no key")
    unknown = _UNKNOWN.search(message)
    at = _AT.search(message)
    key = unknown and unknown[1]
    if at is None:
        place = _Place(file, key or "", 0)
        key = None
    else:
        place = _Place(file, at["table"], int(at["index"] or 0))
        key = key or at["key"]
    return f"{_locate({file: text}, place, key)}: {to_one_line(what, 300)}"


def _describe(
    texts: Mapping[str, str], place: _Place, text: str, known: dict[str, Lines] | None = None
) -> str:
    """Return `grants.toml:7: grants[2]: …`; a text that begins with a key has that key's line."""
    key = _KEY.match(text)
    line = _locate(texts, place, key and key[1], known)
    return f"{line}: {place.table}[{place.index}]: {text}"


def _locate(
    texts: Mapping[str, str], place: _Place, key: str | None, known: dict[str, Lines] | None = None
) -> str:
    """Return `grants.toml:7`, the line of `key` or of its entry. `known` keeps the lines of a file."""
    known = {} if known is None else known
    if place.file not in known:
        list_lines = list_json_lines if place.file.endswith(".json") else list_toml_lines
        known[place.file] = list_lines(texts[place.file])
    lines = known[place.file]
    entry = (place.table, place.index)
    for wanted in ((*entry, key), (*entry, None), (place.table, None, None)):
        if (line := lines.get(wanted)) is not None:
            return f"{place.file}:{line}"
    return place.file


def list_toml_lines(text: str) -> Lines:
    """Return the lines of the entries and keys in a TOML file, from 1 on."""
    lines: dict[_Part, int] = {}
    counts = Counter[str]()
    table: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            table = header[1]
            lines[table, counts[table], None] = number
            counts[table] += 1
        elif assignment := _ASSIGNMENT.match(line):
            name = assignment[1]
            part = (name, None, None) if table is None else (table, counts[table] - 1, name)
            lines.setdefault(part, number)
    return lines


def list_json_lines(text: str) -> Lines:
    """Return the lines of the entries and keys in a JSON file, as `list_toml_lines` does."""
    lines: dict[_Part, int] = {}
    path: list[str | int | None] = []
    number, at = 1, 0
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
            path[-1] = json.loads(part, strict=False)
        number, at = number + text.count("\n", at, match.start()), match.start()
        if part not in ",[" and path and isinstance(path[0], str):
            for depth in range(1, min(len(path), 3) + 1):
                first, second, third = (*path[:depth], None, None)[:3]
                lines.setdefault((first, second, third), number)
    return lines
