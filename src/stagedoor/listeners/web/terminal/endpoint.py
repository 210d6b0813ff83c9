"""The endpoint of terminals: a ticket, and the WebSocket that it opens.

A ticket is never part of a URL. The client sends it in the first frame.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from stagedoor.listeners.web.bodies import read_object
from stagedoor.listeners.web.errors import ClientClosedError
from stagedoor.listeners.web.pages.language import use_language
from stagedoor.listeners.web.post import WAIT_S, PostRoutes, read_string
from stagedoor.listeners.web.shell_access import ShellAccess
from stagedoor.listeners.web.terminal.fields import check_terminal_name, read_target
from stagedoor.listeners.web.terminal.guests import Guests
from stagedoor.listeners.web.terminal.presence import PresencePoller
from stagedoor.listeners.web.terminal.session import TerminalSession
from stagedoor.listeners.web.terminal.socket import TerminalSocket
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.shell import ProgressStep
from stagedoor.model.target import Target
from stagedoor.session.access_request import answer_with_reason
from stagedoor.signin.passes import PassService
from stagedoor.wire.terminal.frames import SUBPROTOCOL, Hello, Notice, NoticeKind, TerminalError


class TerminalEndpoint:
    """The routes into terminals, and the open ones. Belongs to one event loop."""

    def __init__(
        self, posts: PostRoutes, passes: PassService, access: ShellAccess, guests: Guests
    ) -> None:
        self._posts = posts
        self._guard = posts.guard
        self._flow = posts.guard.flow
        self._passes = passes
        self._access = access
        self._guests = guests
        self.sessions: set[TerminalSession] = set()
        self._presence_poller = PresencePoller(access.presence, lambda: self.sessions)
        self.routes: list[BaseRoute] = [
            Route("/api/ticket", self._issue_ticket, methods=["POST"]),
            WebSocketRoute("/terminal", self._serve_terminal),
        ]

    async def _issue_ticket(self, request: Request) -> Response:
        source = self._guard.find_source(request)

        def refused(
            denial: Denial,
            identity: Identity | None = None,
            target: Target | None = None,
            steps: Sequence[ProgressStep] = (),
        ) -> Response:
            denied = self._guard.record_denial(request, denial, identity, target)
            return self._posts.answer_refusal(denied, steps)

        barred = self._guard.check_source(request)
        if barred is not None:
            return refused(barred)
        body = await read_object(request)
        if isinstance(body, Denial):
            return refused(body)
        target = read_target(body)
        if isinstance(target, Denial):
            return refused(target)
        identity = await self._posts.identify(request, source)
        if isinstance(identity, Denial):
            return refused(identity, None, target)
        steps: list[ProgressStep] = []
        is_program = "authorization" in request.headers
        # A program shows its user the steps, then repeats the request to wait for a person.
        wait_s = WAIT_S if body.get("waits") is True else 0.0
        grant = await self._flow.admit(
            identity,
            target,
            source,
            steps.append if is_program else None,
            may_wait=True,
            wait_s=wait_s,
            ask_reason=answer_with_reason(read_string(body, "reason")),
            is_page=not is_program,
        )
        if isinstance(grant, Denial):
            return refused(grant, identity, target, steps)
        secret = await self._passes.issue_ticket(identity, target)
        if isinstance(secret, Denial):
            return refused(secret, identity, target)
        return JSONResponse({"ticket": secret})

    async def _serve_terminal(self, socket: WebSocket) -> None:
        source = self._guard.find_source(socket)
        barred = self._guard.check_source(socket) or self._guard.check_origin(socket)
        if barred is not None:
            self._guard.record_denial(socket, barred)
            # Closing a WebSocket before it is accepted answers 403 (RFC 6455 §4.2.2).
            await socket.close()
            return
        if SUBPROTOCOL not in socket.scope.get("subprotocols", ()):
            await socket.close()
            return
        await socket.accept(subprotocol=SUBPROTOCOL)
        client = TerminalSocket(socket)
        hello = await self._read_hello(client)
        if hello is None:
            return
        ticket = await self._passes.use_ticket(hello.ticket)
        if isinstance(ticket, Denial):
            self._guard.record_denial(socket, ticket)
            await self._turn_away(client, NoticeKind.DENIED, ticket.line)
            return
        self._guard.mark_authenticated(socket)
        identity, purpose = ticket
        if "origin" in socket.headers:
            # A page, whose user may have chosen a language; a program names one.
            use_language(self._flow.find_language(identity))
        claim = await self._guests.claim(identity, purpose)
        # The grant checks a guest's terminal. Given a wrong name, the holder would exit without a message.
        name = check_terminal_name(hello.terminal) if isinstance(claim, Target) else ""
        for refused in (claim, name):
            if isinstance(refused, Denial):
                self._guard.record_denial(socket, refused, identity)
                await self._turn_away(client, NoticeKind.DENIED, refused.line)
                return
        assert not isinstance(claim, Denial), "it was turned away"
        terminal = TerminalSession(
            self._access,
            client,
            source,
            hello,
            self._presence_poller.refresh,
            partial(self._passes.explain_end, identity),
        )
        self.sessions.add(terminal)
        try:
            await terminal.run(identity, claim)
        finally:
            self.sessions.discard(terminal)

    async def _read_hello(self, client: TerminalSocket) -> Hello | None:
        """Return the client's HELLO, or None after turning the client away or if it has hung up."""
        limit_s = self._guard.settings.client_limits.header_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await client.read_hello()
        except ClientClosedError:
            return None
        except TimeoutError:
            why = f"no HELLO came within {limit_s:g} s; connect again"
        except TerminalError as error:
            why = str(error)
        await self._turn_away(client, NoticeKind.FAULT, why)
        return None

    async def _turn_away(self, client: TerminalSocket, kind: NoticeKind, why: str) -> None:
        try:
            await client.send(Notice(kind, why))
        except ClientClosedError:
            return
        await client.close(bad=kind is NoticeKind.FAULT)
