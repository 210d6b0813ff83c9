"""The WebShell's HTTP application: its routes, and the identification of users.

A client authenticates with the Authorization header (RFC 7617, RFC 6750) or with the cookie of an earlier
sign-in. Neither of them is ever in a URL.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from stagedoor.admin.access.console import ConsoleService
from stagedoor.admin.account import AccountService
from stagedoor.admin.recording_service import RecordingService
from stagedoor.admin.requests.request_service import RequestService
from stagedoor.listeners.web.account import AccountPages, InvitationPages
from stagedoor.listeners.web.admin_api import AdminApi, ApiParts
from stagedoor.listeners.web.console.pages import list_console_routes
from stagedoor.listeners.web.errors import answer_refusal
from stagedoor.listeners.web.files.api import Files
from stagedoor.listeners.web.guard import RequestGuard, WebListenerSettings
from stagedoor.listeners.web.headers import GuardMiddleware
from stagedoor.listeners.web.login_api import LoginApi, LoginParts
from stagedoor.listeners.web.login_pages import LoginPages
from stagedoor.listeners.web.pages.base import Pages
from stagedoor.listeners.web.pages.home import Home
from stagedoor.listeners.web.pages.request_pages import RequestPages
from stagedoor.listeners.web.pages.run_pages import RunPages
from stagedoor.listeners.web.passkeys.api import PasskeyApi
from stagedoor.listeners.web.passkeys.pages import StepUpPages
from stagedoor.listeners.web.pending import UnauthenticatedConnections
from stagedoor.listeners.web.post import PostRoutes
from stagedoor.listeners.web.replay import Replay
from stagedoor.listeners.web.runs import Runs
from stagedoor.listeners.web.shell_access import ShellAccess
from stagedoor.listeners.web.sign_in.api import SignInApi
from stagedoor.listeners.web.sign_in.cookies import read_cookie
from stagedoor.listeners.web.sign_in.pages import SignInPages
from stagedoor.listeners.web.sign_in.single_sign_on import SingleSignOnRoutes
from stagedoor.listeners.web.terminal.api import Terminals
from stagedoor.listeners.web.terminal.endpoint import TerminalEndpoint
from stagedoor.listeners.web.terminal.guests import Guests
from stagedoor.listeners.web.terminal.pages import TerminalPages
from stagedoor.listeners.web.terminal.session import TerminalSession
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.source import Source
from stagedoor.session.runs import RunService
from stagedoor.signin.credentials import CredentialService
from stagedoor.signin.passes import PassService
from stagedoor.signin.passkey_checks import PasskeyChecks
from stagedoor.signin.passkeys import PasskeyRegistry
from stagedoor.signin.provider_logout import ProviderLogout
from stagedoor.signin.provider_sign_in import ProviderSignIns
from stagedoor.signin.step_up import StepUpService
from stagedoor.wire.http.fields import parse_credential


@dataclass(frozen=True, slots=True)
class WebServices:
    """The services behind the pages and the endpoints."""

    passes: PassService
    sign_ins: ProviderSignIns
    provider_logout: ProviderLogout
    logins: LoginParts
    account: AccountService
    credentials: CredentialService
    passkeys: PasskeyRegistry
    proofs: PasskeyChecks
    step_ups: StepUpService
    requests: RequestService
    recordings: RecordingService
    runs: RunService
    api: ApiParts
    console: ConsoleService


class WebApp:
    """The application and its open terminals. Belongs to one event loop."""

    def __init__(
        self, access: ShellAccess, settings: WebListenerSettings, services: WebServices
    ) -> None:
        self.guard = guard = RequestGuard(access.flow, settings)
        self.pending = UnauthenticatedConnections(settings.client_limits.max_pending)
        self._passes = passes = services.passes
        refuse = partial(answer_refusal, logins=services.logins.logins.is_possible)
        posts = PostRoutes(guard, self._identify, refuse)
        pages = Pages(
            guard,
            passes,
            services.recordings.has_any,
            services.requests.offers.count_to_decide,
            services.runs.has_any,
            services.console,
        )
        terminal_pages = TerminalPages(guard, pages)
        guests = Guests(posts, passes, access.presence, pages, terminal_pages)
        self._endpoint = TerminalEndpoint(posts, passes, access, guests)
        home = Home(guard, pages, terminal_pages, services.account, guests.list_watchable, access)
        endpoints: list[BaseRoute] = [
            *self._endpoint.routes,
            *Files(guard, passes, access).routes,
            *Terminals(posts, access).api,
            *guests.api,
            posts.make_route("/api/apps", home.list_apps),
            *Runs(posts, services.runs).routes,
            *LoginApi(guard, services.logins).routes,
            *AdminApi(guard, self._identify, services.api).routes,
        ]
        routes = [
            *home.routes,
            Route("/static/{digest}/{name}", pages.assets.answer),
            *terminal_pages.routes,
            *guests.routes,
            *_list_pages(guard, pages, services),
            *list_console_routes(guard, pages, services.console, guests.list_watchable),
        ]
        self.app = _mount(guard, endpoints, routes, pages)

    @property
    def sessions(self) -> set[TerminalSession]:
        """The open terminals."""
        return self._endpoint.sessions

    async def _identify(
        self,
        request: Request,
        source: Source,
        check_site: Callable[[Request], Denial | None] | None = None,
    ) -> Identity | Denial:
        """Return the user's identity, by the Authorization header or by a cookie that passes `check_site`.

        By default, the check is that one of our own pages sent the request.
        """
        header = request.headers.get("authorization")
        if header is None:
            cookie = read_cookie(self.guard, request)
            if isinstance(cookie, Denial):
                return cookie
            if cookie is None:
                return Denial(Reason.CREDENTIAL_MISSING, "sign in with your password or a token")
            denial = (check_site or self.guard.check_own_page)(request)
            if denial is not None:
                return denial
            identity = await self._passes.check_session(cookie)
        else:
            credential = parse_credential(header.encode("latin-1"))
            if isinstance(credential, Denial):
                return credential
            identity = await self.guard.flow.authenticate(credential, source)
        if isinstance(identity, Identity):
            self.guard.accept_identity(request, identity)
        return identity


def _list_pages(guard: RequestGuard, pages: Pages, services: WebServices) -> list[BaseRoute]:
    """Return the routes of the sign-in pages, and of the pages for users who have signed in."""
    passes, passkeys, sign_ins = services.passes, services.passkeys, services.sign_ins
    proofs, step_ups, credentials = services.proofs, services.step_ups, services.credentials
    single_sign_on = SingleSignOnRoutes(guard, pages, sign_ins, services.provider_logout)
    has_passkeys = proofs.is_sign_in_possible
    return [
        *single_sign_on.routes,
        *SignInPages(guard, pages, passes, sign_ins, passkeys=has_passkeys).routes,
        *SignInApi(guard, passes).routes,
        *AccountPages(guard, pages, passes, credentials, passkeys).routes,
        *PasskeyApi(guard, passes, passkeys, proofs, step_ups).routes,
        *StepUpPages(guard, pages, passkeys, step_ups, sign_ins, single_sign_on).routes,
        *RequestPages(guard, pages, services.requests).routes,
        *InvitationPages(pages, credentials).routes,
        *Replay(guard, pages, services.recordings).routes,
        *RunPages(guard, pages, services.runs).routes,
        *LoginPages(guard, pages, services.logins).routes,
    ]


def _mount(
    guard: RequestGuard, api: Sequence[BaseRoute], routes: Sequence[BaseRoute], pages: Pages
) -> Starlette:
    """Return the application. `stagedoor attach` uses no path prefix; a browser may need one."""
    prefix = guard.settings.path
    mounted = [Mount(prefix, routes=[*api, *routes])] if prefix else routes
    return Starlette(
        routes=[*api, *mounted],
        middleware=[Middleware(GuardMiddleware, guard)],
        exception_handlers=dict.fromkeys((404, 405), pages.answer_not_found)
        | {ClientDisconnect: _answer_hang_up},
    )


async def _answer_hang_up(_request: Request, _error: Exception) -> Response:
    """Answer a client that hung up in the middle of a form, so that this is not logged as a bug."""
    return Response(status_code=400)
