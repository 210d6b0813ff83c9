"""The API and the pages to list, end, share and watch the named terminals of an app's shell.

The secret of a share is behind the `#` of its link, which no
server sees; the page sends it in the body of a request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.pages import markup
from stagedoor.listeners.web.pages.base import Pages
from stagedoor.listeners.web.post import PostRoutes
from stagedoor.listeners.web.shell_access import ShellAccess
from stagedoor.listeners.web.terminal.fields import (
    Body,
    at_terminal,
    nothing_to_watch,
    person,
    share_object,
    target_in,
    terminal_in,
)
from stagedoor.listeners.web.terminal.remote_command import run_remote
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Claim, Grant, Guest, SharedTerminal, WatchedTerminal
from stagedoor.model.identity import Identity
from stagedoor.model.presence import PresenceEntry
from stagedoor.model.shell import ShellState
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.model.units import MINUTE_S
from stagedoor.model.webpass import TicketPurpose, WatchedSession
from stagedoor.signin.passes import PassService
from stagedoor.wire.target import parse_target

MAX_SECRET_CHARS = 100
_NOT_RUNNING = (ShellState.ABSENT, ShellState.STARTING, ShellState.FAILED)
"""In these states the shell is not asked for its terminals, since that would start it or fail."""
Answer = Mapping[str, object] | Denial


@dataclass(frozen=True, slots=True)
class ShareRules:
    """The limits of shares: one may last `most_s` seconds; 0: terminals cannot be shared."""

    most_s: float


class Terminals:
    """The routes of terminals. Belongs to one event loop."""

    def __init__(
        self,
        guard: RequestGuard,
        passes: PassService,
        access: ShellAccess,
        pages: Pages,
        rules: ShareRules,
        posts: PostRoutes,
    ) -> None:
        self._guard = guard
        self._passes = passes
        self._access = access
        self._flow = access.flow
        self._presence = access.presence
        self._pages = pages
        self._rules = rules
        self.api: list[BaseRoute] = [
            posts.make_route("/api/terminals", self._list),
            posts.make_route("/api/terminals/end", self._end),
            posts.make_route("/api/attached", self._attached),
            posts.make_route("/api/share", self._share),
            posts.make_route("/api/shares", self._shares),
            posts.make_route("/api/share/end", self._end_share),
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

    # The user, and the app that is asked for.

    def _denied(
        self, denial: Denial, source: Source, identity: Identity, target: Target | None = None
    ) -> Denial:
        return self._flow.deny(denial, web(source), identity, target)

    async def _granted(self, identity: Identity, body: Body, source: Source) -> Grant | Denial:
        """Return the user's grant for the app in `target`."""
        target = target_in(body)
        if isinstance(target, Denial):
            return self._denied(target, source, identity)
        grant = await self._flow.authorise(identity, target)
        return self._denied(grant, source, identity, target) if isinstance(grant, Denial) else grant

    async def _granted_at(
        self, identity: Identity, body: Body, source: Source
    ) -> tuple[Grant, str] | Denial:
        """Return the user's grant, and the name of the terminal in `terminal`."""
        grant = await self._granted(identity, body, source)
        if isinstance(grant, Denial):
            return grant
        name = terminal_in(body)
        return name if isinstance(name, Denial) else (grant, name)

    # Terminals.

    async def _list(self, identity: Identity, body: Body, source: Source) -> Answer:
        """Return the terminals of the shell, if it runs, and the sessions at them.

        A user without a fresh proof of presence, if the app demands one, does not learn whether it runs.
        """
        granted = await self._granted(identity, body, source)
        if isinstance(granted, Denial):
            return granted
        grant = await self._flow.check_step_up(identity, granted)
        if isinstance(grant, Denial):
            return self._denied(grant, source, identity, granted.target)
        state = await self._flow.observe(grant.target)
        terminals: list[list[str]] = []
        if state not in _NOT_RUNNING:
            listed = await run_remote(self._access, source, grant, ["list"])
            if isinstance(listed, Denial):
                return listed
            terminals = [line.split("\t") for line in listed.splitlines() if line]
        present = await self._presence.list_present()
        if isinstance(present, Denial):
            return present
        return {
            "state": state.value,
            "terminals": [
                {
                    "name": name,
                    "locked": "locked" in marks,
                    "attached": at_terminal(present, grant.target, name),
                }
                for name, *marks in terminals
            ],
        }

    async def _attached(self, identity: Identity, body: Body, source: Source) -> Answer:
        """Return the sessions at one terminal, without asking the shell."""
        grant = await self._granted(identity, body, source)
        if isinstance(grant, Denial):
            return grant
        present = await self._presence.list_present()
        if isinstance(present, Denial):
            return present
        return {"attached": at_terminal(present, grant.target, str(body.get("terminal", "")))}

    async def _end(self, identity: Identity, body: Body, source: Source) -> Answer:
        granted = await self._granted_at(identity, body, source)
        if isinstance(granted, Denial):
            return granted
        grant, name = granted
        output = await run_remote(self._access, source, grant, ["end", name])
        return output if isinstance(output, Denial) else {"ended": name}

    # Shares.

    async def _share(self, identity: Identity, body: Body, source: Source) -> Answer:
        granted = await self._granted_at(identity, body, source)
        if isinstance(granted, Denial):
            return granted
        grant, name = granted
        # Otherwise the thief of a cookie could share a terminal that the cookie alone does not open.
        proof = await self._flow.check_step_up(identity, grant)
        if isinstance(proof, Denial):
            return self._denied(proof, source, identity, grant.target)
        minutes = body.get("minutes", 60)
        if not isinstance(minutes, int | float) or isinstance(minutes, bool) or not minutes > 0:
            return Denial(Reason.BAD_REQUEST, "a share lasts a number of minutes")
        most = self._rules.most_s
        if minutes * MINUTE_S > most:
            allowed = f"{most / MINUTE_S:g} minutes at most" if most else "not at all here"
            return self._denied(
                Denial.with_mend(
                    Reason.NO_GRANT,
                    f"terminals may be shared {allowed}",
                    "an administrator sets web.share_s",
                    "choose a shorter time" if most else "ask an administrator",
                ),
                source,
                identity,
                grant.target,
            )
        created = await self._presence.share(
            identity, grant.target, name, minutes * MINUTE_S, typing=body.get("typing") is True
        )
        if isinstance(created, Denial):
            return created
        share, secret = created
        return {**share_object(share), "fragment": secret}

    async def _shares(self, identity: Identity, body: Body, source: Source) -> Answer:
        return {"shares": [share_object(share) for share in self._presence.list_shares(identity)]}

    async def _end_share(self, identity: Identity, body: Body, source: Source) -> Answer:
        share_id = str(body.get("id", ""))[:MAX_SECRET_CHARS]
        denial = await self._presence.end_share(identity, share_id)
        return {"ended": share_id} if denial is None else denial

    # Guests.

    async def _ticket(self, identity: Identity, body: Body, source: Source) -> Answer:
        """Return a ticket for a guest: by the secret of a share, or to watch a session by its id."""
        grant, purpose = await self._admit(identity, body)
        if isinstance(grant, Grant):
            grant = await self._flow.check_step_up(identity, grant)
        if isinstance(grant, Denial):
            return self._denied(grant, source, identity)
        ticket = await self._passes.issue_ticket(identity, purpose)
        if isinstance(ticket, Denial):
            return self._denied(ticket, source, identity)
        guest = grant.guest
        assert guest is not None, "a guest's grant is for one terminal"
        return {"ticket": ticket, "terminal": guest.terminal, **_offer_object(grant, guest)}

    async def _offer(self, identity: Identity, body: Body, source: Source) -> Answer:
        """Return whose terminal a share is, for a guest who has not opened it yet."""
        grant, _ = await self._admit(identity, body)
        if isinstance(grant, Denial):
            return self._denied(grant, source, identity)
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
            return nothing_to_watch()
        present = await self._presence.list_present(looks=False)
        if isinstance(present, Denial):
            return present
        for entry in present:
            target = parse_target(entry.target)
            if entry.session == session and isinstance(target, Target):
                return WatchedTerminal(target, entry.terminal, entry.name)
        return nothing_to_watch()

    async def _live(self, identity: Identity, body: Body, source: Source) -> Answer:
        live = await self.live(identity)
        if isinstance(live, Denial):
            return live
        return {"sessions": [person(entry) | {"session": entry.session, "target": entry.target,
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
        return self._pages.guest_page(identity, session)


def _offer_object(grant: Grant, guest: Guest) -> dict[str, object]:
    return {
        "app": grant.target.login_name,
        "host": guest.host,
        "typing": guest.may_type,
        "expires_at": grant.expires_at,
    }
