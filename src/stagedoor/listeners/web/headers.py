"""What every answer says of itself, so that no page of ours can be framed, sniffed or injected into.

Sources: Content Security Policy Level 3, Fetch Metadata, the OWASP Secure Headers Project.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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


class Guarded:
    """Middleware that sets them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded)
