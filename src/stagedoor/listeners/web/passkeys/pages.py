"""`/step-up`: a user's proof of presence, for this browser or for a waiting terminal."""

from functools import partial

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute

from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.pages.base import SEE_OTHER, Pages, choose_page_status
from stagedoor.listeners.web.pages.fields import restrict_path
from stagedoor.listeners.web.pages.user_routes import UserRoutes
from stagedoor.listeners.web.sign_in.single_sign_on import SingleSignOnRoutes
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.letters import LETTERS_COUNT
from stagedoor.model.pending_step_up import PendingStepUp
from stagedoor.model.source import find_source_network
from stagedoor.signin.passkeys import PasskeyRegistry
from stagedoor.signin.provider_sign_in import ProviderSignIns
from stagedoor.signin.step_up import StepUpService

_NO_PERSON = Denial(
    Reason.NO_GRANT,
    "a token, or a link for one app, cannot confirm your identity; sign in as yourself",
)

_NO_PASSWORD = Denial(
    Reason.NO_GRANT,
    "your password is no proof here: use a passkey, or your identity provider",
)


class StepUpPages:
    """The routes of step-ups. Belongs to one event loop."""

    def __init__(
        self,
        guard: RequestGuard,
        pages: Pages,
        passkeys: PasskeyRegistry,
        step_ups: StepUpService,
        sign_ins: ProviderSignIns,
        single_sign_on: SingleSignOnRoutes,
    ) -> None:
        self._guard = guard
        self._pages = pages
        self._passkeys = passkeys
        self._step_ups = step_ups
        self._sign_ins = sign_ins
        self._single_sign_on = single_sign_on
        self._path = f"{pages.place.path}/step-up"
        routes = UserRoutes(pages, partial(pages.identify_person, refusal=_NO_PERSON))
        self.routes: list[BaseRoute] = [
            routes.get("/step-up", self._show),
            routes.post("/step-up/sso", self._ask_provider),
            routes.post("/step-up/password", self._prove_by_password),
            routes.get("/step-up/{id}", self._show_waiting),
        ]

    async def _show(self, request: Request, identity: Identity) -> Response:
        wanted = restrict_path(request.query_params.get("next", ""), self._pages.home_path)
        return await self._show_form(request, identity, wanted)

    async def _show_form(
        self, request: Request, identity: Identity, wanted: str, refusal: Denial | None = None
    ) -> Response:
        """Return the form of a proof for this browser, also by password where that suffices."""
        takes_password = await self._may_use_password(identity, wanted)
        return self._render_page(
            request, identity, wanted, takes_password=takes_password, refusal=refusal
        )

    async def _may_use_password(self, identity: Identity, wanted: str) -> bool:
        is_for_administration = wanted.startswith(f"{self._pages.place.path}/admin/")
        return is_for_administration and await self._step_ups.may_use_password(identity)

    async def _prove_by_password(
        self, request: Request, identity: Identity, fields: dict[str, str]
    ) -> Response | Denial:
        """Accept the password as the proof for a change on administrators' pages."""
        wanted = restrict_path(fields.get("next", ""), self._pages.home_path)
        if not await self._may_use_password(identity, wanted):
            return _NO_PASSWORD
        password = fields.get("secret", "").strip("\r\n")
        proved = await self._guard.check_password(request, identity, password)
        if isinstance(proved, Denial):
            denial: Denial | None = proved
        else:
            denial = await self._guard.apply_change(self._step_ups.accept_password(identity))
        if denial is not None:
            self._guard.record_denial(request, denial, identity)
            return await self._show_form(request, identity, wanted, denial)
        return RedirectResponse(wanted, SEE_OTHER)

    async def _show_waiting(self, request: Request, identity: Identity) -> Response | Denial:
        waiting = await self._step_ups.find(identity, request.path_params["id"])
        if isinstance(waiting, Denial):
            return waiting
        if self._step_ups.is_done(waiting):
            line = (
                f"{waiting.label} may open {waiting.target} now. You can close this page and continue "
                "there."
            )
            return self._pages.answer_message("Identity confirmed", line, 200)
        return self._render_page(request, identity, f"{self._path}/{waiting.id}", waiting)

    async def _ask_provider(
        self, request: Request, identity: Identity, fields: dict[str, str]
    ) -> Response | Denial:
        """Send the browser to the identity provider for the proof."""
        wanted = restrict_path(fields.get("next", ""), self._pages.home_path)
        waiting = None
        if id_ := fields.get("id", ""):
            checked = await self._step_ups.check(identity, id_, fields.get("letters", ""))
            if isinstance(checked, Denial):
                return checked
            waiting = checked
            wanted = f"{self._path}/{waiting.id}"
        # A full URL: the provider sends the browser back to one host, and the app may have another.
        wanted = self._guard.find_own_origin(request) + wanted
        source = self._guard.find_source(request)
        begun = await self._sign_ins.begin_step_up(identity, wanted, source, waiting)
        if isinstance(begun, Denial):
            return begun
        return self._single_sign_on.redirect_to_provider(request, begun)

    def _render_page(
        self,
        request: Request,
        identity: Identity,
        wanted: str,
        waiting: PendingStepUp | None = None,
        *,
        takes_password: bool = False,
        refusal: Denial | None = None,
    ) -> Response:
        same = waiting is None or waiting.source == find_source_network(
            self._guard.find_source(request).address
        )
        page = self._pages.place.page(
            "step_up.html",
            identity=identity,
            wanted=wanted,
            waiting=waiting,
            same_network=same,
            letters_count=LETTERS_COUNT,
            provider=identity.credential_id
            if self._sign_ins.can_prove_presence(identity)
            else None,
            proved=waiting is None and self._passkeys.has_fresh_proof(identity),
            takes_password=takes_password,
            refusal="" if refusal is None else refusal.line,
        )
        return HTMLResponse(page, 200 if refusal is None else choose_page_status(refusal))
