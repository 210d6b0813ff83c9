"""What version 1 of the API has promised stays: `released.json` has each request and its fields."""

import json
from pathlib import Path
from typing import Any

import pytest

from stagedoor.wire.api.openapi import describe_api

RELEASED = Path(__file__).parent / "released.json"


def promise() -> dict[str, dict[str, list[str]]]:
    """Return the fields of each operation's request, query and answers, by operation."""
    described = describe_api()
    schemas = described["components"]["schemas"]

    def fields(schema: Any) -> set[str]:
        if isinstance(schema, list):
            return set().union(*map(fields, schema))
        if not isinstance(schema, dict):
            return set()
        name = schema.get("$ref", "").rpartition("/")[2]
        own = set(schema.get("properties", ())) if "properties" in schema else set()
        return own.union(fields(schemas[name]) if name else set(), *map(fields, schema.values()))

    return {
        f"{method.upper()} {path}": {
            "query": sorted(p["name"] for p in operation["parameters"] if p["in"] == "query"),
            "body": sorted(fields(operation.get("requestBody", {}))),
            "answer": sorted(fields(operation["responses"])),
        }
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }


@pytest.mark.access(24)
def test_nothing_that_was_promised_is_gone() -> None:
    now = promise()
    for request, parts in json.loads(RELEASED.read_text()).items():
        assert request in now, f"{request} is gone: version 1 only grows"
        for part, names in parts.items():
            assert set(names) <= set(now[request][part]), (request, part)


def test_what_is_new_is_promised_from_now_on() -> None:
    """Run `python -m tests.api.test_contract` after adding something."""
    assert promise() == json.loads(RELEASED.read_text())


if __name__ == "__main__":
    RELEASED.write_text(json.dumps(promise(), indent=1, sort_keys=True) + "\n")
