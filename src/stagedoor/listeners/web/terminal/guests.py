"""Guests at terminals: the API and the pages for opening a share or watching a session.

The secret of a share is behind the `#` of its link, which no server sees; the page sends it in the body of a
request.
"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.admin.presence import PresenceService
from stagedoor.listeners.web.guard import make_web_login_origin
from stagedoor.listeners.web.pages.base import Pages
from stagedoor.listeners.web.pages.user_routes import UserRoutes
from stagedoor.listeners.web.post import Answer, Fields, PostRoutes
from stagedoor.listeners.web.terminal.fields import describe_person, make_watching_denial
from stagedoor.listeners.web.terminal.pages import TerminalPages
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Claim, Grant, Guest, SharedTerminal, WatchedTerminal
from stagedoor.model.identity import Identity
from stagedoor.model.presence import PresenceEntry
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.model.webpass import TicketPurpose, WatchedSession
from stagedoor.signin.passes import PassService
from stagedoor.wire.target import parse_target

MAX_SECRET_CHARS = 100


class Guests:
    """The routes of guests. Belongs to one event loop."""

    def __init__(
        self,
        posts: PostRoutes,
        passes: PassService,
        presence: PresenceService,
        pages: Pages,
        terminal_pages: TerminalPages,
    ) -> None:
        self._guard = posts.guard
        self._flow = posts.guard.flow
        self._passes = passes
        self._presence = presence
        self._pages = pages
        self._terminal_pages = terminal_pages
        self.api: list[BaseRoute] = [
            posts.make_route("/api/guest-ticket", self._issue_ticket),
            posts.make_route("/api/shared", self._show_offer, answers_strangers=True),
            posts.make_route("/api/live", self._list_live),
        ]
        """Routes for programs and the pages' scripts."""
        routes = UserRoutes(pages, pages.identify)
        self.routes: list[BaseRoute] = [
            Route("/shared", self._show_landing),
            routes.get("/shared/terminal", self._show_terminal),
            routes.get("/watch/{session}", self._show_terminal),
        ]
        """Routes of pages."""

    async def _issue_ticket(self, identity: Identity, body: Fields, source: Source) -> Answer:
        """Return a ticket for a guest: by the secret of a share, or to watch a session by its id."""
        admitted = await self._admit(identity, body, source)
        if isinstance(admitted, Denial):
            return admitted
        grant, guest, purpose = admitted
        proved = await self._flow.check_step_up(identity, grant)
        if isinstance(proved, Denial):
            return self._flow.record_denial(proved, make_web_login_origin(source), identity)
        ticket = await self._passes.issue_ticket(identity, purpose)
        if isinstance(ticket, Denial):
            return self._flow.record_denial(ticket, make_web_login_origin(source), identity)
        return {"ticket": ticket, "terminal": guest.terminal, **_describe_offer(proved, guest)}

    async def _show_offer(self, identity: Identity, body: Fields, source: Source) -> Answer:
        """Return the owner and the app of a shared terminal, for a guest who has not opened it yet."""
        admitted = await self._admit(identity, body, source)
        if isinstance(admitted, Denial):
            return admitted
        grant, guest, _ = admitted
        return _describe_offer(grant, guest)

    async def _admit(
        self, identity: Identity, body: Fields, source: Source
    ) -> tuple[Grant, Guest, TicketPurpose] | Denial:
        """Return a guest's grant, and the purpose of a ticket for it. A refusal is audited."""

        async def judge() -> tuple[Grant, Guest, TicketPurpose] | Denial:
            purpose = self._find_requested(body)
            if isinstance(purpose, Denial):
                return purpose
            claim = await self.claim(identity, purpose)
            if isinstance(claim, Denial):
                return claim
            grant = self._flow.authorise_in_memory(identity, claim)
            if isinstance(grant, Denial):
                return grant
            assert grant.guest is not None, "a guest's grant is for one terminal"
            return grant, grant.guest, purpose

        admitted = await self._flow.judge_with_newest_policy(judge)
        if isinstance(admitted, Denial):
            return self._flow.record_denial(admitted, make_web_login_origin(source), identity)
        return admitted

    def _find_requested(self, body: Fields) -> SharedTerminal | WatchedSession | Denial:
        """Return the terminal that a guest requests, by the current policy."""
        secret, session = body.get("share"), body.get("watch")
        if isinstance(secret, str):
            share = self._presence.find_share(secret[:MAX_SECRET_CHARS])
            # Refuse an unknown share like one that has ended.
            return SharedTerminal(share.id if share else "")
        if isinstance(session, str):
            return WatchedSession(session)
        return Denial(Reason.BAD_REQUEST, "ask for a share, or for a session to watch")

    async def claim(self, identity: Identity, purpose: TicketPurpose) -> Claim | Denial:
        """Return the claim of a ticket with that purpose."""
        if not isinstance(purpose, WatchedSession):
            return purpose
        watched = await self._list_watched(identity)
        if isinstance(watched, Denial):
            return watched
        claims = (claim for entry, claim in watched or () if entry.session == purpose.session)
        return next(claims, None) or make_watching_denial()

    async def _list_watched(
        self, identity: Identity
    ) -> Sequence[tuple[PresenceEntry, WatchedTerminal]] | Denial | None:
        """Return the sessions in terminals, each with the claim to watch it, which has no grant yet.

        Return None for a user who may watch none.
        """
        if not self._presence.may_watch(identity):
            return None
        present = await self._presence.list_present(is_watching=False)
        if isinstance(present, Denial):
            return present
        placed = ((entry, parse_target(entry.target)) for entry in present)
        return [
            (entry, WatchedTerminal(target, entry.terminal, entry.name))
            for entry, target in placed
            if isinstance(target, Target)
        ]

    async def _list_live(self, identity: Identity, body: Fields, source: Source) -> Answer:
        live = await self.list_watchable(identity)
        if isinstance(live, Denial):
            return live
        sessions = [
            describe_person(entry)
            | {"session": entry.session, "target": entry.target, "terminal": entry.terminal}
            for entry in live or ()
        ]
        return {"sessions": sessions}

    async def list_watchable(self, identity: Identity) -> Sequence[PresenceEntry] | Denial | None:
        """Return the sessions in terminals that the user may watch now, None if the user may watch none."""
        watched = await self._list_watched(identity)
        if watched is None or isinstance(watched, Denial):
            return watched
        return [
            entry
            for entry, claim in watched
            if isinstance(self._flow.authorise_in_memory(identity, claim), Grant)
        ]

    # Pages.

    async def _show_landing(self, request: Request) -> Response:
        barred = self._guard.check_source(request)
        if barred is not None:
            return self._pages.render_refusal(request, barred)
        # Its script keeps the secret behind the `#` for this tab only.
        return HTMLResponse(self._pages.place.page("shared.html"))

    async def _show_terminal(self, request: Request, identity: Identity) -> Response:
        """Return the terminal's page; only a client with a share's secret learns which terminal it is."""
        session = request.path_params.get("session", "")
        return self._terminal_pages.render_for_guest(identity, session)


def _describe_offer(grant: Grant, guest: Guest) -> dict[str, object]:
    return {
        "app": grant.target.login_name,
        "host": guest.host,
        "typing": guest.may_type,
        "expires_at": grant.expires_at,
    }
