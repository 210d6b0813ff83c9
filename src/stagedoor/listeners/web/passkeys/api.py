"""What the page's script asks about passkeys: JSON in, JSON out.

A POST of our own page by a browser that has signed in, as everywhere: the cookie alone does nothing for a
page of somebody else's.
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.admin.sign_in.passkey_service import PasskeyService
from stagedoor.admin.sign_in.step_up_service import StepUpService
from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.passkeys.relying_party import relying_party
from stagedoor.listeners.web.ports import Passes
from stagedoor.listeners.web.sign_in.cookies import body_of, object_in, shown_cookie
from stagedoor.model.credential import PasswordCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.passkey import RelyingParty
from stagedoor.model.webpass import PassKind

MAX_BYTES = 16 * 1024
"""An answer with an attestation that nobody asked for has some 4 KiB."""
_MAX_CHARS = 4096
_FRESH = {"Cache-Control": "no-store"}

Fields = Mapping[str, object]
_Act = Callable[[Request, Identity, RelyingParty, Fields], Awaitable[Fields | Denial]]


class PasskeyApi:
    """Belongs to one event loop."""

    def __init__(
        self,
        guard: RequestGuard,
        passes: Passes,
        passkeys: PasskeyService,
        step_ups: StepUpService,
        refusal: Callable[[Denial], Response],
    ) -> None:
        self._guard = guard
        self._passes = passes
        self._passkeys = passkeys
        self._step_ups = step_ups
        self._refusal = refusal
        self.routes: list[BaseRoute] = [
            self._post("passkey/add", self._begin_registration),
            self._post("passkey/added", self._finish_registration),
            self._post("step-up", self._begin_step_up),
            self._post("step-up/proved", self._finish_step_up),
        ]

    def _post(self, path: str, act: _Act) -> Route:
        async def answer(request: Request) -> Response:
            source = self._guard.source_of(request)
            identity = await self._identity(request)
            if isinstance(identity, Denial):
                return self._refusal(self._guard.flow.deny(identity, web(source)))
            found = await self._answered(request, identity, act)
            if isinstance(found, Denial):
                return self._refusal(self._guard.flow.deny(found, web(source), identity))
            return JSONResponse(dict(found), headers=_FRESH)

        return Route(f"/api/{path}", answer, methods=["POST"])

    async def _identity(self, request: Request) -> Identity | Denial:
        """Who is signed in in the browser that asks."""
        denial = self._guard.barred(self._guard.source_of(request))
        denial = denial or self._guard.not_ours(request)
        if denial is not None:
            return denial
        secret = shown_cookie(self._guard, request)
        if isinstance(secret, Denial):
            return secret
        if secret is None:
            return Denial(Reason.CREDENTIAL_MISSING, "you are not signed in in this browser")
        shown = await self._passes.show(PassKind.SESSION, secret)
        return self._guard.proved(request, shown)

    async def _answered(self, request: Request, identity: Identity, act: _Act) -> Fields | Denial:
        body = await body_of(request, MAX_BYTES)
        fields = body if isinstance(body, Denial) else object_in(body)
        rp = relying_party(self._guard, request)
        for wrong in (fields, rp):
            if isinstance(wrong, Denial):
                return wrong
        assert not isinstance(fields, Denial), "it was returned"
        assert not isinstance(rp, Denial), "it was returned"
        return await act(request, identity, rp, fields)

    async def _begin_registration(
        self, request: Request, identity: Identity, rp: RelyingParty, fields: Fields
    ) -> Fields | Denial:
        password = _text(fields, "password")
        if password:
            source = self._guard.source_of(request)
            shown = PasswordCredential(identity.name, password)
            proved = await self._guard.flow.authenticate(shown, source)
            if isinstance(proved, Denial):
                return proved
            if proved.method is not Method.PASSWORD:
                return Denial(Reason.BAD_REQUEST, "type your password, not a token")
        return await self._passkeys.begin_registration(identity, rp, proved=bool(password))

    async def _finish_registration(
        self, request: Request, identity: Identity, rp: RelyingParty, fields: Fields
    ) -> Fields | Denial:
        made = await self._passkeys.finish_registration(
            identity, rp, _text(fields, "name"), _answer(fields)
        )
        return made if isinstance(made, Denial) else {"added": made.id}

    async def _begin_step_up(
        self, request: Request, identity: Identity, rp: RelyingParty, fields: Fields
    ) -> Fields | Denial:
        """For this browser; with an `id`, for the terminal that waits, whose letters have to be right."""
        id_ = _text(fields, "id")
        if not id_:
            return await self._passkeys.begin_step_up(identity, rp)
        waiting = await self._step_ups.check(identity, id_, _text(fields, "letters"))
        if isinstance(waiting, Denial):
            return waiting
        return await self._passkeys.begin_step_up(identity, rp, waiting)

    async def _finish_step_up(
        self, request: Request, identity: Identity, rp: RelyingParty, fields: Fields
    ) -> Fields | Denial:
        denial = await self._passkeys.finish_step_up(identity, rp, _answer(fields))
        return denial or {"proved": True}


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) and len(value) <= _MAX_CHARS else ""


def _answer(fields: Fields) -> Fields:
    """What the browser's authenticator said."""
    found = fields.get("answer")
    return found if isinstance(found, dict) else {}
