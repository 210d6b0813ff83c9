"""The WebShell's pages: to sign in and out, and the terminal's; and what the others answer by."""

import json
import secrets
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web import headers
from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.pages import markup
from stagedoor.listeners.web.pages.assets import Assets
from stagedoor.listeners.web.pages.markup import PagePath
from stagedoor.listeners.web.passkeys.relying_party import relying_party
from stagedoor.listeners.web.ports import PassIssuer, SignIns
from stagedoor.listeners.web.sign_in.cookies import (
    MOST_SIGNED_OUT,
    drop_cookies,
    form_of,
    new_session,
    safe_path,
    set_cookie,
    shown_cookie,
    shown_cookies,
)
from stagedoor.listeners.web.sign_in.single_sign_on import SingleSignOnRoutes
from stagedoor.model.credential import PasswordCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.target import Target
from stagedoor.model.webpass import PassKind, ProviderAnswer
from stagedoor.wire.answer import status_of
from stagedoor.wire.target import parse_login

SEE_OTHER = 303
_NOT_BUILT = (
    "This gateway runs from a checkout in which the terminal's page is not built. Its administrator "
    "runs script/web there and starts it again. Until then: stagedoor attach."
)


class Pages:
    """Belongs to one event loop."""

    def __init__(
        self,
        guard: RequestGuard,
        passes: PassIssuer,
        sign_ins: SignIns,
        *,
        passkeys: bool,
    ) -> None:
        """`passkeys`: whether one may sign somebody in."""
        self._guard = guard
        self._passkeys = passkeys
        self._flow = guard.flow
        self._passes = passes
        self._sign_ins = sign_ins
        self._assets = Assets()
        self.place = self._place = PagePath(guard.limits.path, self._assets)
        single_sign_on = SingleSignOnRoutes(
            guard, sign_ins, self._place, self.posted, self.denied, self.let_in
        )
        self.onward = single_sign_on.onward
        self.routes: list[BaseRoute] = [
            *single_sign_on.routes,
            Route("/app/{app}", self._terminal),
            Route("/sign-in", self._sign_in_form, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/signed-in", self._signed_in),
            Route("/link", self._link),
            Route("/sign-in/link", self._sign_in_by_link, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/manifest.webmanifest", self._manifest),
            Route("/static/{digest}/{name}", self._assets.answer),
        ]

    async def not_found(self, request: Request, _: Exception) -> Response:
        """For paths, and methods, that there are none of."""
        return self.said("Not found", "There is no such page here.", 404)

    # Who is it?

    async def signed_in(self, request: Request) -> Identity | Response:
        """Whose pass the browser shows; or what to answer instead."""
        barred = self._guard.barred(self._guard.source_of(request))
        if barred is not None:
            return self.denied(request, barred)
        secret = shown_cookie(self._guard, request)
        if isinstance(secret, Denial):
            return self._two_cookies(request, secret)
        if secret is None and request.headers.get("sec-fetch-site") == "cross-site":
            # A SameSite=Strict cookie does not come along from a link on another site. Loaded again
            # by our own page, it does; that one is same-origin, so this happens once.
            return HTMLResponse(self._place.page("again.html"))
        identity = None if secret is None else await self._passes.show(PassKind.SESSION, secret)
        if isinstance(identity, Identity):
            self._guard.proved(request, identity)
            assert secret is not None, "it was shown"
            await self._passes.session(secret, used=True)
            return identity
        if identity is not None and identity.reason is not Reason.CREDENTIAL_WRONG:
            return self.said("Not now", identity.line, status_of(identity.reason))
        wanted = urlencode({"next": _back_to(request, self._home_path)})
        return RedirectResponse(f"{self._place.path}/sign-in?{wanted}", SEE_OTHER)

    async def posted(self, request: Request) -> dict[str, str] | Response:
        """The fields of a form that our own page sent; or what to answer instead."""
        denial = self._guard.barred(self._guard.source_of(request))
        denial = denial or self._guard.not_ours(request)
        if denial is not None:
            return self.denied(request, denial)
        fields = await form_of(request)
        return self.denied(request, fields) if isinstance(fields, Denial) else fields

    def _two_cookies(self, request: Request, denial: Denial) -> Response:
        """Refused, and both are taken back as far as can be: the page alone could not get out of it."""
        response = self.denied(request, denial)
        drop_cookies(response, self._guard, request)
        return response

    def denied(
        self, request: Request, denial: Denial, identity: Identity | None = None
    ) -> Response:
        self._flow.deny(denial, web(self._guard.source_of(request)), identity)
        return self.said("Not let in", denial.line, page_status(denial))

    def said(self, title: str, message: str, status: int) -> Response:
        return HTMLResponse(markup.said(self._place, title, message), status)

    # In and out.

    @property
    def _home_path(self) -> str:
        return f"{self._place.path}/"

    async def _sign_in_form(self, request: Request) -> Response:
        wanted = safe_path(request.query_params.get("next", ""), self._home_path)
        return HTMLResponse(self._form(request, wanted))

    def _form(self, request: Request, wanted: str, why: str = "", name: str = "") -> str:
        # A button that could not work is not shown: browsers take no passkey for an address.
        here = not isinstance(relying_party(self._guard, request), Denial)
        providers = self._sign_ins.providers
        passkeys = self._passkeys and here
        return markup.sign_in(self._place, wanted, providers, why, name, passkeys=passkeys)

    async def _sign_in(self, request: Request) -> Response:
        fields = await self.posted(request)
        if isinstance(fields, Response):
            return fields
        name = fields.get("name", "").strip()
        wanted = safe_path(fields.get("next", ""), self._home_path)
        source = self._guard.source_of(request)
        found = await self._flow.authenticate(
            PasswordCredential(name, fields.get("secret", "").strip("\r\n")), source
        )
        if isinstance(found, Denial):
            self._flow.deny(found, web(source))
            page = self._form(request, wanted, found.line, name)
            return HTMLResponse(page, page_status(found))
        return await self.let_in(request, found, wanted)

    async def _signed_in(self, request: Request) -> Response:
        """Where signing in again leads that a terminal began in a tab of its own."""
        identity = await self.signed_in(request)
        if isinstance(identity, Response):
            return identity
        message = (
            f"You are {identity.name}. Close this tab: the terminal that you came from goes on."
        )
        return HTMLResponse(markup.said(self._place, "Signed in", message, role="status"))

    async def _link(self, request: Request) -> Response:
        if "one-time-link.js" not in self._assets:
            return self.said("Not built", _NOT_BUILT, 503)
        return HTMLResponse(markup.link(self._place))

    async def _sign_in_by_link(self, request: Request) -> Response:
        fields = await self.posted(request)
        if isinstance(fields, Response):
            return fields
        found = await self._passes.use_up(PassKind.LINK, fields.get("secret", ""))
        if isinstance(found, Denial):
            return self.denied(request, found)
        identity, _ = found
        return await self.let_in(
            request, identity, safe_path(fields.get("next", ""), self._home_path)
        )

    async def let_in(
        self,
        request: Request,
        identity: Identity,
        wanted: str,
        answer: ProviderAnswer | None = None,
    ) -> Response:
        """A new sign-in in this browser for who has just proved who they are; on to the path `wanted`."""
        before = shown_cookie(self._guard, request)
        if isinstance(before, Denial):
            return self._two_cookies(request, before)
        secret = await new_session(self._passes, self._guard, request, identity, before, answer)
        if isinstance(secret, Denial):
            return self.denied(request, secret, identity)
        response = RedirectResponse(wanted, SEE_OTHER)
        set_cookie(response, secret, self._guard, request)
        return response

    async def _sign_out(self, request: Request) -> Response:
        fields = await self.posted(request)
        if isinstance(fields, Response):
            return fields
        # Of two, nobody knows which is the person's own: both end.
        for secret in shown_cookies(self._guard, request)[:MOST_SIGNED_OUT]:
            denial = await self._passes.sign_out(secret)
            if denial is not None:
                return self.said("Not signed out", denial.line, status_of(denial.reason))
        response = RedirectResponse(f"{self._place.path}/sign-in", SEE_OTHER)
        drop_cookies(response, self._guard, request)
        return response

    # The terminal's page.

    async def _terminal(self, request: Request) -> Response:
        target = parse_login(request.path_params["app"])
        if target is None:
            return self.said("Not found", "There is no app of that name.", 404)
        return await self.terminal_of(request, target)

    async def terminal_of(self, request: Request, target: Target) -> Response:
        """The page of `target`, for a user who is signed in and may enter it."""
        identity = await self.signed_in(request)
        if isinstance(identity, Response):
            return identity
        grant = await self._flow.authorise(identity, target)
        if isinstance(grant, Denial):
            self._flow.deny(grant, web(self._guard.source_of(request)), identity, target)
            return self.said("Not let in", grant.line, status_of(grant.reason))
        if isinstance(await self._flow.check_step_up(identity, grant), Denial):
            wanted = urlencode({"next": _back_to(request, self._home_path)})
            return RedirectResponse(f"{self._place.path}/step-up?{wanted}", SEE_OTHER)
        if "terminal.js" not in self._assets:
            return self.said("Not built", _NOT_BUILT, 503)
        nonce = secrets.token_urlsafe(16)
        page = markup.terminal(
            self._place,
            target.login_name,
            nonce,
            identity.name,
            moves_files=Permission.FILES in grant.permissions,
            tmux=self._guard.limits.tmux,
            notice=self._flow.notice(target),
        )
        return HTMLResponse(page, headers={"content-security-policy": headers.of_terminal(nonce)})

    def guest_page(self, identity: Identity, session: str) -> Response:
        """A terminal's page for a guest: `session` is what they watch, empty for one who has a share.

        It names no app: a client with a ticket learns that.
        """
        if "terminal.js" not in self._assets:
            return self.said("Not built", _NOT_BUILT, 503)
        nonce = secrets.token_urlsafe(16)
        page = markup.terminal(self._place, "", nonce, identity.name, guest=session or "share")
        return HTMLResponse(page, headers={"content-security-policy": headers.of_terminal(nonce)})

    async def _manifest(self, request: Request) -> Response:
        """So that the page can be an app of its own, whose window leaves Ctrl-W to the terminal."""
        app = parse_login(request.query_params.get("app", ""))
        target = app or self._guard.app_of(request)
        start = (
            self._home_path if app is None else f"{self._place.path}/app/{quote(app.login_name)}"
        )
        name = f"{target.login_name} · Stagedoor" if target is not None else "Stagedoor"
        manifest = {
            "name": name,
            "short_name": name,
            "id": start,
            "start_url": start,
            "scope": self._home_path,
            "display": "standalone",
            "background_color": "#101418",
            "theme_color": "#101418",
            "icons": [
                {
                    "src": self._place.path + self._assets.path("icon.svg"),
                    "sizes": "any",
                    "type": "image/svg+xml",
                }
            ],
        }
        return Response(json.dumps(manifest), media_type="application/manifest+json")


def page_status(denial: Denial) -> int:
    """The status of a page that says so: no browser must ask for a password itself (407 and 401 have it)."""
    return 403 if denial.reason is Reason.CREDENTIAL_WRONG else status_of(denial.reason)


def _back_to(request: Request, home: str) -> str:
    """Where a browser goes on after signing in: to the same page, and to no form that it has sent."""
    if request.method not in ("GET", "HEAD"):
        return home
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")
