"""Guests at terminals: the API and the pages for a client that opens a share, or watches a session.

The secret of a share is behind the `#` of its link, which no server sees; the page sends it in the body of a
request.
"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.pages import markup
from stagedoor.listeners.web.pages.base import Pages
from stagedoor.listeners.web.post import Answer, PostRoutes
from stagedoor.listeners.web.shell_access import ShellAccess
from stagedoor.listeners.web.terminal.fields import Body, deny_watching, describe_person
from stagedoor.listeners.web.terminal.requests import TerminalRequests
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
        guard: RequestGuard,
        posts: PostRoutes,
        requests: TerminalRequests,
        passes: PassService,
        access: ShellAccess,
        pages: Pages,
    ) -> None:
        self._requests = requests
        self._guard = guard
        self._passes = passes
        self._flow = access.flow
        self._presence = access.presence
        self._pages = pages
        self.api: list[BaseRoute] = [
            posts.make_route("/api/guest-ticket", self._ticket),
            posts.make_route("/api/shared", self._offer, answers_strangers=True),
            posts.make_route("/api/live", self._live),
        ]
        """Routes for programs and the pages' scripts."""
        self.routes: list[BaseRoute] = [
            Route("/shared", self._landing),
            Route("/shared/terminal", self._shared_page),
            Route("/watch/{session}", self._watch_page),
        ]
        """Routes of pages."""

    async def _ticket(self, identity: Identity, body: Body, source: Source) -> Answer:
        """Return a ticket for a guest: by the secret of a share, or to watch a session by its id."""
        grant, purpose = await self._admit(identity, body)
        if isinstance(grant, Grant):
            grant = await self._flow.check_step_up(identity, grant)
        if isinstance(grant, Denial):
            return self._requests.deny(grant, source, identity)
        ticket = await self._passes.issue_ticket(identity, purpose)
        if isinstance(ticket, Denial):
            return self._requests.deny(ticket, source, identity)
        guest = grant.guest
        assert guest is not None, "a guest's grant is for one terminal"
        return {"ticket": ticket, "terminal": guest.terminal, **_offer_object(grant, guest)}

    async def _offer(self, identity: Identity, body: Body, source: Source) -> Answer:
        """Return whose terminal a share is, for a guest who has not opened it yet."""
        grant, _ = await self._admit(identity, body)
        if isinstance(grant, Denial):
            return self._requests.deny(grant, source, identity)
        assert grant.guest is not None, "a guest's grant is for one terminal"
        return _offer_object(grant, grant.guest)

    async def _admit(self, identity: Identity, body: Body) -> tuple[Grant | Denial, TicketPurpose]:
        """Return a guest's grant, or why there is none, and the purpose of a ticket for it."""
        purpose: TicketPurpose = SharedTerminal("")

        async def verdict() -> Grant | Denial:
            nonlocal purpose
            requested = self._requested(body)
            if isinstance(requested, Denial):
                return requested
            purpose = requested
            claim = await self.claim(identity, purpose)
            if isinstance(claim, Denial):
                return claim
            return self._flow.authorise_in_memory(identity, claim)

        return await self._flow.by_newest_policy(verdict), purpose

    def _requested(self, body: Body) -> SharedTerminal | WatchedSession | Denial:
        """Return the terminal that a guest requests, by the policy as it is now."""
        secret, session = body.get("share"), body.get("watch")
        if isinstance(secret, str):
            share = self._presence.find_share(secret[:MAX_SECRET_CHARS])
            # An unknown share is refused like one that has ended.
            return SharedTerminal(share.id if share else "")
        if isinstance(session, str):
            return WatchedSession(session)
        return Denial(Reason.BAD_REQUEST, "ask for a share, or for a session to watch")

    async def claim(self, identity: Identity, purpose: TicketPurpose) -> Claim | Denial:
        """Return the claim of a ticket with that purpose."""
        if isinstance(purpose, WatchedSession):
            return await self._watched(identity, purpose.session)
        return purpose

    async def _watched(self, identity: Identity, session: str) -> WatchedTerminal | Denial:
        if not self._presence.may_watch(identity):
            return deny_watching()
        present = await self._presence.list_present(looks=False)
        if isinstance(present, Denial):
            return present
        for entry in present:
            target = parse_target(entry.target)
            if entry.session == session and isinstance(target, Target):
                return WatchedTerminal(target, entry.terminal, entry.name)
        return deny_watching()

    async def _live(self, identity: Identity, body: Body, source: Source) -> Answer:
        live = await self.live(identity)
        if isinstance(live, Denial):
            return live
        return {"sessions": [describe_person(entry) | {"session": entry.session, "target": entry.target,
                             "terminal": entry.terminal} for entry in live]}  # fmt: skip

    async def live(self, identity: Identity) -> Sequence[PresenceEntry] | Denial:
        """Return the sessions in terminals that the user may watch now."""
        if not self._presence.may_watch(identity):
            return ()
        present = await self._presence.list_present(looks=False)
        if isinstance(present, Denial):
            return present
        watchable = []
        for entry in present:
            target = parse_target(entry.target)
            if isinstance(target, Denial):
                continue
            claim = WatchedTerminal(target, entry.terminal, entry.name)
            if isinstance(self._flow.authorise_in_memory(identity, claim), Grant):
                watchable.append(entry)
        return watchable

    # Pages.

    async def _landing(self, request: Request) -> Response:
        barred = self._guard.check_source(self._guard.source_of(request))
        if barred is not None:
            return self._pages.refuse(request, barred)
        return HTMLResponse(markup.shared(self._pages.place))

    async def _shared_page(self, request: Request) -> Response:
        """Return the terminal's page; only a client with the secret learns which terminal it is."""
        return await self._guest_page(request, "")

    async def _watch_page(self, request: Request) -> Response:
        return await self._guest_page(request, request.path_params["session"])

    async def _guest_page(self, request: Request, session: str) -> Response:
        identity = await self._pages.identify(request)
        if isinstance(identity, Response):
            return identity
        return self._pages.render_guest_page(identity, session)


def _offer_object(grant: Grant, guest: Guest) -> dict[str, object]:
    return {
        "app": grant.target.login_name,
        "host": guest.host,
        "typing": guest.may_type,
        "expires_at": grant.expires_at,
    }
