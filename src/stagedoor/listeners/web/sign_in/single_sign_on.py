"""Single sign-on: to the identity provider and back (OpenID Connect Core §3.1).

A cookie of its own, sealed by the gateway, holds the sign-in in progress. It is SameSite=Lax, since the
browser comes back from another site, and it serves only to finish that sign-in.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.pages import markup
from stagedoor.listeners.web.pages.markup import PagePath
from stagedoor.listeners.web.sign_in.cookies import choose_cookie, read_form_fields, restrict_path
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.webpass import ProviderAnswer
from stagedoor.signin.provider_sign_in import ProviderRequest, ProviderSignIns, StepUpResult
from stagedoor.wire.http.answer import choose_status

COOKIE_S = 900
SEE_OTHER = 303
_SUFFIX = "-sso"
MOST_QUERY_CHARS = 8192
_FRESH = {"Cache-Control": "no-store"}

ReadForm = Callable[[Request], Awaitable[dict[str, str] | Response]]
Refuse = Callable[[Request, Denial], Response]
BeginSession = Callable[[Request, Identity, str, ProviderAnswer], Awaitable[Response]]


class SingleSignOnRoutes:
    """The routes of single sign-on. Belongs to one event loop."""

    def __init__(
        self,
        guard: RequestGuard,
        sign_ins: ProviderSignIns,
        place: PagePath,
        read_form: ReadForm,
        refuse: Refuse,
        begin_session: BeginSession,
    ) -> None:
        self._guard = guard
        self._sign_ins = sign_ins
        self._place = place
        self._home_path = f"{place.path}/"
        self._read_form = read_form
        self._refuse = refuse
        self._begin_session = begin_session
        self.routes: list[BaseRoute] = [
            Route("/sign-in/sso", self._begin, methods=["POST"]),
            Route("/sign-in/sso", self._finish, methods=["GET"]),
            Route("/sign-in/sso/logout", self._log_out, methods=["POST"]),
        ]

    async def _begin(self, request: Request) -> Response:
        fields = await self._read_form(request)
        if isinstance(fields, Response):
            return fields
        wanted = restrict_path(fields.get("next", ""), self._home_path)
        # A full URL: the provider sends the browser back to one host, and the app may have another.
        wanted = self._guard.find_own_origin(request) + wanted
        source = self._guard.source_of(request)
        begun = await self._sign_ins.begin(fields.get("provider", ""), wanted, source)
        if isinstance(begun, Denial):
            return self._refuse(request, begun)
        return self.onward(request, begun)

    def onward(self, request: Request, to: ProviderRequest) -> Response:
        """Send the browser to the provider. A cookie keeps the rest of the request until it returns."""
        # A page instead of a redirect: in Chromium, `form-action 'self'` of the page with the form also
        # applies to redirects after it (CSP Level 3 §6.4.1).
        response = HTMLResponse(markup.onward(self._place, to.url))
        name, domain, secure = choose_cookie(self._guard, request, _SUFFIX)
        response.set_cookie(
            name,
            to.kept,
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
        barred = self._guard.check_source(source)
        if barred is not None:
            return self._refuse(request, barred)
        name, _, _ = choose_cookie(self._guard, request, _SUFFIX)
        kept = request.cookies.get(name, "")
        query = request.url.query
        if len(query) > MOST_QUERY_CHARS:
            query = ""
        fields = parse_qsl(query, keep_blank_values=True)
        result = await self._sign_ins.finish(kept, fields, source)
        if isinstance(result, Denial):
            return self._forget(request, self._refuse(request, result))
        if isinstance(result, ProviderRequest):
            return self.onward(request, result)
        if isinstance(result, StepUpResult):
            return self._forget(request, RedirectResponse(result.wanted, SEE_OTHER))
        session = self._begin_session(request, result.identity, result.wanted, result.answer)
        return self._forget(request, await session)

    async def _log_out(self, request: Request) -> Response:
        """Serve a provider's POST (Back-Channel Logout 1.0 §2.5): its signature counts, not an Origin."""
        source = self._guard.source_of(request)
        fields = self._guard.check_source(source) or await read_form_fields(request)
        if isinstance(fields, Denial):
            denial: Denial | None = fields
        else:
            denial = await self._sign_ins.log_out(fields.get("logout_token", ""), source)
        if denial is None:
            self._guard.accept_proof(request, True)
            return Response(headers=_FRESH)
        self._guard.flow.deny(denial, web(source))
        error = {"error": "invalid_request", "error_description": denial.line}
        return JSONResponse(error, choose_status(denial.reason), headers=_FRESH)

    def _forget(self, request: Request, response: Response) -> Response:
        """Delete the cookie, so that the sign-in cannot be finished twice."""
        name, domain, secure = choose_cookie(self._guard, request, _SUFFIX)
        response.delete_cookie(
            name, path="/", domain=domain, secure=secure, httponly=True, samesite="lax"
        )
        return response
