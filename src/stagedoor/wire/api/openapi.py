"""The API's description in OpenAPI 3.1, made of the table of operations."""

from collections.abc import Collection, Mapping
from functools import cache
from inspect import cleandoc
from typing import Any

import msgspec

from stagedoor.wire.api import types as t
from stagedoor.wire.api.operation import Operation
from stagedoor.wire.api.operations import MAX_PAGE, OPERATIONS, PREFIX

VERSION = "1.0"
_REFERENCE = "#/components/schemas/{name}"
_PAGING = (
    ("page_size", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}),
    ("page_token", {"type": "string", "maxLength": 1000}),
)


@cache
def encode_openapi() -> bytes:
    """Return the description as JSON."""
    return msgspec.json.format(msgspec.json.encode(describe_api()), indent=1) + b"\n"


def describe_api() -> dict[str, Any]:
    """Return the description as an OpenAPI document."""
    types = [t.Problem, t.Preview]
    for operation in OPERATIONS:
        types += [kind for kind in (operation.answer, operation.body) if kind not in (None, bytes)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    for schema in components.values():
        # A docstring, which Python before 3.13 keeps with its indentation.
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
    shown = {repr(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        path = paths.setdefault(operation.path, {})
        path[operation.method.lower()] = _describe_operation(operation, shown)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stagedoor", "version": VERSION},
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-stagedoor"},
            },
        },
    }


def _describe_operation(
    operation: Operation, shown: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    answer = {} if operation.is_file else shown[repr(operation.answer)]
    kind = "application/octet-stream" if operation.is_file else "application/json"
    done: dict[str, Any] = {"description": "Done", "content": {kind: {"schema": answer}}}
    if operation.is_tagged and operation.method != "DELETE":
        done["headers"] = {"ETag": {"schema": {"type": "string"}}}
    answers = {str(operation.status): done}
    if operation.has_preview:
        preview = {"application/json": {"schema": shown[repr(t.Preview)]}}
        if operation.status == 200:
            preview = {"application/json": {"schema": {"anyOf": [answer, shown[repr(t.Preview)]]}}}
            done["content"] = preview
        else:
            answers["200"] = {"description": "A dry run", "content": preview}
    refusal = {"application/problem+json": {"schema": shown[repr(t.Problem)]}}
    for status in operation.statuses:
        answers[str(status)] = {"description": "Refused", "content": refusal}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": _describe_rights(operation),
        "tags": [operation.resource],
        "parameters": _describe_parameters(operation),
        "responses": answers,
    }
    if operation.body is not None:
        content = {"application/json": {"schema": shown[repr(operation.body)]}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _describe_rights(operation: Operation) -> str:
    rights = f"Takes the role {operation.role}." if operation.role else "Takes no role."
    text = f"{rights} Scope of a token: {' or '.join(operation.scopes)}."
    return text + (" For people only, not for tokens." if operation.is_for_person else "")


def _describe_parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters = []
    for name in operation.parameters:
        schema: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 200}
        if operation.is_number(name):
            schema = {"type": "integer", "minimum": 1, "maximum": 999_999_999}
        parameters.append({"name": name, "in": "path", "required": True, "schema": schema})
    query, required = _describe_query(operation)
    for name, schema in query:
        is_required = name in required
        parameters.append({"name": name, "in": "query", "required": is_required, "schema": schema})
    if operation.is_matched:
        schema = {"type": "string", "description": "The ETag of what was read, or *"}
        parameters.append({"name": "If-Match", "in": "header", "required": True, "schema": schema})
    if operation.method == "POST":
        schema = {"type": "string", "minLength": 1, "maxLength": 200}
        parameters.append({"name": "Idempotency-Key", "in": "header", "schema": schema})
    return parameters


def _describe_query(
    operation: Operation,
) -> tuple[list[tuple[str, dict[str, Any]]], Collection[str]]:
    _, components = msgspec.json.schema_components([operation.filters])
    schema = components[operation.filters.__name__]
    query = list(schema.get("properties", {}).items())
    if operation.is_list:
        query += _PAGING
    if operation.waits:
        query += _PAGING[:1]
    if operation.has_preview:
        query.append(("dry_run", {"type": "boolean"}))
    return query, schema.get("required", ())
