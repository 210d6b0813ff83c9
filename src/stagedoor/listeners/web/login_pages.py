"""The pages to approve a machine's login and to install the client.

An approval without letters gives the code only to a client on the browser's own machine.
"""

import hashlib
import shlex
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.login_api import LoginParts
from stagedoor.listeners.web.pages.base import SEE_OTHER, Pages
from stagedoor.listeners.web.pages.user_routes import UserRoutes
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.letters import LETTERS_COUNT
from stagedoor.model.pending_login import LoginState, PendingLogin
from stagedoor.model.source import find_source_network
from stagedoor.wire.http.answer import choose_status

DENIED = "This login was denied. If you did not start it, tell your administrators."


def render_install_lines(url: str, digest: str) -> tuple[str, str]:
    """Return the lines that install and run the client: `url` is the gateway's, `digest` the file's SHA-256.

    An installed client is replaced only when the new one is complete and checked, since ssh may run it
    meanwhile. The lines mean the same in sh, bash, zsh and fish; zsh takes the brackets of an IPv6 address
    for a pattern unless they are quoted.
    """
    file = shlex.quote(f"{url}/client/stagedoor")
    get = (
        f"mkdir -p ~/.local/bin && cd ~/.local/bin && curl -fsSo stagedoor.new {file} && "
        f"echo '{digest}  stagedoor.new' | sha256sum -c && "
        "chmod +x stagedoor.new && mv -f stagedoor.new stagedoor"
    )
    return get, f"~/.local/bin/stagedoor login {shlex.quote(url)}"


class LoginPages:
    """The routes of these pages. Belongs to one event loop."""

    def __init__(self, guard: RequestGuard, pages: Pages, parts: LoginParts) -> None:
        self._guard = guard
        self._pages = pages
        self._approval = parts.approval
        self._client = parts.client
        self._digest = hashlib.sha256(parts.client).hexdigest()
        routes = UserRoutes(pages, pages.identify)
        self.routes: list[BaseRoute] = [
            routes.get("/login/{id}", self._render_page),
            routes.post("/login/{id}/approve", self._approve),
            routes.post("/login/{id}/deny", self._deny),
            Route("/client", self._install, methods=["GET"]),
            Route("/client/stagedoor", self._send_client, methods=["GET"]),
        ]

    async def _install(self, request: Request) -> Response:
        """Return the page to install the client. It needs no sign-in, since the client is not secret."""
        lines = render_install_lines(self._guard.derive_base_url(request), self._digest)
        page = self._pages.place.page("client.html", lines=lines, digest=self._digest)
        return HTMLResponse(page)

    async def _send_client(self, _: Request) -> Response:
        headers = {"Content-Disposition": 'attachment; filename="stagedoor"'}
        return Response(self._client, media_type="application/octet-stream", headers=headers)

    async def _render_page(
        self, request: Request, identity: Identity, wrong: str = ""
    ) -> Response | Denial:
        """Return the login of a machine with the ways to allow and deny it, or its outcome."""
        login = await self._approval.find(identity, request.path_params["id"])
        if isinstance(login, Denial):
            return login
        if login.state is LoginState.DENIED:
            page = self._render_outcome("Not logged in", DENIED)
        elif login.state is LoginState.SPENT:
            said = (
                f"{login.label} is logged in as {identity.name}. You can close this page and continue in "
                "the terminal."
            )
            page = self._render_outcome("Logged in", said)
        elif login.state is LoginState.APPROVED and login.code_hash is None:
            said = (
                f"You have allowed {login.label} to log in as {identity.name}. You can close this page and "
                "continue in the terminal."
            )
            page = self._render_outcome("Login approved", said)
        else:
            source = self._guard.find_source(request)
            page = self._pages.place.page(
                "login.html",
                user=identity.name,
                login=login,
                gateway=self._guard.derive_base_url(request),
                wrong=wrong,
                same_network=login.source == find_source_network(source.address),
                letters_count=LETTERS_COUNT,
                path=self._path(login),
            )
        return HTMLResponse(page, 403 if wrong else 200)

    def _render_outcome(self, heading: str, said: str) -> str:
        return self._pages.place.page("login_decided.html", heading=heading, said=said)

    def _path(self, login: PendingLogin) -> str:
        return f"{self._pages.place.path}/login/{login.id}"

    async def _approve(
        self, request: Request, identity: Identity, fields: dict[str, str]
    ) -> Response | Denial:
        gateway = self._guard.derive_base_url(request)
        result = await self._approval.approve(
            identity, request.path_params["id"], fields.get("letters"), gateway
        )
        if isinstance(result, Denial):
            if result.reason is not Reason.CREDENTIAL_WRONG:
                return result
            # Audit the wrong letters, and show the form again if the login still waits.
            refused = self._pages.render_refusal(request, result, identity)
            again = await self._render_page(request, identity, result.line)
            return refused if isinstance(again, Denial) else again
        login, code = result
        if code is None:
            return RedirectResponse(self._path(login), SEE_OTHER)
        # A page instead of a redirect, as in `single_sign_on`. The literal address instead of `localhost`,
        # which may be resolved elsewhere (RFC 8252 §8.3). `iss` (RFC 9207) keeps the client of another
        # gateway, which began this login for a user of its own, from handing that gateway the code.
        url = f"http://127.0.0.1:{login.port}/?{urlencode({'code': code, 'iss': gateway})}"
        page = self._pages.place.page("login_onward.html", url=url, path=self._path(login))
        return HTMLResponse(page)

    async def _deny(self, request: Request, identity: Identity, _: dict[str, str]) -> Response:
        denial = await self._approval.deny(identity, request.path_params["id"])
        if denial is not None:
            return self._pages.answer_message(
                "Nothing was changed", denial.line, choose_status(denial.reason)
            )
        return self._pages.answer_message("Not logged in", DENIED, 200)
