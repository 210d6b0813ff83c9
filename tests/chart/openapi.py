"""Every field of a struct, as an API server's own OpenAPI document has it.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-v3
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]
SHELL = {"containers": 1, "initContainers": 0}
"""Which item of a list is bent: the shell's container comes second, after the one with the kit."""


@dataclass(frozen=True)
class Field:
    """`path` from the struct down; an int is the item of a list. `kind` is the schema's `type`."""

    path: Path
    kind: str

    def __str__(self) -> str:
        return ".".join(str(part) for part in self.path)


def fields(schemas: Mapping[str, Any], root: str) -> list[Field]:
    """Return the fields of `root` and of its parts, each struct at the first two places where it is."""
    seen: dict[str, int] = {}
    listed_fields: list[Field] = []
    waiting: list[tuple[str, Path]] = [(root, ())]
    while waiting:
        name, path = waiting.pop(0)
        if seen.get(name, 0) >= 2:
            continue
        seen[name] = seen.get(name, 0) + 1
        for field, schema in schemas[name].get("properties", {}).items():
            here = (*path, field)
            kind, below, item = _resolved(schema)
            listed_fields.append(Field(here, kind))
            if below is None:
                continue
            if kind == "array":
                here = (*here, SHELL.get(field, 0))
                listed_fields.append(Field(here, item))
            if schemas[below].get("properties"):
                waiting.append((below, here))
    return listed_fields


def _resolved(schema: Mapping[str, Any]) -> tuple[str, str | None, str]:
    """A field's type, the struct that it or its items are, and the type of its items."""
    reference = _reference(schema)
    if reference is not None:
        return "object", reference, ""
    kind = str(schema.get("type", "object"))
    items = schema.get("items") or {}
    below = _reference(items)
    return kind, below, "object" if below else str(items.get("type", "string"))


def _reference(schema: Mapping[str, Any]) -> str | None:
    for part in (schema, *schema.get("allOf", ())):
        if "$ref" in part:
            return str(part["$ref"]).rpartition("/")[2]
    return None


def values(field: Field) -> Iterator[Any]:
    """Values that the field may be given."""
    match field.kind:
        case "boolean":
            yield from (True, False)
        case "integer" | "number":
            yield from (0, 7)
        case "string":
            yield from ("bent", "0")
        case "array":
            yield ["bent"]
        case _:
            yield {"bent": "bent"}


def put(found: Any, path: Path, value: Any) -> Any:
    """A copy of `found` with that value there; what is missing on the way is made."""
    if not path:
        return value
    step, *rest = path
    if isinstance(step, int):
        items = list(found) if isinstance(found, list) else []
        items += [{} for _ in range(step + 1 - len(items))]
        items[step] = put(items[step], tuple(rest), value)
        return items
    before = dict(found) if isinstance(found, dict) else {}
    before[step] = put(before.get(step), tuple(rest), value)
    return before
