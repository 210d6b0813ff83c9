"""The pages to sign in and out, the terminal's page, and the answers that all pages share."""

import json
import secrets
from collections.abc import Callable
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.admin.access.console import ConsoleService
from stagedoor.listeners.web import headers
from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.pages import markup
from stagedoor.listeners.web.pages.assets import Assets
from stagedoor.listeners.web.pages.markup import PagePath, PageUser
from stagedoor.listeners.web.passkeys.relying_party import find_relying_party
from stagedoor.listeners.web.sign_in.cookies import (
    MOST_SIGNED_OUT,
    drop_cookies,
    read_cookie,
    read_cookies,
    read_form_fields,
    restrict_path,
    set_cookie,
    start_session,
)
from stagedoor.listeners.web.sign_in.single_sign_on import SingleSignOnRoutes
from stagedoor.model.credential import PasswordCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.target import Target
from stagedoor.model.webpass import ProviderAnswer
from stagedoor.signin.passes import PassService
from stagedoor.signin.provider_sign_in import ProviderSignIns
from stagedoor.wire.http.answer import choose_status
from stagedoor.wire.target import parse_login

SEE_OTHER = 303
_NOT_BUILT = (
    "This gateway runs from a checkout in which the terminal's page is not built. Its administrator "
    "runs script/web there and starts it again. Until then: stagedoor attach."
)


class Pages:
    """The routes of these pages. Belongs to one event loop."""

    def __init__(
        self,
        guard: RequestGuard,
        passes: PassService,
        sign_ins: ProviderSignIns,
        shows_recordings: Callable[[Identity], bool],
        shows_requests: Callable[[Identity], bool],
        shows_runs: Callable[[Identity], bool],
        console: ConsoleService,
        *,
        passkeys: bool,
    ) -> None:
        """Make the routes; `passkeys` says whether users may sign in with a passkey.

        `shows_recordings` returns whether there are recordings that a user may play, `shows_requests` whether
        they may ask for access or decide on requests, and `shows_runs` whether they may have runs.
        """
        self._guard = guard
        self._has_passkeys = passkeys
        self._flow = guard.flow
        self._passes = passes
        self._sign_ins = sign_ins
        self._shows_recordings = shows_recordings
        self._shows_requests = shows_requests
        self._shows_runs = shows_runs
        self._console = console
        self._assets = Assets()
        brand = guard.limits.brand
        if brand.logo is not None:
            self._assets.add_logo(brand.logo)
        self.place = self._place = PagePath(guard.limits.path, self._assets, brand)
        single_sign_on = SingleSignOnRoutes(
            guard, sign_ins, self._place, self.read_form, self.refuse, self.begin_session
        )
        self.onward = single_sign_on.onward
        self.routes: list[BaseRoute] = [
            *single_sign_on.routes,
            Route("/app/{app}", self._terminal),
            Route("/sign-in", self._sign_in_form, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/signed-in", self._show_signed_in),
            Route("/link", self._link),
            Route("/sign-in/link", self._sign_in_by_link, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/manifest.webmanifest", self._manifest),
            Route("/static/{digest}/{name}", self._assets.answer),
        ]

    async def answer_not_found(self, request: Request, _: Exception) -> Response:
        """Answer a request for an unknown path or method, for a user if one is signed in."""
        secret = read_cookie(self._guard, request)
        valid = await self._passes.find_session(secret) if isinstance(secret, str) else None
        identity = valid[1] if isinstance(valid, tuple) else None
        return self.message("Not found", "There is no such page here.", 404, identity)

    # The user of a request.

    def describe_user(self, identity: Identity) -> PageUser:
        """Return the user as the header of a page shows them."""
        return PageUser(
            identity.name,
            identity.is_person,
            self._shows_recordings(identity),
            self._shows_requests(identity),
            self._shows_runs(identity),
            self._console.has_any(identity),
            self._console.has_all(identity),
        )

    async def identify(self, request: Request) -> Identity | Response:
        """Return the identity of the browser's session, or the answer to send instead."""
        barred = self._guard.check_source(self._guard.source_of(request))
        if barred is not None:
            return self.refuse(request, barred)
        secret = read_cookie(self._guard, request)
        if isinstance(secret, Denial):
            return self._two_cookies(request, secret)
        if secret is None and request.headers.get("sec-fetch-site") == "cross-site":
            # Browsers do not send a SameSite=Strict cookie when a link on another site is followed. This
            # page loads the address again, which is a same-origin request with the cookie.
            return HTMLResponse(self._place.page("again.html"))
        valid = None if secret is None else await self._passes.find_session(secret)
        if isinstance(valid, tuple):
            session, identity = valid
            self._guard.accept_proof(request, identity)
            await self._passes.use_session(session)
            return identity
        if valid is not None and valid.reason is not Reason.CREDENTIAL_WRONG:
            return self.message("Not now", valid.line, choose_status(valid.reason))
        wanted = urlencode({"next": _back_to(request, self._home_path)})
        return RedirectResponse(f"{self._place.path}/sign-in?{wanted}", SEE_OTHER)

    async def identify_person(self, request: Request, refusal: Denial) -> Identity | Response:
        """Return what `identify` does, but answer with `refusal` unless a person proved it (`is_person`)."""
        identity = await self.identify(request)
        if isinstance(identity, Response) or identity.is_person:
            return identity
        return self.refuse(request, refusal, identity)

    async def read_form(self, request: Request) -> dict[str, str] | Response:
        """Return the fields of a form that one of our pages sent, or the answer to send instead."""
        denial = self._guard.check_source(self._guard.source_of(request))
        denial = denial or self._guard.check_own_page(request)
        if denial is not None:
            return self.refuse(request, denial)
        fields = await read_form_fields(request)
        return self.refuse(request, fields) if isinstance(fields, Denial) else fields

    def _two_cookies(self, request: Request, denial: Denial) -> Response:
        """Refuse two sign-ins, and delete both cookies as far as possible; no page could mend this."""
        response = self.refuse(request, denial)
        drop_cookies(response, self._guard, request)
        return response

    def refuse(
        self, request: Request, denial: Denial, identity: Identity | None = None
    ) -> Response:
        """Audit a refusal, and return a page that explains it."""
        self._flow.deny(denial, web(self._guard.source_of(request)), identity)
        return self.message("Not let in", denial.line, choose_page_status(denial), identity)

    def message(
        self, title: str, message: str, status: int, identity: Identity | None = None
    ) -> Response:
        """Return a page with one message, for a user if one is known."""
        visitor = None if identity is None else self.describe_user(identity)
        return HTMLResponse(markup.message(self._place, title, message, visitor=visitor), status)

    # Signing in and out.

    @property
    def _home_path(self) -> str:
        return f"{self._place.path}/"

    async def _sign_in_form(self, request: Request) -> Response:
        wanted = restrict_path(request.query_params.get("next", ""), self._home_path)
        return HTMLResponse(self._form(request, wanted))

    def _form(self, request: Request, wanted: str, why: str = "", name: str = "") -> str:
        # The button is left out where it cannot work: browsers accept no passkey for an address.
        has_name = not isinstance(find_relying_party(self._guard, request), Denial)
        providers = self._sign_ins.providers
        passkeys = self._has_passkeys and has_name
        return markup.sign_in(self._place, wanted, providers, why, name, passkeys=passkeys)

    async def _sign_in(self, request: Request) -> Response:
        fields = await self.read_form(request)
        if isinstance(fields, Response):
            return fields
        name = fields.get("name", "").strip()
        wanted = restrict_path(fields.get("next", ""), self._home_path)
        source = self._guard.source_of(request)
        identity = await self._flow.authenticate(
            PasswordCredential(name, fields.get("secret", "").strip("\r\n")), source
        )
        if isinstance(identity, Denial):
            self._flow.deny(identity, web(source))
            page = self._form(request, wanted, identity.line, name)
            return HTMLResponse(page, choose_page_status(identity))
        return await self.begin_session(request, identity, wanted)

    async def _show_signed_in(self, request: Request) -> Response:
        """Return the page after a new sign-in in a second tab, which a terminal's page has opened."""
        identity = await self.identify(request)
        if isinstance(identity, Response):
            return identity
        message = (
            f"You are {identity.name}. Close this tab: the terminal that you came from goes on."
        )
        return HTMLResponse(
            markup.message(
                self._place,
                "Signed in",
                message,
                role="status",
                visitor=self.describe_user(identity),
            )
        )

    async def _link(self, request: Request) -> Response:
        if "one-time-link.js" not in self._assets:
            return self.message("Not built", _NOT_BUILT, 503)
        return HTMLResponse(markup.link(self._place))

    async def _sign_in_by_link(self, request: Request) -> Response:
        fields = await self.read_form(request)
        if isinstance(fields, Response):
            return fields
        identity = await self._passes.use_link(fields.get("secret", ""))
        if isinstance(identity, Denial):
            return self.refuse(request, identity)
        return await self.begin_session(
            request, identity, restrict_path(fields.get("next", ""), self._home_path)
        )

    async def begin_session(
        self,
        request: Request,
        identity: Identity,
        wanted: str,
        answer: ProviderAnswer | None = None,
    ) -> Response:
        """Start a session in this browser for a user who has just authenticated, and redirect to `wanted`."""
        before = read_cookie(self._guard, request)
        if isinstance(before, Denial):
            return self._two_cookies(request, before)
        secret = await start_session(self._passes, self._guard, request, identity, before, answer)
        if isinstance(secret, Denial):
            return self.refuse(request, secret, identity)
        response = RedirectResponse(wanted, SEE_OTHER)
        set_cookie(response, secret, self._guard, request)
        return response

    async def _sign_out(self, request: Request) -> Response:
        fields = await self.read_form(request)
        if isinstance(fields, Response):
            return fields
        # Of two sessions, either may be the user's own, so both end.
        for secret in read_cookies(self._guard, request)[:MOST_SIGNED_OUT]:
            denial = await self._passes.sign_out(secret)
            if denial is not None:
                return self.message("Not signed out", denial.line, choose_status(denial.reason))
        response = RedirectResponse(f"{self._place.path}/sign-in", SEE_OTHER)
        drop_cookies(response, self._guard, request)
        return response

    # The terminal's page.

    async def _terminal(self, request: Request) -> Response:
        target = parse_login(request.path_params["app"])
        if target is None:
            return self.message("Not found", "There is no app of that name.", 404)
        return await self.render_terminal(request, target)

    async def render_terminal(self, request: Request, target: Target) -> Response:
        """Return the terminal's page for `target`, if the user is signed in and may enter it."""
        identity = await self.identify(request)
        if isinstance(identity, Response):
            return identity
        grant = await self._flow.authorise(identity, target)
        if isinstance(grant, Denial):
            self._flow.deny(grant, web(self._guard.source_of(request)), identity, target)
            if self._flow.may_ask(identity, target, grant):
                wanted = urlencode({"app": target.login_name})
                return RedirectResponse(f"{self._place.path}/requests?{wanted}", SEE_OTHER)
            return self.message("Not let in", grant.line, choose_status(grant.reason), identity)
        if isinstance(await self._flow.check_step_up(identity, grant), Denial):
            wanted = urlencode({"next": _back_to(request, self._home_path)})
            return RedirectResponse(f"{self._place.path}/step-up?{wanted}", SEE_OTHER)
        if "terminal.js" not in self._assets:
            return self.message("Not built", _NOT_BUILT, 503)
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
        return HTMLResponse(
            page, headers={"content-security-policy": headers.make_terminal_policy(nonce)}
        )

    def render_guest_page(self, identity: Identity, session: str) -> Response:
        """Return a terminal's page for a guest; `session` is the one to watch, empty for a share.

        The page does not name the app, which only a client with a ticket learns.
        """
        if "terminal.js" not in self._assets:
            return self.message("Not built", _NOT_BUILT, 503)
        nonce = secrets.token_urlsafe(16)
        page = markup.terminal(self._place, "", nonce, identity.name, guest=session or "share")
        return HTMLResponse(
            page, headers={"content-security-policy": headers.make_terminal_policy(nonce)}
        )

    async def _manifest(self, request: Request) -> Response:
        """Return the manifest to install the page as an app, whose window leaves Ctrl-W to the terminal."""
        app = parse_login(request.query_params.get("app", ""))
        target = app or self._guard.find_app(request)
        start = (
            self._home_path if app is None else f"{self._place.path}/app/{quote(app.login_name)}"
        )
        brand = self._place.brand.name
        name = brand if target is None else f"{target.login_name} · {brand}"
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


def choose_page_status(denial: Denial) -> int:
    """Return the status of a page about a denial, never 401 or 407: browsers would ask for a password."""
    return 403 if denial.reason is Reason.CREDENTIAL_WRONG else choose_status(denial.reason)


def _back_to(request: Request, home: str) -> str:
    """Return the path to open after signing in: the same page, or home after a form was sent."""
    if request.method not in ("GET", "HEAD"):
        return home
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")
