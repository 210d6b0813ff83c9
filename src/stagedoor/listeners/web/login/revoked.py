"""`/revoked.krl`, the key revocation list, which servers that trust the user CA fetch by a timer.

Its serial numbers are no secret.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.errors import refusal
from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.model.denial import Denial


class RevokedKeys:
    """The route of the revocation list. Belongs to one event loop."""

    def __init__(
        self,
        guard: RequestGuard,
        krl: Callable[[], Awaitable[bytes | Denial]],
    ) -> None:
        self._guard = guard
        self._krl = krl
        self.routes: list[BaseRoute] = [Route("/revoked.krl", self._answer)]

    async def _answer(self, request: Request) -> Response:
        denial = self._guard.check_source(self._guard.source_of(request))
        krl = denial or await self._krl()
        if isinstance(krl, Denial):
            return refusal(krl)
        return Response(
            krl, media_type="application/octet-stream", headers={"Cache-Control": "no-store"}
        )
