"""Single sign-on: to the identity provider and back (OpenID Connect Core §3.1).

The sign-in under way is in a cookie of its own, sealed by the gateway. It is SameSite=Lax, since the
browser comes back from another site, and it is good for nothing but to finish that sign-in.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.pages import markup
from stagedoor.listeners.web.pages.markup import PagePath
from stagedoor.listeners.web.ports import SignIns
from stagedoor.listeners.web.sign_in.cookies import cookie_kind, form_of, safe_path
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.webpass import ProviderAnswer, ProviderRequest, StepUpResult
from stagedoor.wire.answer import status_of

COOKIE_S = 900
SEE_OTHER = 303
_SUFFIX = "-sso"
MOST_QUERY_CHARS = 8192
_FRESH = {"Cache-Control": "no-store"}

Posted = Callable[[Request], Awaitable[dict[str, str] | Response]]
Denied = Callable[[Request, Denial], Response]
LetIn = Callable[[Request, Identity, str, ProviderAnswer], Awaitable[Response]]


class SingleSignOnRoutes:
    """Belongs to one event loop."""

    def __init__(
        self,
        guard: RequestGuard,
        sign_ins: SignIns,
        place: PagePath,
        posted: Posted,
        denied: Denied,
        let_in: LetIn,
    ) -> None:
        self._guard = guard
        self._sign_ins = sign_ins
        self._place = place
        self._home_path = f"{place.path}/"
        self._posted = posted
        self._denied = denied
        self._let_in = let_in
        self.routes: list[BaseRoute] = [
            Route("/sign-in/sso", self._begin, methods=["POST"]),
            Route("/sign-in/sso", self._finish, methods=["GET"]),
            Route("/sign-in/sso/logout", self._log_out, methods=["POST"]),
        ]

    async def _begin(self, request: Request) -> Response:
        fields = await self._posted(request)
        if isinstance(fields, Response):
            return fields
        wanted = safe_path(fields.get("next", ""), self._home_path)
        # Whole, since the provider sends the browser back to one host, whatever the app's own is.
        wanted = self._guard.own_origin(request) + wanted
        source = self._guard.source_of(request)
        begun = await self._sign_ins.begin(fields.get("provider", ""), wanted, source)
        if isinstance(begun, Denial):
            return self._denied(request, begun)
        return self.onward(request, *begun)

    def onward(self, request: Request, url: str, kept: str) -> Response:
        """To the provider."""
        # A page, and no redirect: `form-action 'self'` of the page before holds for where a form's answer
        # leads as well (CSP Level 3 §6.4.1, as Chromium has it).
        response = HTMLResponse(markup.onward(self._place, url))
        name, domain, secure = cookie_kind(self._guard, request, _SUFFIX)
        response.set_cookie(
            name,
            kept,
            max_age=COOKIE_S,
            path="/",
            domain=domain,
            secure=secure,
            httponly=True,
            samesite="lax",
        )
        return response

    async def _finish(self, request: Request) -> Response:
        source = self._guard.source_of(request)
        barred = self._guard.barred(source)
        if barred is not None:
            return self._denied(request, barred)
        name, _, _ = cookie_kind(self._guard, request, _SUFFIX)
        kept = request.cookies.get(name, "")
        query = request.url.query
        if len(query) > MOST_QUERY_CHARS:
            query = ""
        found = await self._sign_ins.finish(kept, parse_qsl(query, keep_blank_values=True), source)
        if isinstance(found, Denial):
            return self._forget(request, self._denied(request, found))
        if isinstance(found, ProviderRequest):
            return self.onward(request, found.url, found.kept)
        if isinstance(found, StepUpResult):
            return self._forget(request, RedirectResponse(found.wanted, SEE_OTHER))
        identity, wanted, answer = found
        return self._forget(request, await self._let_in(request, identity, wanted, answer))

    async def _log_out(self, request: Request) -> Response:
        """A provider's own POST (Back-Channel Logout 1.0 §2.5): its signature speaks, and no Origin."""
        source = self._guard.source_of(request)
        fields = self._guard.barred(source) or await form_of(request)
        if isinstance(fields, Denial):
            denial: Denial | None = fields
        else:
            denial = await self._sign_ins.log_out(fields.get("logout_token", ""), source)
        if denial is None:
            self._guard.proved(request, True)
            return Response(headers=_FRESH)
        self._guard.flow.deny(denial, web(source))
        said = {"error": "invalid_request", "error_description": denial.line}
        return JSONResponse(said, status_of(denial.reason), headers=_FRESH)

    def _forget(self, request: Request, response: Response) -> Response:
        """Its code is used up: nothing can be finished twice."""
        name, domain, secure = cookie_kind(self._guard, request, _SUFFIX)
        response.delete_cookie(
            name, path="/", domain=domain, secure=secure, httponly=True, samesite="lax"
        )
        return response
