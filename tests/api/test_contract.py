"""What version 1 of the API has promised stays: `released.json` has each request and type with its fields.

A word such as `name!:string` is a field that is required, and its type. In the entry of a request,
`?name:string` is a parameter of its query, `<UserNew` its body, and `201:UserEntry` an answer.
"""

import copy
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stagedoor.wire.api.openapi import describe_api

RELEASED = Path(__file__).parent / "released.json"
Promise = dict[str, str]
Description = dict[str, Any]


def promise(described: Description) -> Promise:
    """Return the parts of each operation, the fields of each type, and the values of each enum."""
    promised: Promise = {}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            promised[f"{method.upper()} {path}"] = join(list_parts(operation))
    for name, schema in described["components"]["schemas"].items():
        required = schema.get("required", ())
        fields = schema.get("properties", {}).items()
        words = [show_field(field, field in required, content) for field, content in fields]
        promised[name] = join([*words, *schema.get("enum", ())])
    return promised


def list_parts(operation: Description) -> Iterator[str]:
    for parameter in operation["parameters"]:
        if parameter["in"] == "query":
            is_required = parameter.get("required", False)
            yield "?" + show_field(parameter["name"], is_required, parameter["schema"])
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield "<" + show_type(content["schema"])
    for status, answer in operation["responses"].items():
        for content in answer.get("content", {}).values():
            yield f"{status if status < '400' else 'refused'}:{show_type(content['schema'])}"


def show_field(name: str, is_required: bool, schema: Description) -> str:
    return f"{name}{'!' if is_required else ''}:{show_type(schema)}"


def show_type(schema: Description) -> str:
    """Return a type as a word: `[Role]` is a list, `{string}` an object, `integer|null` one of two."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return "|".join(sorted(map(show_type, schema["anyOf"])))
    if "enum" in schema:
        return "|".join(sorted(map(str, schema["enum"])))
    match schema.get("type"):
        case "array":
            return f"[{show_type(schema.get('items', {}))}]"
        case "object":
            values = schema.get("additionalProperties", {})
            return f"{{{show_type(values) if isinstance(values, dict) else ''}}}"
        case None:
            return "any"
        case kind:
            return f"{kind}/{schema['format']}" if "format" in schema else str(kind)


def find_refs(part: Any) -> set[str]:
    """Return the types that a part of the description names."""
    parts = part.values() if isinstance(part, dict) else part
    if not isinstance(part, dict | list):
        return set()
    own = {part["$ref"].rpartition("/")[2]} if "$ref" in part else set()
    return own.union(*map(find_refs, parts))


def find_inputs(described: Description) -> set[str]:
    """Return the types that clients send."""
    operations = [op for path in described["paths"].values() for op in path.values()]
    names = find_refs([operation.get("requestBody", {}) for operation in operations])
    while more := find_refs([described["components"]["schemas"][n] for n in names]) - names:
        names |= more
    return names


def find_broken(promised: Promise, described: Description) -> list[str]:
    """Return what clients of the promised API would trip over."""
    now, inputs = promise(described), find_inputs(described)
    broken = [f"{name} is gone" for name in promised if name not in now]
    for name in promised.keys() & now.keys():
        before, after = set(promised[name].split()), set(now[name].split())
        broken += [f"{name}: {word} is gone" for word in before - after]
        if " " in name or name in inputs:
            broken += [f"{name}: {word} is wanted" for word in after - before if "!" in word]
    return broken


def join(words: Iterable[str]) -> str:
    return " ".join(sorted(set(words)))


@pytest.mark.access(24)
def test_nothing_that_was_promised_is_gone() -> None:
    assert find_broken(json.loads(RELEASED.read_text()), describe_api()) == []


def test_what_is_new_is_promised_from_now_on() -> None:
    """Run `python -m tests.api.test_contract` after adding something."""
    assert promise(describe_api()) == json.loads(RELEASED.read_text())


def _schema(described: Description, name: str) -> Description:
    schema: Description = described["components"]["schemas"][name]
    return schema


def _add(described: Description, name: str, *, required: bool = False) -> None:
    _schema(described, name)["properties"]["extra"] = {"type": "string"}
    if required:
        _schema(described, name)["required"].append("extra")


def _parameters(described: Description) -> list[Description]:
    parameters: list[Description] = described["paths"]["/users"]["get"]["parameters"]
    return parameters


_PARAMETER = {"name": "extra", "in": "query", "schema": {"type": "string"}}
CHANGES: dict[str, tuple[Callable[[Description], object], str | None]] = {
    "a removed field": (
        lambda d: _schema(d, "UserEntry")["properties"].pop("name"),
        "UserEntry: name!:string is gone",
    ),
    "a changed scalar": (
        lambda d: _schema(d, "RoleEntry")["properties"]["id"].update(type="string"),
        "RoleEntry: id!:integer is gone",
    ),
    "a removed value": (
        lambda d: _schema(d, "Role")["enum"].remove("auditor"),
        "Role: auditor is gone",
    ),
    "a field that may be missing": (
        lambda d: _schema(d, "RoleEntry")["required"].remove("role"),
        "RoleEntry: role!:Role is gone",
    ),
    "a new field that is wanted": (
        lambda d: _add(d, "UserNew", required=True),
        "UserNew: extra!:string is wanted",
    ),
    "a new parameter that is wanted": (
        lambda d: _parameters(d).append({**_PARAMETER, "required": True}),
        "GET /users: ?extra!:string is wanted",
    ),
    "a removed operation": (lambda d: d["paths"]["/users"].pop("get"), "GET /users is gone"),
    "a new field of an answer": (lambda d: _add(d, "UserEntry", required=True), None),
    "a new field of a request": (lambda d: _add(d, "UserNew"), None),
    "a new parameter": (lambda d: _parameters(d).append(_PARAMETER), None),
    "a new value": (lambda d: _schema(d, "Role")["enum"].append("guest"), None),
}


@pytest.mark.access(24)
@pytest.mark.parametrize(("change", "broken"), CHANGES.values(), ids=CHANGES)
def test_each_break_of_the_promise_is_seen(
    change: Callable[[Description], object], broken: str | None
) -> None:
    described = copy.deepcopy(describe_api())
    promised = promise(described)
    change(described)
    assert find_broken(promised, described) == ([] if broken is None else [broken])


if __name__ == "__main__":
    if broken := find_broken(json.loads(RELEASED.read_text()), describe_api()):
        raise SystemExit("version 1 only grows:\n" + "\n".join(broken))
    RELEASED.write_text(json.dumps(promise(describe_api()), indent=1, sort_keys=True) + "\n")
