"""The middleware that checks every request and sets the security headers of every answer.

The headers prevent other sites from framing our pages and injecting content, and browsers from guessing
types. Sources: Content Security Policy Level 3, Fetch Metadata, the OWASP Secure Headers Project, and RFC
6797 for TLS only.
"""

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.pages.language import translate, use_language
from stagedoor.model.denial import Reason
from stagedoor.wire.http.answer import choose_status
from stagedoor.wire.http.fields import is_address_host, parse_host
from stagedoor.wire.language.choose import choose_by_header

STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""The policy of all pages except the terminal's: nothing inline, nothing from other sites."""

HEADERS = {
    "content-security-policy": STRICT,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # With no-referrer, browsers would send `Origin: null` with our own forms (Fetch §3.2).
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "cache-control": "no-store",
}
"""The defaults of each answer; an answer may set its own."""


def make_terminal_policy(nonce: str) -> str:
    """Return the Content-Security-Policy of the terminal's page, whose style elements have `nonce`.

    xterm.js creates style elements for its colours and its cell size. Its sixel decoder is WebAssembly,
    which the policy allows without allowing eval.
    """
    return (
        STRICT.replace("style-src 'self'", f"style-src 'self' 'nonce-{nonce}'")
        .replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
        .replace("img-src 'self' data:", "img-src 'self' data: blob:")
    )


HSTS = "max-age=31536000"
"""Strict-Transport-Security: browsers use only TLS for this name, for a year (RFC 6797 §6.1)."""
MISDIRECTED = 421
"""RFC 9110 §15.5.20: this server answers for other names."""


class GuardMiddleware:
    """ASGI middleware that refuses unknown sources and host names, and sets the headers of all answers."""

    def __init__(self, app: ASGIApp, guard: RequestGuard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI defines it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        use_language(choose_by_header(connection.headers.get("accept-language", "")))
        denial = self._guard.check_connection(connection)
        if denial is not None:
            self._guard.record_denial(connection, denial)
            if scope["type"] == "websocket":
                # Closing it before it is accepted answers 403 (RFC 6455 §4.2.2).
                await send({"type": "websocket.close"})
                return
            misdirected = denial.reason is Reason.TARGET_NOT_ALLOWED
            status = MISDIRECTED if misdirected else choose_status(denial.reason)
            app: ASGIApp = PlainTextResponse(f"{translate(denial.line)}\n", status)
        else:
            app = self._app
        is_tls_only = denial is None and self._is_tls_only(connection)
        await app(scope, receive, self._wrap_send(connection, send, is_tls_only))

    def _wrap_send(self, connection: HTTPConnection, send: Send, is_tls_only: bool) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if is_tls_only:
                    headers["strict-transport-security"] = HSTS
                if "location" in headers:
                    headers["location"] = _without_origin(headers["location"], connection)
            await send(message)

        return guarded

    def _is_tls_only(self, connection: HTTPConnection) -> bool:
        """Return whether to send Strict-Transport-Security.

        The header applies to a whole host name. If the WebShell is below a path, the rest of the site belongs
        to others. Browsers ignore the header for addresses (RFC 6797 §8.1.1).
        """
        host = parse_host(connection.headers.get("host", ""))
        return (
            self._guard.is_secure(connection)
            and not self._guard.settings.path
            and host is not None
            and not is_address_host(host)
        )


def _without_origin(location: str, connection: HTTPConnection) -> str:
    """Return a redirect's target without our own origin: behind a proxy with TLS we would write http."""
    origin = f"{connection.url.scheme}://{connection.headers.get('host', '')}"
    rest = location.removeprefix(origin)
    return rest if rest.startswith("/") and not rest.startswith("//") else location
