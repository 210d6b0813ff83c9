"""The routes of forms, and of pages for users who have signed in."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stagedoor.listeners.web.pages.base import Pages
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity

Identify = Callable[[Request], Awaitable[Identity | Response]]
Refuse = Callable[[Request, Denial, Identity], Response]
Show = Callable[[Request, Identity], Awaitable[Response | Denial]]
Act = Callable[[Request, Identity, dict[str, str]], Awaitable[Response | Denial]]


class _NumberConvertor(IntegerConvertor):
    """The number of a row in a path. The store has none with more digits."""

    regex = "[0-9]{1,18}"


register_url_convertor("number", _NumberConvertor())


@dataclass(frozen=True, slots=True)
class UserRoutes:
    """A maker of routes. `identify` returns the user, or the answer to send instead.

    `render_refusal` turns a handler's denial into an answer. The default is `Pages.render_refusal`.
    """

    pages: Pages
    identify: Identify
    render_refusal: Refuse | None = None

    def get(self, path: str, show: Show) -> Route:
        """Return the route of a page."""

        async def answer(request: Request) -> Response:
            identity = await self.identify(request)
            if isinstance(identity, Response):
                return identity
            return self._respond(request, identity, await show(request, identity))

        return Route(path, answer, methods=["GET"])

    def post(self, path: str, act: Act) -> Route:
        """Return the route of a form that one of our own pages sends."""

        async def answer(request: Request, fields: dict[str, str]) -> Response:
            identity = await self.identify(request)
            if isinstance(identity, Response):
                return identity
            return self._respond(request, identity, await act(request, identity, fields))

        return make_form_route(self.pages, path, answer)

    def _respond(self, request: Request, identity: Identity, result: Response | Denial) -> Response:
        render_refusal = self.render_refusal or self.pages.render_refusal
        return render_refusal(request, result, identity) if isinstance(result, Denial) else result


def make_form_route(
    pages: Pages, path: str, act: Callable[[Request, dict[str, str]], Awaitable[Response]]
) -> Route:
    """Return the route of a form that one of our own pages sends, also without a user who has signed in."""

    async def answer(request: Request) -> Response:
        fields = await pages.read_form(request)
        return fields if isinstance(fields, Response) else await act(request, fields)

    return Route(path, answer, methods=["POST"])
