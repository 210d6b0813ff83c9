"""What is asked of every request, and what every answer says of itself.

No page of ours can be framed, sniffed or injected into. Sources: Content Security Policy Level 3, Fetch
Metadata, the OWASP Secure Headers Project; RFC 6797 for TLS alone.
"""

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.model.denial import Reason
from stagedoor.wire.answer import status_of
from stagedoor.wire.hostname import names_address, parse_host

STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Of all but the terminal's page: nothing inline, nothing from elsewhere."""

HEADERS = {
    "content-security-policy": STRICT,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: with it a browser sends `Origin: null` with our own forms (Fetch §3.2).
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "cache-control": "no-store",
}
"""Set on each answer that does not say otherwise."""


def of_terminal(nonce: str) -> str:
    """The policy of the terminal's page, whose style elements carry `nonce`.

    xterm.js makes style elements for its colours and its cell size, and its sixel decoder is
    WebAssembly, which is allowed apart from eval.
    """
    return (
        STRICT.replace("style-src 'self'", f"style-src 'self' 'nonce-{nonce}'")
        .replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
        .replace("img-src 'self' data:", "img-src 'self' data: blob:")
    )


TLS_ALONE = "max-age=31536000"
"""Strict-Transport-Security: for a year, browsers come to this name by TLS only (RFC 6797 §6.1)."""
MISDIRECTED = 421
"""RFC 9110 §15.5.20: this server answers for other names."""


class GuardMiddleware:
    """Middleware: strangers, and requests for another name, get a refusal; all answers, the headers."""

    def __init__(self, app: ASGIApp, guard: RequestGuard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        denial = self._guard.refused(connection)
        if denial is not None:
            self._guard.flow.deny(denial, web(self._guard.source_of(connection)))
            if scope["type"] == "websocket":
                # Closed before it was accepted, it is answered with 403 (RFC 6455 §4.2.2).
                await send({"type": "websocket.close"})
                return
            misdirected = denial.reason is Reason.TARGET_NOT_ALLOWED
            status = MISDIRECTED if misdirected else status_of(denial.reason)
            app: ASGIApp = PlainTextResponse(f"{denial.line}\n", status)
        else:
            app = self._app
        tls_alone = denial is None and self._tls_alone(connection)
        await app(scope, receive, self._guarded(connection, send, tls_alone))

    def _guarded(self, connection: HTTPConnection, send: Send, tls_alone: bool) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if tls_alone:
                    headers["strict-transport-security"] = TLS_ALONE
                if "location" in headers:
                    headers["location"] = _path_alone(headers["location"], connection)
            await send(message)

        return guarded

    def _tls_alone(self, connection: HTTPConnection) -> bool:
        """Whether to say so. It is for a whole name: not ours to say below a path of another site,
        nor of an address, where no browser heeds it (RFC 6797 §8.1.1)."""
        host = parse_host(connection.headers.get("host", ""))
        return (
            self._guard.secure(connection)
            and not self._guard.limits.path
            and host is not None
            and not names_address(host)
        )


def _path_alone(location: str, connection: HTTPConnection) -> str:
    """Where a redirect leads, without our own origin: behind a proxy that does TLS, we see http."""
    ours = f"{connection.url.scheme}://{connection.headers.get('host', '')}"
    rest = location.removeprefix(ours)
    return rest if rest.startswith("/") and not rest.startswith("//") else location
