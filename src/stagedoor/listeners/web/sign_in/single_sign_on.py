"""Single sign-on, which leads to the identity provider and back (OpenID Connect Core §3.1).

A separate cookie, sealed by the gateway, holds the sign-in in progress. It is SameSite=Lax because the
browser returns from another site, and it can only finish that sign-in.
"""

from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.bodies import read_form_fields
from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.pages import markup
from stagedoor.listeners.web.pages.base import SEE_OTHER, Pages
from stagedoor.listeners.web.pages.fields import restrict_path
from stagedoor.listeners.web.pages.user_routes import make_form_route
from stagedoor.listeners.web.sign_in.cookies import (
    choose_cookie,
    set_cookie,
)
from stagedoor.model.denial import Denial
from stagedoor.oidc.request import SIGN_IN_PENDING_S
from stagedoor.signin.provider_logout import ProviderLogout
from stagedoor.signin.provider_sign_in import ProviderRequest, ProviderSignIns, StepUpResult
from stagedoor.signin.site import SSO_PATH
from stagedoor.wire.http.answer import choose_status

_SUFFIX = "-sso"
MAX_QUERY_CHARS = 8192


class SingleSignOnRoutes:
    """The routes of single sign-on. Belongs to one event loop."""

    def __init__(
        self,
        guard: RequestGuard,
        pages: Pages,
        sign_ins: ProviderSignIns,
        logout: ProviderLogout,
    ) -> None:
        self._guard = guard
        self._pages = pages
        self._sign_ins = sign_ins
        self._logout = logout
        self.routes: list[BaseRoute] = [
            make_form_route(pages, SSO_PATH, self._begin),
            Route(SSO_PATH, self._finish, methods=["GET"]),
            Route(f"{SSO_PATH}/logout", self._log_out, methods=["POST"]),
        ]

    async def _begin(self, request: Request, fields: dict[str, str]) -> Response:
        wanted = restrict_path(fields.get("next", ""), self._pages.home_path)
        # A full URL: the provider sends the browser back to one host, and the app may have another.
        wanted = self._guard.find_own_origin(request) + wanted
        source = self._guard.find_source(request)
        begun = await self._sign_ins.begin(fields.get("provider", ""), wanted, source)
        if isinstance(begun, Denial):
            return self._pages.render_refusal(request, begun)
        return self.redirect_to_provider(request, begun)

    def redirect_to_provider(self, request: Request, to: ProviderRequest) -> Response:
        """Send the browser to the provider. A cookie keeps the rest of the request until it returns."""
        # A page instead of a redirect: in Chromium, `form-action 'self'` of the page with the form also
        # applies to redirects after it (CSP Level 3 §6.4.1).
        response = HTMLResponse(markup.render_onward(self._pages.place, to.url))
        self._set_cookie(response, request, to.sealed_state, SIGN_IN_PENDING_S)
        return response

    def _set_cookie(
        self, response: Response, request: Request, sealed_state: str, max_age_s: int
    ) -> None:
        guard = self._guard
        set_cookie(
            response, sealed_state, guard, request, _SUFFIX, is_strict=False, max_age_s=max_age_s
        )

    async def _finish(self, request: Request) -> Response:
        source = self._guard.find_source(request)
        barred = self._guard.check_source(request)
        if barred is not None:
            return self._pages.render_refusal(request, barred)
        name, _, _ = choose_cookie(self._guard, request, _SUFFIX)
        sealed_state = request.cookies.get(name, "")
        query = request.url.query
        if len(query) > MAX_QUERY_CHARS:
            query = ""
        fields = parse_qsl(query, keep_blank_values=True)
        result = await self._sign_ins.finish(sealed_state, fields, source)
        if isinstance(result, Denial):
            return self._forget(request, self._pages.render_refusal(request, result))
        if isinstance(result, ProviderRequest):
            return self.redirect_to_provider(request, result)
        if isinstance(result, StepUpResult):
            await self._guard.read_policy()
            return self._forget(request, RedirectResponse(result.wanted, SEE_OTHER))
        session = await self._pages.begin_session(
            request, result.identity, result.wanted, result.answer
        )
        return self._forget(request, session)

    async def _log_out(self, request: Request) -> Response:
        """Serve a provider's POST (Back-Channel Logout 1.0 §2.5), verified by its signature."""
        source = self._guard.find_source(request)
        fields = self._guard.check_source(request) or await read_form_fields(request)
        if isinstance(fields, Denial):
            denial: Denial | None = fields
        else:
            denial = await self._logout.log_out(fields.get("logout_token", ""), source)
        if denial is None:
            self._guard.mark_authenticated(request)
            return Response()
        self._guard.record_denial(request, denial)
        error = {"error": "invalid_request", "error_description": denial.line}
        return JSONResponse(error, choose_status(denial.reason))

    def _forget(self, request: Request, response: Response) -> Response:
        """Delete the cookie, so that the sign-in cannot be finished twice."""
        self._set_cookie(response, request, "", 0)
        return response
