"""The pages to sign in and out: by password, by a one-time link, and after a second sign-in."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.pages import markup
from stagedoor.listeners.web.pages.base import SEE_OTHER, Pages, choose_page_status
from stagedoor.listeners.web.pages.fields import restrict_path
from stagedoor.listeners.web.pages.user_routes import UserRoutes, make_form_route
from stagedoor.listeners.web.passkeys.api import find_relying_party
from stagedoor.listeners.web.sign_in.cookies import (
    MAX_SIGNED_OUT,
    drop_cookies,
    read_cookies,
)
from stagedoor.model.credential import PasswordCredential
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.signin.passes import PassService
from stagedoor.signin.provider_sign_in import ProviderSignIns
from stagedoor.wire.http.answer import choose_status


class SignInPages:
    """The routes of these pages. Belongs to one event loop."""

    def __init__(
        self,
        guard: RequestGuard,
        pages: Pages,
        passes: PassService,
        sign_ins: ProviderSignIns,
        *,
        passkeys: bool,
    ) -> None:
        """Make the routes. `passkeys` is whether users may sign in with a passkey."""
        self._guard = guard
        self._pages = pages
        self._passes = passes
        self._sign_ins = sign_ins
        self._has_passkeys = passkeys
        self.routes: list[BaseRoute] = [
            Route("/sign-in", self._show_form, methods=["GET"]),
            make_form_route(pages, "/sign-in", self._sign_in),
            UserRoutes(pages, pages.identify).get("/signed-in", self._show_signed_in),
            Route("/link", self._show_link),
            make_form_route(pages, "/sign-in/link", self._sign_in_by_link),
            make_form_route(pages, "/sign-out", self._sign_out),
        ]

    async def _show_form(self, request: Request) -> Response:
        wanted = restrict_path(request.query_params.get("next", ""), self._pages.home_path)
        return HTMLResponse(self._render_form(request, wanted))

    def _render_form(self, request: Request, wanted: str, why: str = "", name: str = "") -> str:
        # Leave the button out where it cannot work, since browsers accept no passkeys for addresses.
        has_name = not isinstance(find_relying_party(self._guard, request), Denial)
        return markup.render_sign_in(
            self._pages.place,
            wanted,
            self._sign_ins.providers,
            why,
            name,
            passkeys=self._has_passkeys and has_name,
        )

    async def _sign_in(self, request: Request, fields: dict[str, str]) -> Response:
        name = fields.get("name", "").strip()
        wanted = restrict_path(fields.get("next", ""), self._pages.home_path)
        source = self._guard.find_source(request)
        identity = await self._guard.flow.authenticate(
            PasswordCredential(name, fields.get("secret", "").strip("\r\n")), source
        )
        if isinstance(identity, Denial):
            self._guard.record_denial(request, identity)
            page = self._render_form(request, wanted, identity.line, name)
            return HTMLResponse(page, choose_page_status(identity))
        return await self._pages.begin_session(request, identity, wanted)

    async def _show_signed_in(self, request: Request, identity: Identity) -> Response:
        """Return the page shown after a new sign-in in a second tab that a terminal's page opened."""
        said = f"You are {identity.name}. You can close this tab and continue in the terminal."
        return self._pages.render(
            "said.html", identity, title="Signed in", message=said, role="status"
        )

    async def _show_link(self, request: Request) -> Response:
        """Return the page of a one-time link, whose script posts the secret behind the `#`."""
        missing = self._pages.explain_missing("one-time-link.js")
        return missing or HTMLResponse(self._pages.place.page("link.html"))

    async def _sign_in_by_link(self, request: Request, fields: dict[str, str]) -> Response:
        identity = await self._passes.use_link(fields.get("secret", ""))
        if isinstance(identity, Denial):
            return self._pages.render_refusal(request, identity)
        wanted = restrict_path(fields.get("next", ""), self._pages.home_path)
        return await self._pages.begin_session(request, identity, wanted)

    async def _sign_out(self, request: Request, _: dict[str, str]) -> Response:
        # Either of two sessions may be the user's own, so end both.
        for secret in read_cookies(self._guard, request)[:MAX_SIGNED_OUT]:
            denial = await self._passes.sign_out(secret)
            if denial is not None:
                return self._pages.answer_message(
                    "Not signed out", denial.line, choose_status(denial.reason)
                )
        response = RedirectResponse(f"{self._pages.place.path}/sign-in", SEE_OTHER)
        drop_cookies(response, self._guard, request)
        return response
