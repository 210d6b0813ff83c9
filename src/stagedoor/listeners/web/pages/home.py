"""The home page of a user who is signed in."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.admin.account import AccountService
from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.pages import markup
from stagedoor.listeners.web.pages.base import Pages
from stagedoor.listeners.web.pages.markup import AppEntry
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission, Permissions
from stagedoor.model.presence import PresenceEntry
from stagedoor.model.target import Target
from stagedoor.wire.http.answer import status_of

_BY_DIRECT_LOGIN = (
    (Permission.FORWARD, "forward ports (ssh -L)"),
    (Permission.AGENT, "forward your agent (ssh -A)"),
)


class Home:
    """The route of the home page. Belongs to one event loop."""

    def __init__(
        self,
        guard: RequestGuard,
        pages: Pages,
        account: AccountService,
        live: Callable[[Identity], Awaitable[Sequence[PresenceEntry] | Denial | None]],
        has_terminals: Callable[[Target], bool],
    ) -> None:
        """Make the route.

        `live` returns the sessions that a user may watch, or None for a user without that right.
        `has_terminals` returns whether the shell of a target has a known holder.
        """
        self._guard = guard
        self._flow = guard.flow
        self._pages = pages
        self._account = account
        self._live = live
        self._has_terminals = has_terminals
        self.routes: list[BaseRoute] = [
            Route("/", self._home),
        ]

    async def _home(self, request: Request) -> Response:
        target = self._guard.app_of(request)
        if target is not None:
            return await self._pages.terminal_of(request, target)
        identity = await self._pages.identify(request)
        if isinstance(identity, Response):
            return identity
        return await self._home_of(identity, request.url.hostname or "")

    async def _home_of(self, identity: Identity, host: str) -> Response:
        grants = list(self._flow.grants(identity))
        states = await asyncio.gather(*(self._flow.observe(grant.target) for grant in grants))
        apps = [
            AppEntry(
                grant.target.login_name,
                grant.target.host_name,
                state.value,
                f"{self._pages.place.path}/app/{quote(grant.target.login_name)}",
                self._account.ssh_line(identity, grant.target),
                self._has_terminals(grant.target),
                self._flow.notice(grant.target),
                permits_in_words(grant.permissions),
            )
            for grant, state in zip(grants, states, strict=True)
        ]
        past = await self._account.sessions(identity)
        keys = await self._account.keys(identity)
        live = await self._live(identity)
        for denial in (past, keys, live):
            if isinstance(denial, Denial):
                return self._pages.message("Not now", denial.line, status_of(denial.reason))
        assert not isinstance(live, Denial)
        assert not isinstance(past, Denial)
        assert not isinstance(keys, Denial)
        return HTMLResponse(
            markup.home(
                self._pages.place,
                identity.name,
                apps,
                past,
                keys,
                is_person=identity.is_person,
                visitor=self._pages.describe_user(identity),
                live=live,
                ssh_setup=self._account.ssh_setup(identity, host),
                token_ends_at=identity.token_ends_soon(self._guard.flow.now()),
            )
        )


def permits_in_words(permissions: Permissions) -> str:
    """Return sentences about permissions that users differ in; empty without any."""
    ways = [text for permission, text in _BY_DIRECT_LOGIN if permission in permissions]
    sentences = [f"You may {' and '.join(ways)} by direct login."] if ways else []
    if Permission.RECORD in permissions:
        sentences.append("Your terminals are recorded.")
    return " ".join(sentences)
