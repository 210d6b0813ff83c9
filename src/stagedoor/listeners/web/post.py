"""The routes of the API. Each request is a POST with JSON, from one of our own pages or from a program.

A cookie alone must not authorise pages of other sites.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stagedoor.listeners.web.bodies import MAX_OBJECT_BYTES, read_object
from stagedoor.listeners.web.errors import answer_refusal
from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.shell import ProgressStep
from stagedoor.model.source import Source

WAIT_S = 15.0
"""How long a request waits for output or for a person. Proxies cut off slow answers, so clients ask again."""
MAX_CHARS = 4096
"""The characters of a field that are accepted."""
Fields = Mapping[str, Any]
"""The JSON object in a request's body."""
Answer = Mapping[str, object] | Response | Denial
Act = Callable[[Identity, Fields, Source], Awaitable[Answer]]
ScriptAct = Callable[[Request, Fields], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class PostRoutes:
    """A maker of routes.

    `identify` verifies the user's identity. `answer_refusal` turns a denial into an answer, with instructions
    for a person.
    """

    guard: RequestGuard
    identify: Callable[[Request, Source], Awaitable[Identity | Denial]]
    answer_refusal: Callable[[Denial, Sequence[ProgressStep]], Response]

    def make_route(
        self,
        path: str,
        act: Act,
        *,
        answers_strangers: bool = False,
        max_bytes: int = MAX_OBJECT_BYTES,
    ) -> Route:
        """Return a route for `act`. With `answers_strangers`, the answer without a credential is empty.

        A body of more than `max_bytes` is refused.
        """

        async def answer(request: Request) -> Response:
            source = self.guard.find_source(request)
            denial = self.guard.check_source(request)
            body = denial or await read_object(request, max_bytes)
            if isinstance(body, Denial):
                return self.answer_refusal(self.guard.record_denial(request, body), ())
            identity = await self.identify(request, source)
            if isinstance(identity, Denial):
                if answers_strangers and identity.reason is Reason.CREDENTIAL_MISSING:
                    return JSONResponse({})
                return self.answer_refusal(self.guard.record_denial(request, identity), ())
            result = await act(identity, body, source)
            if isinstance(result, Response):
                return result
            if isinstance(result, Denial):
                return self.answer_refusal(result, ())
            return JSONResponse(result)

        return Route(path, answer, methods=["POST"])


def make_script_route(
    guard: RequestGuard, path: str, act: ScriptAct, max_bytes: int = MAX_OBJECT_BYTES
) -> Route:
    """Return a route for the scripts of our own pages, also without a user. A denial is audited."""

    async def answer(request: Request) -> Response:
        denial = guard.check_source(request) or guard.check_own_page(request)
        body = denial or await read_object(request, max_bytes)
        result = body if isinstance(body, Denial) else await act(request, body)
        return answer_in_json(guard, request, result)

    return Route(path, answer, methods=["POST"])


def read_string(fields: Fields, name: str, most: int = MAX_CHARS) -> str:
    """Return the text in a field, or "" if it is no text or has more than `most` characters."""
    value = fields.get(name)
    return value if isinstance(value, str) and len(value) <= most else ""


def answer_in_json(guard: RequestGuard, request: Request, result: Answer) -> Response:
    """Return a result as an answer in JSON, after the audit of a denial."""
    if isinstance(result, Denial):
        return answer_refusal(guard.record_denial(request, result))
    return result if isinstance(result, Response) else JSONResponse(dict(result))
