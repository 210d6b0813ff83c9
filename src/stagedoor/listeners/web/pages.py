"""The WebShell's pages: sign in, home, keys, and the terminal's."""

import json
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web import headers, markup
from stagedoor.listeners.web.assets import Assets
from stagedoor.listeners.web.markup import App, Place
from stagedoor.listeners.web.ports import Desk, Passes
from stagedoor.listeners.web.signin import (
    drop_cookies,
    form_of,
    safe_path,
    set_cookie,
    shown_cookie,
)
from stagedoor.listeners.web.threshold import At, Threshold
from stagedoor.model.credential import PasswordCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.target import Target
from stagedoor.model.webpass import PassKind
from stagedoor.wire.answer import status_of
from stagedoor.wire.target import parse_login

_SEE_OTHER = 303
_NOT_BUILT = (
    "The page of the terminal was not built into this installation. Where Stagedoor runs from its "
    "source: cd web && npm ci && npm run build, then start it again. Until then: stagedoor attach."
)


async def nobody_live(_: Identity) -> str | Denial:
    """For who may watch nobody."""
    return ""


class Pages:
    """Belongs to one event loop."""

    def __init__(
        self,
        threshold: Threshold,
        passes: Passes,
        desk: Desk,
        assets: Assets | None = None,
        *,
        shows_recordings: Callable[[Identity], bool] = lambda _: False,
        moves_files: Callable[[Grant], bool] = lambda _: False,
        live: Callable[[Identity], Awaitable[str | Denial]] = nobody_live,
    ) -> None:
        self._threshold = threshold
        self._flow = threshold.flow
        self._passes = passes
        self._desk = desk
        self._shows_recordings = shows_recordings
        self._moves_files = moves_files
        self._live = live
        self._assets = assets or Assets()
        self.place = self._place = Place(threshold.limits.path, self._assets)
        self.routes: list[BaseRoute] = [
            Route("/", self._home),
            Route("/app/{app}", self._terminal),
            Route("/sign-in", self._sign_in_form, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/link", self._link),
            Route("/sign-in/link", self._sign_in_by_link, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/keys/add", self._add_key, methods=["POST"]),
            Route("/keys/remove", self._remove_key, methods=["POST"]),
            Route("/manifest.webmanifest", self._manifest),
            Route("/static/{digest}/{name}", self._assets.answer),
        ]

    async def not_found(self, request: Request, _: Exception) -> Response:
        """For paths, and methods, that there are none of."""
        return self.said("Not found", "There is no such page here.", 404)

    # Who is it?

    async def signed_in(self, request: Request) -> Identity | Response:
        """Whose pass the browser shows; or what to answer instead."""
        barred = self._threshold.barred(self._threshold.source_of(request))
        if barred is not None:
            return self.denied(request, barred)
        secret = shown_cookie(request)
        if secret is None and request.headers.get("sec-fetch-site") == "cross-site":
            # A SameSite=Strict cookie does not come along from a link on another site. Loaded again
            # by our own page, it does; that one is same-origin, so this happens once.
            body = '<meta http-equiv="refresh" content="0">'
            return HTMLResponse(f"<!doctype html><title>Stagedoor</title>{body}")
        identity = None if secret is None else await self._passes.show(PassKind.SESSION, secret)
        if isinstance(identity, Identity):
            return identity
        if identity is not None and identity.reason is not Reason.CREDENTIAL_WRONG:
            return self.said("Not now", identity.message, status_of(identity.reason))
        wanted = urlencode({"next": request.url.path})
        return RedirectResponse(f"{self._place.path}/sign-in?{wanted}", _SEE_OTHER)

    async def _posted(self, request: Request) -> dict[str, str] | Response:
        """The fields of a form that our own page sent."""
        denial = self._threshold.barred(self._threshold.source_of(request))
        denial = denial or self._threshold.not_ours(request)
        if denial is not None:
            return self.denied(request, denial)
        fields = await form_of(request)
        return self.denied(request, fields) if isinstance(fields, Denial) else fields

    def denied(
        self, request: Request, denial: Denial, identity: Identity | None = None
    ) -> Response:
        self._flow.write_down(denial, At(self._threshold.source_of(request)), identity)
        status = 403 if denial.reason is Reason.CREDENTIAL_WRONG else status_of(denial.reason)
        return self.said("Not let in", denial.message, status)

    def said(self, title: str, message: str, status: int) -> Response:
        return HTMLResponse(markup.said(self._place, title, message), status)

    # In and out.

    @property
    def _home_path(self) -> str:
        return f"{self._place.path}/"

    async def _sign_in_form(self, request: Request) -> Response:
        wanted = safe_path(request.query_params.get("next", ""), self._home_path)
        return HTMLResponse(markup.sign_in(self._place, wanted))

    async def _sign_in(self, request: Request) -> Response:
        fields = await self._posted(request)
        if isinstance(fields, Response):
            return fields
        name = fields.get("name", "").strip()
        wanted = safe_path(fields.get("next", ""), self._home_path)
        source = self._threshold.source_of(request)
        found = await self._flow.authenticator.authenticate(
            PasswordCredential(name, fields.get("secret", "").strip("\r\n")), source
        )
        if isinstance(found, Denial):
            self._flow.write_down(found, At(source))
            status = 403 if found.reason is Reason.CREDENTIAL_WRONG else status_of(found.reason)
            page = markup.sign_in(self._place, wanted, found.message, name)
            return HTMLResponse(page, status)
        return await self._let_in(request, found, wanted)

    async def _link(self, request: Request) -> Response:
        return HTMLResponse(markup.link(self._place))

    async def _sign_in_by_link(self, request: Request) -> Response:
        fields = await self._posted(request)
        if isinstance(fields, Response):
            return fields
        found = await self._passes.use_up(PassKind.LINK, fields.get("secret", ""))
        if isinstance(found, Denial):
            return self.denied(request, found)
        identity, _ = found
        return await self._let_in(
            request, identity, safe_path(fields.get("next", ""), self._home_path)
        )

    async def _let_in(self, request: Request, identity: Identity, wanted: str) -> Response:
        before = shown_cookie(request)
        ended = None if before is None else await self._passes.sign_out(before)
        secret = ended or await self._passes.issue(PassKind.SESSION, identity)
        if isinstance(secret, Denial):
            return self.denied(request, secret, identity)
        response = RedirectResponse(wanted, _SEE_OTHER)
        set_cookie(response, secret, self._threshold, request)
        return response

    async def _sign_out(self, request: Request) -> Response:
        fields = await self._posted(request)
        if isinstance(fields, Response):
            return fields
        secret = shown_cookie(request)
        denial = None if secret is None else await self._passes.sign_out(secret)
        if denial is not None:
            return self.said("Not signed out", denial.message, status_of(denial.reason))
        response = RedirectResponse(f"{self._place.path}/sign-in", _SEE_OTHER)
        drop_cookies(response, self._threshold, request)
        return response

    # Home.

    async def _home(self, request: Request) -> Response:
        target = self._threshold.app_of(request)
        if target is not None:
            return await self._terminal_of(request, target)
        identity = await self.signed_in(request)
        if isinstance(identity, Response):
            return identity
        return await self._home_of(identity)

    async def _home_of(self, identity: Identity) -> Response:
        apps = []
        for target in self._flow.shells.targets():
            if isinstance(self._flow.authoriser.authorise(identity, target), Grant):
                state = await self._flow.shells.observe(target)
                apps.append(
                    App(
                        target.login_name,
                        target.host_name,
                        state.value,
                        f"{self._place.path}/app/{quote(target.login_name)}",
                        self._desk.ssh_line(identity, target),
                    )
                )
        past = await self._desk.sessions(identity)
        keys = await self._desk.keys(identity)
        live = await self._live(identity)
        for found in (past, keys, live):
            if isinstance(found, Denial):
                return self.said("Not now", found.message, status_of(found.reason))
        assert not isinstance(live, Denial)
        assert not isinstance(past, Denial)
        assert not isinstance(keys, Denial)
        return HTMLResponse(
            markup.home(
                self._place,
                identity.name,
                apps,
                past,
                keys,
                may_change_keys=_whole(identity),
                shows_recordings=self._shows_recordings(identity),
                live=live,
            )
        )

    async def _add_key(self, request: Request) -> Response:
        return await self._change_key(request, "line")

    async def _remove_key(self, request: Request) -> Response:
        return await self._change_key(request, "fingerprint")

    async def _change_key(self, request: Request, field: str) -> Response:
        fields = await self._posted(request)
        if isinstance(fields, Response):
            return fields
        identity = await self.signed_in(request)
        if isinstance(identity, Response):
            return identity
        if not _whole(identity):
            # A key would outlive the token, and know nothing of its scopes.
            denial = Denial(
                Reason.NO_GRANT,
                "only who has signed in with a password, or a link for all apps, may change keys",
            )
            return self.denied(request, denial, identity)
        change = self._desk.add_key if field == "line" else self._desk.remove_key
        denied = await change(identity, fields.get(field, "").strip())
        if denied is not None:
            return self.said("Nothing was changed", denied.message, status_of(denied.reason))
        return RedirectResponse(f"{self._place.path}/#keys", _SEE_OTHER)

    # The terminal's page.

    async def _terminal(self, request: Request) -> Response:
        target = parse_login(request.path_params["app"])
        if target is None:
            return self.said("Not found", "There is no app of that name.", 404)
        return await self._terminal_of(request, target)

    async def _terminal_of(self, request: Request, target: Target) -> Response:
        identity = await self.signed_in(request)
        if isinstance(identity, Response):
            return identity
        grant = self._flow.authoriser.authorise(identity, target)
        if isinstance(grant, Denial):
            self._flow.write_down(grant, At(self._threshold.source_of(request)), identity, target)
            return self.said("Not let in", grant.message, status_of(grant.reason))
        if "terminal.js" not in self._assets:
            return self.said("Not built", _NOT_BUILT, 503)
        nonce = secrets.token_urlsafe(16)
        page = markup.terminal(
            self._place, target.login_name, nonce, moves_files=self._moves_files(grant)
        )
        return HTMLResponse(page, headers={"content-security-policy": headers.of_terminal(nonce)})

    def guest_page(self, session: str) -> Response:
        """A terminal's page for a guest: `session` is what he watches, empty for who has a share.

        It names no app: that is told to whoever gets a ticket.
        """
        if "terminal.js" not in self._assets:
            return self.said("Not built", _NOT_BUILT, 503)
        nonce = secrets.token_urlsafe(16)
        page = markup.terminal(self._place, "", nonce, guest=session or "share")
        return HTMLResponse(page, headers={"content-security-policy": headers.of_terminal(nonce)})

    async def _manifest(self, request: Request) -> Response:
        """So that the page can be an app of its own, whose window leaves Ctrl-W to the terminal."""
        app = parse_login(request.query_params.get("app", ""))
        target = app or self._threshold.app_of(request)
        start = (
            self._home_path if app is None else f"{self._place.path}/app/{quote(app.login_name)}"
        )
        name = f"{target.login_name} · Stagedoor" if target is not None else "Stagedoor"
        manifest = {
            "name": name,
            "short_name": name,
            "id": start,
            "start_url": start,
            "scope": self._home_path,
            "display": "standalone",
            "background_color": "#101418",
            "theme_color": "#101418",
            "icons": [
                {
                    "src": self._place.path + self._assets.path("icon.svg"),
                    "sizes": "any",
                    "type": "image/svg+xml",
                }
            ],
        }
        return Response(json.dumps(manifest), media_type="application/manifest+json")


def _whole(identity: Identity) -> bool:
    return identity.method is Method.PASSWORD and identity.scopes is None
