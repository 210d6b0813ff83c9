"""The page where a person lets a machine log in. Without the letters, only the same machine gets anything."""

import hashlib
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.login import markup
from stagedoor.listeners.web.login.parts import LoginParts
from stagedoor.listeners.web.pages.base import SEE_OTHER, Pages
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.source import source_network
from stagedoor.wire.answer import status_of


class LoginPages:
    """Belongs to one event loop."""

    def __init__(self, guard: RequestGuard, pages: Pages, parts: LoginParts) -> None:
        self._guard = guard
        self._pages = pages
        self._approval = parts.approval
        self._client = parts.client
        self._digest = hashlib.sha256(parts.client).hexdigest()
        self.routes: list[BaseRoute] = [
            Route("/login/{id}", self._show, methods=["GET"]),
            Route("/login/{id}/approve", self._approve, methods=["POST"]),
            Route("/login/{id}/deny", self._deny, methods=["POST"]),
            Route("/client", self._install, methods=["GET"]),
            Route("/client/stagedoor", self._file, methods=["GET"]),
        ]

    async def _install(self, request: Request) -> Response:
        """For everybody: the client is no secret, and who installs it has not signed in yet."""
        url = self._guard.address(request)
        return HTMLResponse(markup.install(self._pages.place, url, self._digest))

    async def _file(self, _: Request) -> Response:
        headers = {"Content-Disposition": 'attachment; filename="stagedoor"'}
        return Response(self._client, media_type="application/octet-stream", headers=headers)

    async def _show(self, request: Request) -> Response:
        identity = await self._pages.signed_in(request)
        if isinstance(identity, Response):
            return identity
        return await self._page(request, identity)

    async def _page(self, request: Request, identity: Identity, wrong: str = "") -> Response:
        login = await self._approval.find(identity, request.path_params["id"])
        if isinstance(login, Denial):
            return self._pages.denied(request, login, identity)
        same = login.source == source_network(self._guard.source_of(request).address)
        page = markup.approve(
            self._pages.place,
            identity.name,
            login,
            self._guard.address(request),
            wrong,
            same_network=same,
        )
        return HTMLResponse(page, 403 if wrong else 200)

    async def _approve(self, request: Request) -> Response:
        fields = await self._pages.posted(request)
        if isinstance(fields, Response):
            return fields
        identity = await self._pages.signed_in(request)
        if isinstance(identity, Response):
            return identity
        gateway = self._guard.address(request)
        done = await self._approval.approve(
            identity, request.path_params["id"], fields.get("letters"), gateway
        )
        if isinstance(done, Denial):
            if done.reason is Reason.CREDENTIAL_WRONG:
                return await self._wrong(request, identity, done)
            return self._pages.denied(request, done, identity)
        login, code = done
        if code is None:
            return RedirectResponse(f"{self._pages.place.path}/login/{login.id}", SEE_OTHER)
        # A page, and no redirect, for the reason of `single_sign_on`. The literal address and not
        # `localhost`, which may be looked up (RFC 8252 §8.3). `iss` is of RFC 9207: the client of another
        # gateway, which began this login for its visitor, does not hand that gateway the code.
        url = f"http://127.0.0.1:{login.port}/?{urlencode({'code': code, 'iss': gateway})}"
        return HTMLResponse(markup.onward(self._pages.place, url, login))

    async def _wrong(self, request: Request, identity: Identity, denial: Denial) -> Response:
        """Wrong letters: written down, and the form again."""
        refused = self._pages.denied(request, denial, identity)
        shown = await self._approval.find(identity, request.path_params["id"])
        if isinstance(shown, Denial):
            return refused
        return await self._page(request, identity, denial.line)

    async def _deny(self, request: Request) -> Response:
        fields = await self._pages.posted(request)
        if isinstance(fields, Response):
            return fields
        identity = await self._pages.signed_in(request)
        if isinstance(identity, Response):
            return identity
        denial = await self._approval.deny(identity, request.path_params["id"])
        if denial is not None:
            return self._pages.said("Nothing was changed", denial.line, status_of(denial.reason))
        return self._pages.said("Not logged in", markup.DENIED, 200)
