"""The WebShell's HTTP application: its routes, the ticket for a terminal, and the terminal's WebSocket.

A client authenticates with the Authorization header (RFC 7617, RFC 6750) or with the cookie of an earlier
sign-in. Neither of them is ever in a URL, nor is a ticket, which the client sends in the first frame.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from stagedoor.admin.access.console import ConsoleService
from stagedoor.admin.account import AccountService
from stagedoor.admin.recording_service import RecordingService
from stagedoor.admin.requests.request_service import RequestService
from stagedoor.listeners.web.account import AccountPages, InvitationPages
from stagedoor.listeners.web.admin_api import AdminApi, ApiParts
from stagedoor.listeners.web.console.pages import list_console_routes
from stagedoor.listeners.web.errors import ClientClosedError, refusal
from stagedoor.listeners.web.files.api import Files
from stagedoor.listeners.web.guard import RequestGuard, WebLimits, web
from stagedoor.listeners.web.headers import GuardMiddleware
from stagedoor.listeners.web.login_api import LoginApi, LoginParts
from stagedoor.listeners.web.login_pages import LoginPages
from stagedoor.listeners.web.pages.base import Pages
from stagedoor.listeners.web.pages.home import Home
from stagedoor.listeners.web.pages.language import use_language
from stagedoor.listeners.web.passkeys.api import PasskeyApi
from stagedoor.listeners.web.passkeys.pages import StepUpPages
from stagedoor.listeners.web.pending import PendingConnections
from stagedoor.listeners.web.post import PostRoutes
from stagedoor.listeners.web.replay import Replay
from stagedoor.listeners.web.request_pages import RequestPages
from stagedoor.listeners.web.run_pages import RunPages
from stagedoor.listeners.web.runs import Runs
from stagedoor.listeners.web.shell_access import ShellAccess
from stagedoor.listeners.web.sign_in.api import SignInApi
from stagedoor.listeners.web.sign_in.cookies import read_cookie, read_object
from stagedoor.listeners.web.terminal.api import Terminals
from stagedoor.listeners.web.terminal.fields import check_terminal_name, read_target
from stagedoor.listeners.web.terminal.guests import Guests
from stagedoor.listeners.web.terminal.presence import WatchNotifier
from stagedoor.listeners.web.terminal.requests import TerminalRequests
from stagedoor.listeners.web.terminal.session import TerminalSession
from stagedoor.listeners.web.terminal.socket import TerminalSocket
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.presence import PresenceEntry
from stagedoor.model.shell import StartStep
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.session.flow import Flow
from stagedoor.session.runs import RunService
from stagedoor.signin.credentials import CredentialService
from stagedoor.signin.passes import PassService
from stagedoor.signin.passkey_checks import PasskeyChecks
from stagedoor.signin.passkeys import PasskeyRegistry
from stagedoor.signin.provider_sign_in import ProviderSignIns
from stagedoor.signin.step_up import StepUpService
from stagedoor.wire.http.fields import parse_credential
from stagedoor.wire.terminal.frames import SUBPROTOCOL, Hello, Notice, NoticeKind, TerminalError

_PERSON_WAIT_S = 15.0
"""How long a request waits for a proof of presence, or for an approver.

Proxies cut off slow answers, so clients ask again.
"""


class WebApp:
    """The application and its open terminals. Belongs to one event loop."""

    def __init__(
        self,
        access: ShellAccess,
        passes: PassService,
        sign_ins: ProviderSignIns,
        logins: LoginParts,
        account: AccountService,
        credentials: CredentialService,
        passkeys: PasskeyRegistry,
        proofs: PasskeyChecks,
        step_ups: StepUpService,
        requests: RequestService,
        recordings: RecordingService,
        limits: WebLimits,
        runs: RunService,
        api: ApiParts,
        console: ConsoleService,
    ) -> None:
        self._access, self._passes = access, passes
        self._flow: Flow = access.flow
        self.guard = self._guard = RequestGuard(self._flow, limits)
        self.pending = PendingConnections(limits.clients.max_pending)
        self.sessions: set[TerminalSession] = set()
        self.files = Files(self._guard, passes, access)
        shown = (recordings.has_any, requests.is_concerned, runs.has_any)
        has = proofs.is_sign_in_possible
        pages = Pages(self._guard, passes, sign_ins, *shown, console, passkeys=has)
        self._notifier = WatchNotifier(access.presence, lambda: self.sessions)
        self._refusal = partial(refusal, logins=logins.logins.is_possible)
        posts = PostRoutes(self._flow, self._guard, self._identity, self._refusal)
        terminals = TerminalRequests(self._flow)
        self._guests = Guests(self._guard, posts, terminals, passes, access, pages)
        home = Home(self._guard, pages, account, self._live, self._has_terminals)
        endpoints: list[BaseRoute] = [
            Route("/api/ticket", self._ticket, methods=["POST"]),
            WebSocketRoute("/terminal", self._terminal),
            *self.files.routes,
            *Terminals(posts, terminals, access, limits.share_s).api,
            *self._guests.api,
            posts.make_route("/api/apps", home.list_apps),
            *Runs(posts, runs).routes,
            *LoginApi(self._guard, logins).routes,
            *AdminApi(self._flow, self._guard, self._identify, api).routes,
        ]
        routes = [
            *home.routes,
            *pages.routes,
            *AccountPages(self._guard, pages, passes, credentials, passkeys).routes,
            *PasskeyApi(self._guard, passes, passkeys, proofs, step_ups).routes,
            *StepUpPages(self._guard, pages, passkeys, step_ups, sign_ins).routes,
            *RequestPages(self._guard, pages, requests).routes,
            *InvitationPages(self._guard, pages, credentials).routes,
            *Replay(self._guard, passes, pages, recordings).routes,
            *RunPages(self._guard, pages, runs).routes,
            *list_console_routes(self._guard, pages, console, self._live),
            *self._guests.routes,
            *SignInApi(self._guard, passes).routes,
            *LoginPages(self._guard, pages, logins).routes,
        ]
        self.app = _mount(self._guard, endpoints, routes, pages)

    def _has_terminals(self, target: Target) -> bool:
        return self._access.holder(target) is not None

    @property
    def draining(self) -> bool:
        """Return whether new requests are refused because the gateway is stopping."""
        return self._guard.draining

    @draining.setter
    def draining(self, draining: bool) -> None:
        self._guard.draining = draining

    def record_denial(self, denial: Denial, source: Source) -> None:
        """Audit the refusal of a client that had not sent a whole request."""
        self._flow.deny(denial, web(source))

    # A ticket for one terminal.

    async def _ticket(self, request: Request) -> Response:
        source = self._guard.source_of(request)

        def refused(
            denial: Denial,
            identity: Identity | None = None,
            target: Target | None = None,
            steps: Sequence[StartStep] = (),
        ) -> Response:
            return self._refusal(self._flow.deny(denial, web(source), identity, target), steps)

        barred = self._guard.check_source(source)
        if barred is not None:
            return refused(barred)
        body = await read_object(request)
        if isinstance(body, Denial):
            return refused(body)
        target = read_target(body)
        if isinstance(target, Denial):
            return refused(target)
        identity = await self._identity(request, source)
        if isinstance(identity, Denial):
            return refused(identity, None, target)
        grant = await self._flow.authorise(identity, target)
        steps: list[StartStep] = []
        is_program = "authorization" in request.headers
        # A program shows its user the steps, then repeats the request to wait for a person.
        wait_s = _PERSON_WAIT_S if body.get("waits") is True else 0.0
        if isinstance(grant, Denial) and is_program:
            grant = await self._flow.wait_for_access(
                identity, target, grant, steps.append, waits=True, wait_s=wait_s
            )
        if isinstance(grant, Grant) and is_program:
            grant = await self._flow.wait_for_step_up(identity, grant, source, steps.append, wait_s)
        elif isinstance(grant, Grant):
            grant = await self._flow.check_step_up(identity, grant)
        if isinstance(grant, Denial):
            return refused(grant, identity, target, steps)
        secret = await self._passes.issue_ticket(identity, target)
        if isinstance(secret, Denial):
            return refused(secret, identity, target)
        return JSONResponse({"ticket": secret}, headers={"Cache-Control": "no-store"})

    async def _identity(self, request: Request, source: Source) -> Identity | Denial:
        return await self._identify(request, source, self._guard.check_own_page)

    async def _identify(
        self, request: Request, source: Source, check_site: Callable[[Request], Denial | None]
    ) -> Identity | Denial:
        """Return who asks, by the Authorization header, or by a cookie from a site that passes the check."""
        header = request.headers.get("authorization")
        if header is None:
            cookie = read_cookie(self._guard, request)
            if isinstance(cookie, Denial):
                return cookie
            if cookie is None:
                return Denial(Reason.CREDENTIAL_MISSING, "sign in with your password or a token")
            denial = check_site(request)
            if denial is not None:
                return denial
            owner = await self._passes.check_session(cookie)
            return self._guard.accept_proof(request, owner)
        credential = parse_credential(header.encode("latin-1"))
        if isinstance(credential, Denial):
            return credential
        identity = await self._flow.authenticate(credential, source)
        return self._guard.accept_proof(request, identity)

    # The terminal.

    async def _terminal(self, socket: WebSocket) -> None:
        source = self._guard.source_of(socket)
        barred = self._guard.check_source(source) or self._guard.check_origin(socket)
        if barred is not None:
            self._flow.deny(barred, web(source))
            # Closing a WebSocket before it is accepted answers 403 (RFC 6455 §4.2.2).
            await socket.close()
            return
        if SUBPROTOCOL not in socket.scope.get("subprotocols", ()):
            await socket.close()
            return
        await socket.accept(subprotocol=SUBPROTOCOL)
        wire = TerminalSocket(socket)
        try:
            hello = await self._hello(wire)
        except ClientClosedError:
            return
        except TimeoutError:
            limit_s = self._guard.limits.clients.header_timeout_s
            why = f"no HELLO came within {limit_s:g} s; connect again"
            await self._turn_away(wire, NoticeKind.FAULT, why)
            return
        except TerminalError as error:
            await self._turn_away(wire, NoticeKind.FAULT, str(error))
            return
        ticket = self._guard.accept_proof(socket, await self._passes.use_ticket(hello.ticket))
        if isinstance(ticket, Denial):
            self._flow.deny(ticket, web(source))
            await self._turn_away(wire, NoticeKind.DENIED, ticket.line)
            return
        identity, purpose = ticket
        if (
            "origin" in socket.headers
        ):  # a page, whose user may have chosen; a program names its own
            use_language(self._flow.find_language(identity))
        claim = await self._guests.claim(identity, purpose)
        # The grant checks a guest's terminal. Given a wrong name, the holder would exit without a message.
        name = check_terminal_name(hello.terminal) if isinstance(claim, Target) else ""
        for refused in (claim, name):
            if isinstance(refused, Denial):
                self._flow.deny(refused, web(source), identity)
                await self._turn_away(wire, NoticeKind.DENIED, refused.line)
                return
        assert not isinstance(claim, Denial), "it was turned away"
        terminal = TerminalSession(self._access, wire, source, hello, self._notifier.refresh)
        self.sessions.add(terminal)
        try:
            await terminal.run(identity, claim)
        finally:
            self.sessions.discard(terminal)

    async def _live(self, identity: Identity) -> Sequence[PresenceEntry] | Denial | None:
        """Return the sessions that the user may watch, or None if the user may watch none."""
        live = await self._guests.live(identity)
        if isinstance(live, Denial) or not self._access.presence.may_watch(identity):
            return live if isinstance(live, Denial) else None
        return live

    async def _hello(self, wire: TerminalSocket) -> Hello:
        """Return the first frame. Raises TimeoutError, or as `TerminalSocket.hello`."""
        async with asyncio.timeout(self._guard.limits.clients.header_timeout_s):
            return await wire.hello()

    async def _turn_away(self, wire: TerminalSocket, kind: NoticeKind, why: str) -> None:
        try:
            await wire.send(Notice(kind, why))
        except ClientClosedError:
            return
        await wire.close(bad=kind is NoticeKind.FAULT)


def _mount(
    guard: RequestGuard, api: Sequence[BaseRoute], routes: Sequence[BaseRoute], pages: Pages
) -> Starlette:
    """Return the application. `stagedoor attach` uses no path prefix; a browser may need one."""
    prefix = guard.limits.path
    mounted = [Mount(prefix, routes=[*api, *routes])] if prefix else routes
    return Starlette(
        routes=[*api, *mounted],
        middleware=[Middleware(GuardMiddleware, guard)],
        exception_handlers=dict.fromkeys((404, 405), pages.answer_not_found)
        | {ClientDisconnect: _hung_up},
    )


async def _hung_up(_request: Request, _error: Exception) -> Response:
    """Answer a client that hung up in the middle of a form, so that it is not logged as a bug."""
    return Response(status_code=400)
