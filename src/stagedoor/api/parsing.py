"""The values of a request: its query, its headers and its body, each checked."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import fields

from stagedoor.api.problems import make_problem
from stagedoor.wire.api.inputs import Until
from stagedoor.wire.api.operation import Operation
from stagedoor.wire.api.operations import MAX_PAGE, PAGE

MAX_KEY_CHARS = 200
_ENTITY_TAGS = 20


class ApiRequestError(Exception):
    """A refused request. Its arguments are those of `make_problem`."""

    def __init__(
        self, status: int, reason: str, detail: str, *, pointer: str | None = None
    ) -> None:
        super().__init__(detail)
        self.problem = make_problem(status, reason, detail, pointer=pointer)


def find_request_key(operation: Operation, user: str, headers: Mapping[str, str]) -> str | None:
    """Return the digest of a request's Idempotency-Key, which belongs to its user, or None."""
    key = headers.get("idempotency-key")
    if key is None or operation.method != "POST":
        return None
    if not (0 < len(key) <= MAX_KEY_CHARS and key.isascii() and key.isprintable()):
        line = f"an Idempotency-Key has 1 to {MAX_KEY_CHARS} characters of ASCII"
        raise ApiRequestError(400, "bad_request", line)
    return hashlib.sha256(f"{user}\0{key}".encode()).hexdigest()


def parse_if_match(operation: Operation, headers: Mapping[str, str]) -> list[str] | None:
    """Return the ETags in If-Match, None for any. Raises ApiRequestError."""
    if not operation.is_matched:
        return None
    value = headers.get("if-match")
    if value is None:
        line = "send the ETag of what you read as If-Match, so that no change of others is lost"
        raise ApiRequestError(428, "precondition_required", line)
    if value.strip() == "*":
        return None
    return [tag.strip() for tag in value.split(",")[:_ENTITY_TAGS]]


def parse_page_size(text: str | None) -> int:
    """Return the number of items on a page. Raises ApiRequestError."""
    if text is None:
        return PAGE
    if text.isascii() and text.isdigit() and 0 < len(text) < 6 and 1 <= int(text) <= MAX_PAGE:
        return int(text)
    line = f"page_size is a number from 1 to {MAX_PAGE}"
    raise ApiRequestError(400, "bad_request", line)


def parse_flag(query: dict[str, str], name: str) -> bool:
    """Remove a flag from the query, and return it. Raises ApiRequestError."""
    value = query.pop(name, "false")
    if value not in ("true", "false"):
        raise ApiRequestError(400, "bad_request", f"{name} is true or false")
    return value == "true"


def parse_filters(query: Mapping[str, str], operation: Operation) -> Any:
    """Return the query as the operation's filters. Raises ApiRequestError."""
    times = {field.name for field in fields(operation.filters) if field.type == Until | None}
    try:
        # With the rule that converts text to numbers, a number would also be a valid time.
        values = {
            name: msgspec.convert(text, Until) if name in times else text
            for name, text in query.items()
        }
        return msgspec.convert(values, operation.filters, strict=False)
    except msgspec.ValidationError as error:
        raise ApiRequestError(400, "bad_request", f"in the query: {error}") from None


def decode_body(body: bytes, headers: Mapping[str, str], operation: Operation) -> Any:
    """Return the body as a value of the operation, None if it takes none. Raises ApiRequestError."""
    if operation.body is None:
        return None
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiRequestError(415, "bad_request", "send the body as application/json")
    try:
        return msgspec.json.decode(body, type=operation.body)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        pointer = place.rstrip("`").replace("[", "/").replace("]", "").replace(".", "/")
        raise ApiRequestError(422, "bad_value", text, pointer=pointer) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiRequestError(400, "bad_request", "the body is not JSON") from None
