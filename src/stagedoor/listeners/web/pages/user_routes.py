"""The routes of pages for users who have signed in."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stagedoor.listeners.web.pages.base import Pages
from stagedoor.model.identity import Identity

Identify = Callable[[Request], Awaitable[Identity | Response]]
Show = Callable[[Request, Identity], Awaitable[Response]]
Act = Callable[[Request, Identity, dict[str, str]], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class UserRoutes:
    """A maker of routes. `identify` returns the user, or the answer to send instead."""

    pages: Pages
    identify: Identify

    def get(self, path: str, show: Show) -> Route:
        """Return the route of a page."""

        async def answer(request: Request) -> Response:
            identity = await self.identify(request)
            return identity if isinstance(identity, Response) else await show(request, identity)

        return Route(path, answer, methods=["GET"])

    def post(self, path: str, act: Act) -> Route:
        """Return the route of a form that one of our own pages sends."""

        async def answer(request: Request) -> Response:
            fields = await self.pages.read_form(request)
            if isinstance(fields, Response):
                return fields
            identity = await self.identify(request)
            if isinstance(identity, Response):
                return identity
            return await act(request, identity, fields)

        return Route(path, answer, methods=["POST"])
