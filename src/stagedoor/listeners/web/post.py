"""The routes of the API: each request is a POST with JSON, from one of our own pages or with a credential.

A cookie alone must not serve the page of another site.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.sign_in.cookies import MAX_OBJECT_BYTES, read_object
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.source import Source
from stagedoor.session.flow import Flow

Answer = Mapping[str, object] | Response | Denial
Act = Callable[[Identity, Mapping[str, Any], Source], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class PostRoutes:
    """A maker of routes. `identify` verifies who asks, `refusal` makes a denial an answer."""

    flow: Flow
    guard: RequestGuard
    identify: Callable[[Request, Source], Awaitable[Identity | Denial]]
    refusal: Callable[[Denial], Response]

    def make_route(
        self,
        path: str,
        act: Act,
        *,
        answers_strangers: bool = False,
        max_bytes: int = MAX_OBJECT_BYTES,
    ) -> Route:
        """Return a route for `act`. `answers_strangers`: without a credential the answer is empty.

        A body of more than `max_bytes` is refused.
        """

        async def answer(request: Request) -> Response:
            source = self.guard.source_of(request)
            denial = self.guard.check_source(source)
            body = denial or await read_object(request, max_bytes)
            if isinstance(body, Denial):
                self.flow.deny(body, web(source))
                return self.refusal(body)
            identity = await self.identify(request, source)
            if isinstance(identity, Denial):
                if answers_strangers and identity.reason is Reason.CREDENTIAL_MISSING:
                    return JSONResponse({}, headers={"Cache-Control": "no-store"})
                self.flow.deny(identity, web(source))
                return self.refusal(identity)
            result = await act(identity, body, source)
            if isinstance(result, Response):
                return result
            if isinstance(result, Denial):
                return self.refusal(result)
            return JSONResponse(result, headers={"Cache-Control": "no-store"})

        return Route(path, answer, methods=["POST"])
