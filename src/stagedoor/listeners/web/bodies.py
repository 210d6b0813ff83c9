"""The bodies of requests: bounded in size and time, as forms and as JSON."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request

from stagedoor.model.denial import Denial, Reason

MAX_FORM_BYTES = 32 * 1024
MAX_OBJECT_BYTES = 4096
BODY_S = 10.0
"""The longest that a small body may take in all, seconds."""


class BodyTooLongError(Exception):
    """A request's body is longer than its limit."""


class BodyTimeoutError(Exception):
    """A request's body was not complete in time."""


async def read_body(request: Request, most: int, within_s: float) -> bytes:
    """Return the body of at most `most` bytes, which must be complete within `within_s` seconds.

    Raises BodyTooLongError and BodyTimeoutError.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(within_s):
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise BodyTooLongError(f"the request's body is longer than {most} bytes")
    except TimeoutError:
        why = f"the request's body was not complete after {within_s:g} s"
        raise BodyTimeoutError(why) from None
    return bytes(body)


async def read_form_fields(request: Request) -> dict[str, str] | Denial:
    """Return the last value of each field of a URL-encoded form."""
    body = await _read_small_body(request, MAX_FORM_BYTES)
    if isinstance(body, Denial):
        return body
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return Denial(Reason.BAD_REQUEST, "the form cannot be read")
    return {name: values[-1] for name, values in fields.items()}


async def read_object(request: Request, most: int = MAX_OBJECT_BYTES) -> Mapping[str, Any] | Denial:
    """Return the JSON object in a request's body (RFC 8259 §4); an empty one without a body.

    A body of more than `most` bytes is refused.
    """
    body = await _read_small_body(request, most)
    return body if isinstance(body, Denial) else parse_object(body)


def parse_object(body: bytes) -> Mapping[str, Any] | Denial:
    """Return the JSON object in `body`."""
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return Denial(Reason.BAD_REQUEST, "the body is no JSON")
    if not isinstance(value, dict):
        return Denial(Reason.BAD_REQUEST, "the body is no JSON object")
    return value


async def _read_small_body(request: Request, most: int) -> bytes | Denial:
    try:
        return await read_body(request, most, BODY_S)
    except (BodyTooLongError, BodyTimeoutError) as error:
        return Denial(Reason.BAD_REQUEST, str(error))
