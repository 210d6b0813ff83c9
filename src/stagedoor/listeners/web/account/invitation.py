"""`/invitation`, where a new user sets a first password by an administrator's link, and is signed in."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.account import markup
from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.pages.base import Pages, page_status
from stagedoor.model.denial import Denial, Reason
from stagedoor.signin.credentials import CredentialService


class InvitationPages:
    """The routes of invitations. Belongs to one event loop."""

    def __init__(self, guard: RequestGuard, pages: Pages, credentials: CredentialService) -> None:
        self._guard = guard
        self._pages = pages
        self._credentials = credentials
        self.routes: list[BaseRoute] = [
            Route("/invitation", self._show, methods=["GET"]),
            Route("/invitation", self._accept, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        return HTMLResponse(markup.invitation(self._pages.place))

    async def _accept(self, request: Request) -> Response:
        fields = await self._pages.read_form(request)
        if isinstance(fields, Response):
            return fields
        new = fields.get("new", "")
        if new != fields.get("again", ""):
            return self._show_again(
                Denial(Reason.BAD_REQUEST, "the password was typed in two ways")
            )
        identity = await self._credentials.accept_invitation(fields.get("secret", ""), new)
        if not isinstance(identity, Denial):
            return await self._pages.begin_session(request, identity, f"{self._pages.place.path}/")
        if identity.reason is not Reason.CREDENTIAL_WRONG:
            return self._show_again(identity)
        denial = self._guard.flow.deny(identity, web(self._guard.source_of(request)))
        return self._pages.message("Not let in", denial.line, page_status(denial))

    def _show_again(self, denial: Denial) -> Response:
        """Return the form with an error. The tab still has the secret, which no page repeats."""
        page = markup.invitation(self._pages.place, denial.line)
        return HTMLResponse(page, page_status(denial))
