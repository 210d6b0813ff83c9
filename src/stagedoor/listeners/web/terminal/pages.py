"""The terminal's page, for a user of an app and for a guest, and its manifest."""

import json
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.pages import markup
from stagedoor.listeners.web.pages.base import SEE_OTHER, Pages
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.target import Target
from stagedoor.wire.target import parse_login


class TerminalPages:
    """The routes of these pages. Belongs to one event loop."""

    def __init__(self, guard: RequestGuard, pages: Pages) -> None:
        self._guard = guard
        self._flow = guard.flow
        self._pages = pages
        self.routes: list[BaseRoute] = [
            Route("/app/{app}", self._show),
            Route("/manifest.webmanifest", self._describe),
        ]

    async def _show(self, request: Request) -> Response:
        target = parse_login(request.path_params["app"])
        if target is None:
            return self._pages.answer_message("Not found", "There is no app of that name.", 404)
        return await self.render(request, target)

    async def render(self, request: Request, target: Target) -> Response:
        """Return the terminal's page for `target`, if the user is signed in and may enter it."""
        identity = await self._pages.identify(request)
        if isinstance(identity, Response):
            return identity
        grant = await self._flow.authorise(identity, target)
        if isinstance(grant, Denial):
            self._guard.record_denial(request, grant, identity, target)
            if self._flow.may_ask(identity, target, grant):
                wanted = urlencode({"app": target.login_name})
                return RedirectResponse(f"{self._pages.place.path}/requests?{wanted}", SEE_OTHER)
            return self._pages.explain_refusal(identity, target, grant)
        if isinstance(await self._flow.check_step_up(identity, grant), Denial):
            return self._pages.ask_for_proof(self._pages.find_way_back(request))
        return self._pages.explain_missing("terminal.js") or self._pages.render_with_terminal(
            lambda nonce: markup.render_terminal(
                self._pages.place,
                target.login_name,
                nonce,
                identity.name,
                moves_files=Permission.FILES in grant.permissions,
                tmux=self._guard.settings.tmux,
                notice=self._flow.find_notice(target),
                is_known=self._flow.has_target(target),
            )
        )

    def render_for_guest(self, identity: Identity, session: str) -> Response:
        """Return a terminal's page for a guest; `session` is the one to watch, empty for a share.

        The page does not name the app, which only a client with a ticket learns.
        """
        place, name, guest = self._pages.place, identity.name, session or "share"
        return self._pages.explain_missing("terminal.js") or self._pages.render_with_terminal(
            lambda nonce: markup.render_terminal(place, "", nonce, name, guest=guest)
        )

    async def _describe(self, request: Request) -> Response:
        """Return the manifest to install the page as an app, in whose window Ctrl-W reaches the terminal."""
        app = parse_login(request.query_params.get("app", ""))
        target = app or self._guard.find_app(request)
        place, home = self._pages.place, self._pages.home_path
        start = home if app is None else f"{place.path}/app/{quote(app.login_name)}"
        name = place.brand.name if target is None else f"{target.login_name} · {place.brand.name}"
        manifest = {
            "name": name,
            "short_name": name,
            "id": start,
            "start_url": start,
            "scope": home,
            "display": "standalone",
            "background_color": "#101418",
            "theme_color": "#101418",
            "icons": [{"src": place.asset("icon.svg"), "sizes": "any", "type": "image/svg+xml"}],
        }
        return Response(json.dumps(manifest), media_type="application/manifest+json")
