"""The base of all pages: the user of a request, forms, and the answers that pages share."""

import secrets
from collections.abc import Callable
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from stagedoor.admin.access.console import ConsoleService
from stagedoor.admin.access.questions import find_grant_command
from stagedoor.listeners.web.bodies import read_form_fields
from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.headers import make_terminal_policy
from stagedoor.listeners.web.pages import markup
from stagedoor.listeners.web.pages.assets import Assets
from stagedoor.listeners.web.pages.markup import PagePath, PageUser
from stagedoor.listeners.web.sign_in.cookies import (
    drop_cookies,
    read_cookie,
    set_cookie,
    start_session,
)
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.target import Target
from stagedoor.model.webpass import ProviderAnswer
from stagedoor.signin.passes import PassService
from stagedoor.wire.http.answer import choose_status

SEE_OTHER = 303
_NOT_BUILT = (
    "This gateway runs from a checkout in which the terminal's page is not built. Its administrator "
    "runs script/web there and starts it again. Until then: stagedoor attach."
)


class Pages:
    """The common part of the pages. Belongs to one event loop."""

    def __init__(
        self,
        guard: RequestGuard,
        passes: PassService,
        shows_recordings: Callable[[Identity], bool],
        count_requests: Callable[[Identity], int | None],
        shows_runs: Callable[[Identity], bool],
        console: ConsoleService,
    ) -> None:
        """Load the assets.

        `shows_recordings` returns whether there are recordings that a user may play, and `shows_runs` whether
        the user may have runs. `count_requests` returns how many requests wait for the user's decision, or
        None if the user may neither ask for access nor decide.
        """
        self._guard = guard
        self._passes = passes
        self._shows_recordings = shows_recordings
        self._count_requests = count_requests
        self._shows_runs = shows_runs
        self._console = console
        self.assets = Assets()
        brand = guard.settings.brand
        if brand.logo is not None:
            self.assets.add_logo(brand.logo)
        self.place = PagePath(guard.settings.path, self.assets, brand)
        self.home_path = f"{self.place.path}/"

    async def answer_not_found(self, request: Request, _: Exception) -> Response:
        """Answer a request for an unknown path or method, with the signed-in user in the page's header."""
        secret = read_cookie(self._guard, request)
        valid = await self._passes.find_session(secret) if isinstance(secret, str) else None
        identity = valid[1] if isinstance(valid, tuple) else None
        return self.answer_message("Not found", "There is no such page here.", 404, identity)

    # The user of a request.

    def describe_user(self, identity: Identity) -> PageUser:
        """Return the user as the header of a page shows them."""
        sign_in = identity.sign_in
        return PageUser(
            identity.name,
            identity.is_person,
            self._shows_recordings(identity),
            self._count_requests(identity),
            self._shows_runs(identity),
            self._console.has_any(identity),
            self._console.has_all(identity),
            None if sign_in is None else self._console.policy().end_of(sign_in),
        )

    async def identify(self, request: Request) -> Identity | Response:
        """Return the identity of the browser's session, or the answer to send instead."""
        barred = self._guard.check_source(request)
        if barred is not None:
            return self.render_refusal(request, barred)
        secret = read_cookie(self._guard, request)
        if isinstance(secret, Denial):
            return self._refuse_two_cookies(request, secret)
        if secret is None and request.headers.get("sec-fetch-site") == "cross-site":
            # Browsers do not send a SameSite=Strict cookie when a link on another site is followed. This
            # page loads the address again, which is a same-origin request with the cookie.
            return HTMLResponse(self.place.page("again.html"))
        valid = None if secret is None else await self._passes.find_session(secret)
        if isinstance(valid, tuple):
            session, identity = valid
            self._guard.accept_identity(request, identity)
            await self._passes.use_session(session)
            return identity
        if valid is not None and valid.reason is not Reason.CREDENTIAL_WRONG:
            return self.explain(valid)
        wanted = urlencode({"next": self.find_way_back(request)})
        return RedirectResponse(f"{self.place.path}/sign-in?{wanted}", SEE_OTHER)

    async def identify_person(self, request: Request, refusal: Denial) -> Identity | Response:
        """Do as `identify`, but answer with `refusal` unless the identity is a person's (`is_person`)."""
        identity = await self.identify(request)
        if isinstance(identity, Response) or identity.is_person:
            return identity
        return self.render_refusal(request, refusal, identity)

    async def read_form(self, request: Request) -> dict[str, str] | Response:
        """Return the fields of a form that one of our pages sent, or the answer to send instead."""
        denial = self._guard.check_source(request) or self._guard.check_own_page(request)
        if denial is not None:
            return self.render_refusal(request, denial)
        fields = await read_form_fields(request)
        return self.render_refusal(request, fields) if isinstance(fields, Denial) else fields

    def _refuse_two_cookies(self, request: Request, denial: Denial) -> Response:
        """Refuse two sign-ins at once, and delete both cookies if possible: no page could resolve this."""
        response = self.render_refusal(request, denial)
        drop_cookies(response, self._guard, request)
        return response

    def render_refusal(
        self, request: Request, denial: Denial, identity: Identity | None = None
    ) -> Response:
        """Audit a refusal, and return a page that explains it."""
        self._guard.record_denial(request, denial, identity)
        return self.answer_message(
            "Access refused", denial.line, choose_page_status(denial), identity
        )

    def explain(self, denial: Denial, identity: Identity | None = None) -> Response:
        """Return a page that explains why something cannot be shown now, for example if the store is down."""
        return self.answer_message("Not now", denial.line, choose_status(denial.reason), identity)

    def answer_message(
        self, title: str, message: str, status: int, identity: Identity | None = None
    ) -> Response:
        """Return a page with one message, for a user if one is known."""
        visitor = None if identity is None else self.describe_user(identity)
        return HTMLResponse(
            markup.render_message(self.place, title, message, visitor=visitor), status
        )

    def explain_refusal(self, identity: Identity, target: Target, denial: Denial) -> Response:
        """Return the page about a refusal to enter an app.

        An administrator of the app also gets the command that lets them in, and a link to the page *Why*.
        """
        answer = self._console.explain(identity, identity.name, target)
        why, command = None, None
        if not isinstance(answer, Denial):
            why = urlencode({"user": identity.name, "app": target.login_name})
            command = find_grant_command(answer)
        return self.render(
            "said.html",
            identity,
            choose_status(denial.reason),
            title="Access refused",
            message=denial.line,
            role="alert",
            why=why,
            command=command,
        )

    def explain_missing(self, script: str) -> Response | None:
        """Return why a page whose script was not built cannot be shown, or None if it was built."""
        return None if script in self.assets else self.answer_message("Not built", _NOT_BUILT, 503)

    def render(
        self,
        template: str,
        identity: Identity,
        status: int = 200,
        headers: dict[str, str] | None = None,
        /,
        **values: object,
    ) -> Response:
        """Return a page for a user, drawn from a template."""
        visitor = self.describe_user(identity)
        page = self.place.page(template, visitor=visitor, **values)
        return HTMLResponse(page, status, headers)

    def render_with_terminal(self, make_page: Callable[[str], str]) -> Response:
        """Return a page that draws a terminal; `make_page` gets the nonce of its style elements."""
        nonce = secrets.token_urlsafe(16)
        policy = make_terminal_policy(nonce)
        return HTMLResponse(make_page(nonce), headers={"content-security-policy": policy})

    def ask_for_proof(self, path: str) -> Response:
        """Send the browser to the page for a fresh proof of presence, and then back to `path`."""
        wanted = urlencode({"next": path})
        return RedirectResponse(f"{self.place.path}/step-up?{wanted}", SEE_OTHER)

    def find_way_back(self, request: Request) -> str:
        """Return the path to open after signing in: the same page, or home after a form was sent."""
        if request.method not in ("GET", "HEAD"):
            return self.home_path
        return request.url.path + (f"?{request.url.query}" if request.url.query else "")

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
            return self._refuse_two_cookies(request, before)
        secret = await start_session(self._passes, self._guard, request, identity, before, answer)
        if isinstance(secret, Denial):
            return self.render_refusal(request, secret, identity)
        response = RedirectResponse(wanted, SEE_OTHER)
        set_cookie(response, secret, self._guard, request)
        return response


def choose_page_status(denial: Denial) -> int:
    """Return the status of a page about a denial. Never 401 or 407, on which browsers ask for a password."""
    return 403 if denial.reason is Reason.CREDENTIAL_WRONG else choose_status(denial.reason)
