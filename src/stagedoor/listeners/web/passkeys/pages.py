"""`/step-up`: where somebody proves that they are there."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.admin.sign_in.passkey_service import PasskeyService
from stagedoor.listeners.web.pages.base import Pages
from stagedoor.listeners.web.ports import SignIns
from stagedoor.listeners.web.sign_in.cookies import safe_path
from stagedoor.model.denial import Denial, Reason


class StepUpPages:
    """Belongs to one event loop."""

    def __init__(self, pages: Pages, passkeys: PasskeyService, sign_ins: SignIns) -> None:
        self._pages = pages
        self._sign_ins = sign_ins
        self._passkeys = passkeys
        self.routes: list[BaseRoute] = [Route("/step-up", self._show, methods=["GET"])]

    async def _show(self, request: Request) -> Response:
        identity = await self._pages.signed_in(request)
        if isinstance(identity, Response):
            return identity
        if not identity.is_person:
            denial = Denial(
                Reason.NO_GRANT,
                "a token, or a link for one app, cannot prove that a person is there; sign in as yourself",
            )
            return self._pages.denied(request, denial, identity)
        place = self._pages.place
        wanted = safe_path(request.query_params.get("next", ""), f"{place.path}/")
        return HTMLResponse(
            place.page(
                "step_up.html",
                identity=identity,
                wanted=wanted,
                provider=identity.credential_id if self._sign_ins.proves(identity) else None,
                proved=self._passkeys.proved_lately(identity),
            )
        )
