"""Middleware that answers nobody whose address a trusted reverse proxy leaves in doubt."""

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from stagedoor.listeners.web.threshold import Threshold, web
from stagedoor.wire.answer import status_of


class Named:
    """Asked before any route: every path, and every method."""

    def __init__(self, app: ASGIApp, threshold: Threshold) -> None:
        self._app = app
        self._threshold = threshold

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        connection = HTTPConnection(scope)
        denial = self._threshold.unnamed(connection)
        if denial is None:
            await self._app(scope, receive, send)
            return
        source = self._threshold.source_of(connection)
        self._threshold.flow.deny(denial, web(source), None, None)
        answer: ASGIApp = WebSocketClose()
        if scope["type"] == "http":
            answer = PlainTextResponse(f"{denial.message}\n", status_of(denial.reason))
        await answer(scope, receive, send)
