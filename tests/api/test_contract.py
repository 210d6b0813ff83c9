"""What version 1 of the API has promised stays: `released.json` has each request and type with its fields."""

import json
from pathlib import Path
from typing import Any

import pytest

from stagedoor.wire.api.openapi import describe_api

RELEASED = Path(__file__).parent / "released.json"
Promise = dict[str, str]


def promise() -> Promise:
    """Return the parameters and types of each operation, and the fields of each type, in words."""
    described = describe_api()
    promised: Promise = {}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            query = [f"?{p['name']}" for p in operation["parameters"] if p["in"] == "query"]
            body = [f"<{name}" for name in types(operation.get("requestBody", {}))]
            promised[f"{method.upper()} {path}"] = join(
                [*query, *body, *types(operation["responses"])]
            )
    for name, schema in described["components"]["schemas"].items():
        if "properties" in schema:
            promised[name] = join(
                ":".join([field, *sorted(types(content))])
                for field, content in schema["properties"].items()
            )
    return promised


def types(schema: Any) -> set[str]:
    """Return the types that a part of the description names."""
    parts = schema.values() if isinstance(schema, dict) else schema
    if not isinstance(schema, dict | list):
        return set()
    own = {schema["$ref"].rpartition("/")[2]} if "$ref" in schema else set()
    return own.union(*map(types, parts))


def join(words: Any) -> str:
    return " ".join(sorted(words))


@pytest.mark.access(24)
def test_nothing_that_was_promised_is_gone() -> None:
    now = promise()
    for name, words in json.loads(RELEASED.read_text()).items():
        assert name in now, f"{name} is gone: version 1 only grows"
        assert set(words.split()) <= set(now[name].split()), name


def test_what_is_new_is_promised_from_now_on() -> None:
    """Run `python -m tests.api.test_contract` after adding something."""
    assert promise() == json.loads(RELEASED.read_text())


if __name__ == "__main__":
    RELEASED.write_text(json.dumps(promise(), indent=1, sort_keys=True) + "\n")
