"""Signing in and out on the web: a form, a link that is good once, and the cookie that remembers it.

Every change is a POST whose Origin is our own (RFC 6454), and the cookie is SameSite=Strict
(RFC 6265bis §5.6.7): a page of another site can neither sign somebody in nor act for who is.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.ports import PassIssuer
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.webpass import PassKind, ProviderAnswer
from stagedoor.wire.user_agent import device_of

_ON_HOST, _ON_DOMAIN, _PLAIN = "__Host-stagedoor", "__Secure-stagedoor", "stagedoor"
"""By what the connection allows: over TLS on one host, over TLS on a domain of apps, over plain HTTP. No
other name than that of the connection is read: a page of a sibling site, which can set the weaker ones,
would sign a person in as somebody else (RFC 6265bis §4.1.3)."""
MOST_SIGNED_OUT = 4
"""Of several cookies of one name, each of which costs the store a question."""
MAX_FORM_BYTES = 32 * 1024
MAX_OBJECT_BYTES = 4096
_REPLACED = "a later sign-in in this browser took the place of yours; sign in again to come back"
BODY_S = 10.0
"""What is sent is small and must be complete within this time, however its bytes drip in."""


def shown_cookies(guard: RequestGuard, connection: HTTPConnection) -> list[str]:
    """The secrets of all cookies of this connection's name, in the order in which they came.

    Only blanks and tabs are around a name (RFC 6265 §4.2.1): what else Unicode calls a blank is part of it.
    """
    wanted, _, _ = _kind(guard, connection)
    pairs = ";".join(connection.headers.getlist("cookie")).split(";")
    named = (pair.partition("=") for pair in pairs)
    return [
        value.strip(" \t")
        for name, equals, value in named
        if equals and name.strip(" \t") == wanted
    ]


def shown_cookie(guard: RequestGuard, connection: HTTPConnection) -> str | Denial | None:
    """The secret of the pass that the browser shows, if any. Two cookies of its name are refused."""
    found = shown_cookies(guard, connection)
    if len(found) > 1:
        return Denial(
            Reason.BAD_REQUEST,
            "your browser shows two sign-ins at once, and one may be set by another site of this domain; "
            f"delete the cookies of {connection.url.hostname} in your browser, then sign in",
        )
    return found[0] or None if found else None


def cookie_kind(
    guard: RequestGuard, connection: HTTPConnection, suffix: str = ""
) -> tuple[str, str | None, bool]:
    """The name of this connection's cookie, its domain (None for this host alone), and whether it is
    for TLS only; `suffix` stands for another cookie beside the pass."""
    name, domain, secure = _kind(guard, connection)
    return name + suffix, domain, secure


def set_cookie(response: Response, secret: str, guard: RequestGuard, request: Request) -> None:
    """Give the browser the pass. It ends with the browser's session, or the pass's time.

    Where each app has a domain of its own, one signing in holds for all of them.
    """
    name, domain, secure = _kind(guard, request)
    response.set_cookie(
        name, secret, path="/", domain=domain, secure=secure, httponly=True, samesite="strict"
    )


async def new_session(
    passes: PassIssuer,
    guard: RequestGuard,
    request: Request,
    identity: Identity,
    before: str | None,
    answer: ProviderAnswer | None = None,
) -> str | Denial:
    """The secret of a new sign-in. The one `before` it in the same browser ends, or nobody could."""
    ended = None if before is None else await passes.sign_out(before, _REPLACED)
    guard.proved(request, identity)
    if ended is not None:
        return ended
    source = guard.source_of(request).address
    device = device_of(request.headers.get("user-agent", ""))
    return await passes.issue(
        PassKind.SESSION, identity, source=str(source), label=device, answer=answer
    )


def drop_cookies(response: Response, guard: RequestGuard, request: Request) -> None:
    """Take it back; where it is of a whole domain, one of the same name for this host alone too."""
    name, domain, secure = _kind(guard, request)
    for each in {domain, None}:
        response.delete_cookie(
            name, path="/", domain=each, secure=secure, httponly=True, samesite="strict"
        )


def _kind(guard: RequestGuard, connection: HTTPConnection) -> tuple[str, str | None, bool]:
    secure = guard.secure(connection)
    domain = guard.limits.domain
    host = connection.url.hostname or ""
    if domain is not None and (host == domain or host.endswith(f".{domain}")):
        return (_ON_DOMAIN if secure else _PLAIN), domain, secure
    return (_ON_HOST if secure else _PLAIN), None, secure


async def body_of(request: Request, most: int) -> bytes | Denial:
    """What was sent, if it is no longer than `most` bytes and comes within `BODY_S` seconds."""
    body = b""
    try:
        async with asyncio.timeout(BODY_S):
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    return Denial(Reason.BAD_REQUEST, f"what was sent is longer than {most} bytes")
    except TimeoutError:
        return Denial(Reason.BAD_REQUEST, f"what was sent was not complete after {BODY_S:g} s")
    return body


async def form_of(request: Request) -> dict[str, str] | Denial:
    """The fields of a form, each once (URL-encoded, as HTML sends it)."""
    body = await body_of(request, MAX_FORM_BYTES)
    if isinstance(body, Denial):
        return body
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return Denial(Reason.BAD_REQUEST, "the form cannot be read")
    return {name: values[-1] for name, values in fields.items()}


async def object_of(request: Request) -> Mapping[str, Any] | Denial:
    """The JSON object that was sent (RFC 8259 §4); an empty one for nothing."""
    body = await body_of(request, MAX_OBJECT_BYTES)
    return body if isinstance(body, Denial) else object_in(body)


def object_in(body: bytes) -> Mapping[str, Any] | Denial:
    """The JSON object in a body."""
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return Denial(Reason.BAD_REQUEST, "the body is no JSON")
    if not isinstance(found, dict):
        return Denial(Reason.BAD_REQUEST, "the body is no JSON object")
    return found


def safe_path(wanted: str, otherwise: str) -> str:
    """Where to go after signing in: only a path of our own, whatever the form says.

    `//host` and `/\\host` lead elsewhere (URL Standard §4.4).
    """
    fits = (
        wanted.startswith("/")
        and not wanted.startswith(("//", "/\\"))
        and wanted.isascii()
        and wanted.isprintable()
    )
    return wanted if fits else otherwise
