"""The API of passkeys for the pages' scripts: JSON in, JSON out.

Each request is a POST from one of our own pages, since a cookie alone must not serve the page of another
site.
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.errors import refusal
from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.passkeys.relying_party import find_relying_party
from stagedoor.listeners.web.sign_in.cookies import (
    parse_object,
    read_body,
    read_cookie,
    set_cookie,
    start_session,
)
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.passkey import RelyingParty
from stagedoor.signin.passes import PassService
from stagedoor.signin.passkey_checks import PasskeyChecks
from stagedoor.signin.passkeys import PasskeyRegistry
from stagedoor.signin.step_up import StepUpService

MAX_BYTES = 16 * 1024
"""The bound on a request. An answer with an attestation, which we do not request, takes about 4 KiB."""
_MAX_CHARS = 4096
_FRESH = {"Cache-Control": "no-store"}

Fields = Mapping[str, object]
_Act = Callable[[Request, Identity, RelyingParty, Fields], Awaitable[Fields | Denial]]


class PasskeyApi:
    """The routes of passkeys. Belongs to one event loop."""

    def __init__(
        self,
        guard: RequestGuard,
        passes: PassService,
        passkeys: PasskeyRegistry,
        proofs: PasskeyChecks,
        step_ups: StepUpService,
    ) -> None:
        self._guard = guard
        self._passes = passes
        self._passkeys = passkeys
        self._proofs = proofs
        self._step_ups = step_ups
        self.routes: list[BaseRoute] = [
            self._post("passkey/add", self._begin_registration),
            self._post("passkey/added", self._finish_registration),
            self._post("step-up", self._begin_step_up),
            self._post("step-up/proved", self._finish_step_up),
            Route("/api/sign-in/passkey", self._begin_sign_in, methods=["POST"]),
            Route("/api/sign-in/passkey/proved", self._finish_sign_in, methods=["POST"]),
        ]

    def _post(self, path: str, act: _Act) -> Route:
        async def answer(request: Request) -> Response:
            source = self._guard.source_of(request)
            identity = await self._identity(request)
            if isinstance(identity, Denial):
                return refusal(self._guard.flow.deny(identity, web(source)))
            call = await self._read_call(request)
            result = call if isinstance(call, Denial) else await act(request, identity, *call)
            if isinstance(result, Denial):
                return refusal(self._guard.flow.deny(result, web(source), identity))
            return _json(result)

        return Route(f"/api/{path}", answer, methods=["POST"])

    async def _identity(self, request: Request) -> Identity | Denial:
        """Return the identity of the browser's session."""
        denial = self._guard.check_source(self._guard.source_of(request))
        denial = denial or self._guard.check_own_page(request)
        if denial is not None:
            return denial
        secret = read_cookie(self._guard, request)
        if isinstance(secret, Denial):
            return secret
        if secret is None:
            return Denial(Reason.CREDENTIAL_MISSING, "you are not signed in in this browser")
        identity = await self._passes.check_session(secret)
        return self._guard.accept_proof(request, identity)

    # Signing in by a passkey, without a session.

    async def _begin_sign_in(self, request: Request) -> Response:
        call = await self._read_call(request)
        if isinstance(call, Denial):
            return self._refused(request, call)
        begun = await self._proofs.begin_sign_in(call[0], self._guard.source_of(request))
        return self._refused(request, begun) if isinstance(begun, Denial) else _json(begun)

    async def _finish_sign_in(self, request: Request) -> Response:
        call = await self._read_call(request)
        before = read_cookie(self._guard, request)
        for denial in (call, before):
            if isinstance(denial, Denial):
                return self._refused(request, denial)
        assert not isinstance(call, Denial), "it was refused"
        assert not isinstance(before, Denial), "it was refused"
        rp, fields = call
        source = self._guard.source_of(request)
        identity = await self._proofs.finish_sign_in(rp, _answer(fields), source)
        if isinstance(identity, Denial):
            return self._refused(request, identity)
        secret = await start_session(self._passes, self._guard, request, identity, before)
        if isinstance(secret, Denial):
            return self._refused(request, secret)
        response = _json({"name": identity.name})
        set_cookie(response, secret, self._guard, request)
        return response

    async def _read_call(self, request: Request) -> tuple[RelyingParty, Fields] | Denial:
        """Return the relying party and the fields of a request from one of our pages, by any user."""
        denial = self._guard.check_source(self._guard.source_of(request))
        denial = denial or self._guard.check_own_page(request)
        if denial is not None:
            return denial
        body = await read_body(request, MAX_BYTES)
        fields = body if isinstance(body, Denial) else parse_object(body)
        rp = find_relying_party(self._guard, request)
        if isinstance(fields, Denial):
            return fields
        return rp if isinstance(rp, Denial) else (rp, fields)

    def _refused(self, request: Request, denial: Denial) -> Response:
        self._guard.flow.deny(denial, web(self._guard.source_of(request)))
        return refusal(denial)

    # Registration and step-up, with a session.

    async def _begin_registration(
        self, request: Request, identity: Identity, rp: RelyingParty, fields: Fields
    ) -> Fields | Denial:
        password = _text(fields, "password")
        if password:
            source = self._guard.source_of(request)
            denial = await self._guard.check_password(identity, password, source)
            if denial is not None:
                return denial
        return await self._passkeys.begin_registration(identity, rp, proved=bool(password))

    async def _finish_registration(
        self, request: Request, identity: Identity, rp: RelyingParty, fields: Fields
    ) -> Fields | Denial:
        passkey = await self._passkeys.finish_registration(
            identity, rp, _text(fields, "name"), _answer(fields)
        )
        return passkey if isinstance(passkey, Denial) else {"added": passkey.id}

    async def _begin_step_up(
        self, request: Request, identity: Identity, rp: RelyingParty, fields: Fields
    ) -> Fields | Denial:
        """Begin a step-up for this browser, or with `id` and its letters for a terminal that waits."""
        id_ = _text(fields, "id")
        if not id_:
            return await self._proofs.begin_step_up(identity, rp)
        waiting = await self._step_ups.check(identity, id_, _text(fields, "letters"))
        if isinstance(waiting, Denial):
            return waiting
        return await self._proofs.begin_step_up(identity, rp, waiting)

    async def _finish_step_up(
        self, request: Request, identity: Identity, rp: RelyingParty, fields: Fields
    ) -> Fields | Denial:
        policy = self._guard.flow.policy
        version = policy.version
        denial = await self._proofs.finish_step_up(identity, rp, _answer(fields))
        if denial is None:
            await policy.read_newer_than(version)  # so that the next page knows of the proof
        return denial or {"proved": True}


def _json(fields: Fields) -> JSONResponse:
    return JSONResponse(dict(fields), headers=_FRESH)


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) and len(value) <= _MAX_CHARS else ""


def _answer(fields: Fields) -> Fields:
    """Return the answer of the browser's authenticator."""
    answer = fields.get("answer")
    return answer if isinstance(answer, dict) else {}
