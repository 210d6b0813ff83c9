"""The cookie of a sign-in.

Every change is a POST whose Origin is our own (RFC 6454), and the cookie is SameSite=Strict
(RFC 6265bis §5.6.7): a page of another site can neither sign a user in nor act for one.
"""

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.webpass import ProviderAnswer
from stagedoor.signin.passes import PassService
from stagedoor.wire.http.fields import describe_device

_ON_HOST, _ON_DOMAIN, _PLAIN = "__Host-stagedoor", "__Secure-stagedoor", "stagedoor"
"""The cookie's name, by its connection: over TLS on one host, over TLS on a domain of apps, over plain HTTP.

Only the name for the kind of connection is read. A page of a sibling site can set the weaker names, and could
sign a user in as another (RFC 6265bis §4.1.3).
"""
MAX_SIGNED_OUT = 4
"""How many cookies of one name are signed out, since each takes a query of the store."""
_REPLACED = "a later sign-in in this browser replaced yours; sign in again to come back"


def read_cookies(guard: RequestGuard, connection: HTTPConnection) -> list[str]:
    """Return the secrets of all cookies with this connection's name, in their order.

    Only spaces and tabs may surround a name (RFC 6265 §4.2.1); other white space of Unicode is part of it.
    """
    wanted, _, _ = choose_cookie(guard, connection)
    pairs = ";".join(connection.headers.getlist("cookie")).split(";")
    named = (pair.partition("=") for pair in pairs)
    return [
        value.strip(" \t")
        for name, equals, value in named
        if equals and name.strip(" \t") == wanted
    ]


def read_cookie(guard: RequestGuard, connection: HTTPConnection) -> str | Denial | None:
    """Return the secret of the browser's pass, if there is one. Refuse two cookies of that name."""
    secrets = read_cookies(guard, connection)
    if len(secrets) > 1:
        return Denial(
            Reason.BAD_REQUEST,
            "your browser shows two sign-ins at once, and one may be set by another site of this domain; "
            f"delete the cookies of {connection.url.hostname} in your browser, then sign in",
        )
    return secrets[0] or None if secrets else None


async def identify_browser(
    guard: RequestGuard, passes: PassService, request: Request
) -> Identity | Denial:
    """Return the identity of the browser's session."""
    secret = read_cookie(guard, request)
    if isinstance(secret, Denial):
        return secret
    if secret is None:
        return Denial(Reason.CREDENTIAL_MISSING, "you are not signed in in this browser")
    identity = await passes.check_session(secret)
    if isinstance(identity, Identity):
        guard.accept_identity(request, identity)
    return identity


def choose_cookie(
    guard: RequestGuard, connection: HTTPConnection, suffix: str = ""
) -> tuple[str, str | None, bool]:
    """Return the cookie's name for a connection, its domain, and whether it is for TLS only.

    The domain is None for a cookie of this host only. `suffix` is for cookies other than the pass.
    """
    secure = guard.is_secure(connection)
    if guard.is_on_domain(connection):
        return (_ON_DOMAIN if secure else _PLAIN) + suffix, guard.settings.domain, secure
    return (_ON_HOST if secure else _PLAIN) + suffix, None, secure


def set_cookie(
    response: Response,
    secret: str,
    guard: RequestGuard,
    request: Request,
    suffix: str = "",
    *,
    is_strict: bool = True,
    max_age_s: int | None = None,
) -> None:
    """Set the cookie of a pass, or with `suffix` another one, for `max_age_s` or until the browser is closed.

    If each app has its own host name, one sign-in is for all of them. A cookie that `is_strict` is not sent
    when the user follows a link on another site.
    """
    name, domain, secure = choose_cookie(guard, request, suffix)
    response.set_cookie(
        name,
        secret,
        max_age_s,
        domain=domain,
        secure=secure,
        httponly=True,
        samesite="strict" if is_strict else "lax",
    )


async def start_session(
    passes: PassService,
    guard: RequestGuard,
    request: Request,
    identity: Identity,
    before: str | None,
    answer: ProviderAnswer | None = None,
) -> str | Denial:
    """Start a sign-in and return its secret.

    The sign-in `before` it in the same browser is ended, since no page could end it later.
    """
    ended = None if before is None else await passes.sign_out(before, _REPLACED)
    guard.accept_identity(request, identity)
    if ended is not None:
        return ended
    source = guard.find_source(request).address
    device = describe_device(request.headers.get("user-agent", ""))
    return await passes.open_session(identity, source=str(source), label=device, answer=answer)


def drop_cookies(response: Response, guard: RequestGuard, request: Request) -> None:
    """Delete the cookie of the pass, for its domain and for this host."""
    name, domain, secure = choose_cookie(guard, request)
    for scope in {domain, None}:
        response.delete_cookie(
            name, path="/", domain=scope, secure=secure, httponly=True, samesite="strict"
        )
