"""The home page of a user who is signed in."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.admin.account import AccountService, AppSessions
from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.pages import markup
from stagedoor.listeners.web.pages.base import Pages
from stagedoor.listeners.web.pages.markup import AppRow
from stagedoor.listeners.web.post import Fields
from stagedoor.listeners.web.shell_access import ShellAccess
from stagedoor.listeners.web.terminal.pages import TerminalPages
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission, Permissions
from stagedoor.model.presence import PresenceEntry
from stagedoor.model.shell import ShellState
from stagedoor.model.source import Source
from stagedoor.model.target import Target

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
        terminal_pages: TerminalPages,
        account: AccountService,
        live: Callable[[Identity], Awaitable[Sequence[PresenceEntry] | Denial | None]],
        access: ShellAccess,
    ) -> None:
        """`live` returns the sessions that a user may watch, or None for a user without that right."""
        self._guard = guard
        self._flow = guard.flow
        self._pages = pages
        self._terminal_pages = terminal_pages
        self._account = account
        self._live = live
        self._access = access
        self.routes: list[BaseRoute] = [Route("/", self._home)]

    async def _home(self, request: Request) -> Response:
        target = self._guard.find_app(request)
        if target is not None:
            return await self._terminal_pages.render(request, target)
        identity = await self._pages.identify(request)
        if isinstance(identity, Response):
            return identity
        return await self._render_home(identity, request)

    async def list_apps(self, identity: Identity, _: Fields, __: Source) -> Mapping[str, object]:
        """Return the apps that a user may enter, for the palette of commands."""
        return {
            "apps": [
                {"name": grant.target.login_name, "page": self._page_of(grant.target)}
                for grant in self._flow.list_grants(identity)
                if self._access.find_holder_command(grant.target) is not None
            ]
        }

    def _page_of(self, target: Target) -> str:
        return f"{self._pages.place.path}/app/{quote(target.login_name)}"

    async def _render_home(self, identity: Identity, request: Request) -> Response:
        granted = await self._flow.observe_grants(identity)
        past = await self._account.list_sessions(identity)
        keys = await self._account.list_keys(identity)
        sessions = await self._account.find_app_sessions(identity)
        live = await self._live(identity)
        for denial in (past, keys, sessions, live):
            if isinstance(denial, Denial):
                return self._pages.explain(denial, identity)
        assert not isinstance(live, Denial)
        assert not isinstance(past, Denial)
        assert not isinstance(keys, Denial)
        assert not isinstance(sessions, Denial)
        apps = [self._make_app_row(grant, state, sessions) for grant, state in granted]
        page = partial(
            markup.render_home,
            self._pages.place,
            self._pages.describe_user(identity),
            apps,
            past,
            keys,
            live=live,
            ssh_setup=self._account.choose_ssh_setup(identity, request.url.hostname or ""),
            token_ends_at=identity.find_token_warning(self._flow.now()),
            shows_all="all" in request.query_params,
        )
        # In a thread, since a page of thousands of apps takes longer than a login.
        accepts_gzip = "gzip" in request.headers.get("accept-encoding", "")
        return await asyncio.to_thread(_respond, page, packed=accepts_gzip)

    def _make_app_row(self, grant: Grant, state: ShellState, sessions: AppSessions) -> AppRow:
        target = grant.target
        return AppRow(
            target.login_name,
            target.host_name,
            state.value,
            self._page_of(target),
            self._account.render_ssh_command(target),
            self._access.find_holder_command(target) is not None,
            self._flow.find_notice(target),
            describe_permissions(grant.permissions),
            is_recorded=Permission.RECORD in grant.permissions,
            used_at=sessions.used_at.get(target.host_name),
            inside=sessions.inside.get(target.host_name, ()),
        )


def _respond(page: Callable[[], str], *, packed: bool) -> Response:
    """Render a page and return it, compressed if the browser accepts that (RFC 9110 §12.5.3).

    Only a page that repeats nothing of its request and contains no secret may be compressed. From the length
    of others, a site that makes requests could guess the secret (BREACH).
    """
    headers = {"vary": "Accept-Encoding"}
    if not packed:
        return HTMLResponse(page(), headers=headers)
    headers["content-encoding"] = "gzip"
    return HTMLResponse(gzip.compress(page().encode(), 5, mtime=0), headers=headers)


def describe_permissions(permissions: Permissions) -> str:
    """Return sentences about the permissions in which users differ, or "" if there are none."""
    ways = [text for permission, text in _BY_DIRECT_LOGIN if permission in permissions]
    sentences = [f"You may {' and '.join(ways)} by direct login."] if ways else []
    if Permission.RECORD in permissions:
        sentences.append("Your terminals are recorded.")
    return " ".join(sentences)
