"""The API of passkeys for the pages' scripts: JSON in, JSON out.

Each request is a POST from one of our own pages, since a cookie alone must not authorise pages of other
sites.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.errors import answer_refusal
from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.post import Answer, Fields, make_script_route, read_string
from stagedoor.listeners.web.sign_in.cookies import (
    identify_browser,
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
from stagedoor.wire.http.fields import is_address_host

MAX_BYTES = 16 * 1024
"""The most bytes of a request. Even an answer with an attestation, which we do not request, has about 4
KiB."""
_Act = Callable[[Request, Identity, RelyingParty, Fields], Awaitable[Fields | Denial]]
_BY_ADDRESS = Denial(
    Reason.BAD_REQUEST,
    "browsers accept passkeys for names only, and this page was opened by an address: open it by the "
    "gateway's "
    "name, over https (on this machine, http://localhost does too)",
)
_IN_PLAIN = Denial.with_fix(
    Reason.BAD_REQUEST,
    "browsers accept passkeys over https only",
    "a reverse proxy has to send X-Forwarded-Proto from an address in web.forwarded_from",
    "open this page by https://",
)


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
            self._make_route("passkey/add", self._begin_registration),
            self._make_route("passkey/added", self._finish_registration),
            self._make_route("step-up", self._begin_step_up),
            self._make_route("step-up/proved", self._finish_step_up),
            make_script_route(guard, "/api/sign-in/passkey", self._begin_sign_in, MAX_BYTES),
            make_script_route(
                guard, "/api/sign-in/passkey/proved", self._finish_sign_in, MAX_BYTES
            ),
        ]

    def _make_route(self, path: str, act: _Act) -> Route:
        """Return a route for the browser's user."""

        async def answer(request: Request, fields: Fields) -> Answer:
            identity = await identify_browser(self._guard, self._passes, request)
            if isinstance(identity, Denial):
                return identity
            rp = find_relying_party(self._guard, request)
            result = rp if isinstance(rp, Denial) else await act(request, identity, rp, fields)
            if isinstance(result, Denial):
                return answer_refusal(self._guard.record_denial(request, result, identity))
            return result

        return make_script_route(self._guard, f"/api/{path}", answer, MAX_BYTES)

    # Signing in by a passkey, without a session.

    async def _begin_sign_in(self, request: Request, _: Fields) -> Answer:
        rp = find_relying_party(self._guard, request)
        if isinstance(rp, Denial):
            return rp
        return await self._proofs.begin_sign_in(rp, self._guard.find_source(request))

    async def _finish_sign_in(self, request: Request, fields: Fields) -> Answer:
        rp, before = find_relying_party(self._guard, request), read_cookie(self._guard, request)
        if isinstance(rp, Denial):
            return rp
        if isinstance(before, Denial):
            return before
        source = self._guard.find_source(request)
        identity = await self._proofs.finish_sign_in(rp, _read_answer(fields), source)
        if isinstance(identity, Denial):
            return identity
        secret = await start_session(self._passes, self._guard, request, identity, before)
        if isinstance(secret, Denial):
            return secret
        response = JSONResponse({"name": identity.name})
        set_cookie(response, secret, self._guard, request)
        return response

    # Registration and step-up, with a session.

    async def _begin_registration(
        self, request: Request, identity: Identity, rp: RelyingParty, fields: Fields
    ) -> Fields | Denial:
        password = read_string(fields, "password")
        if password:
            proved = await self._guard.check_password(request, identity, password)
            if isinstance(proved, Denial):
                return proved
        return await self._passkeys.begin_registration(identity, rp, proved=bool(password))

    async def _finish_registration(
        self, request: Request, identity: Identity, rp: RelyingParty, fields: Fields
    ) -> Fields | Denial:
        passkey = await self._passkeys.finish_registration(
            identity, rp, read_string(fields, "name"), _read_answer(fields)
        )
        return passkey if isinstance(passkey, Denial) else {"added": passkey.id}

    async def _begin_step_up(
        self, request: Request, identity: Identity, rp: RelyingParty, fields: Fields
    ) -> Fields | Denial:
        """Begin a step-up for this browser, or, with `id` and its letters, for a waiting terminal."""
        id_ = read_string(fields, "id")
        if not id_:
            return await self._proofs.begin_step_up(identity, rp)
        waiting = await self._step_ups.check(identity, id_, read_string(fields, "letters"))
        if isinstance(waiting, Denial):
            return waiting
        return await self._proofs.begin_step_up(identity, rp, waiting)

    async def _finish_step_up(
        self, request: Request, identity: Identity, rp: RelyingParty, fields: Fields
    ) -> Fields | Denial:
        change = self._proofs.finish_step_up(identity, rp, _read_answer(fields))
        return await self._guard.apply_change(change) or {"proved": True}


def _read_answer(fields: Fields) -> Fields:
    """Return the answer of the browser's authenticator."""
    answer = fields.get("answer")
    return answer if isinstance(answer, dict) else {}


def find_relying_party(guard: RequestGuard, request: Request) -> RelyingParty | Denial:
    """Return the relying party for the request's Host, which the guard has checked.

    If each app has a name of its own, passkeys are for the domain above all of them.
    """
    host, domain = (request.url.hostname or "").lower(), guard.settings.domain
    if domain is not None and guard.is_on_domain(request):
        host = domain
    elif is_address_host(host):
        return _BY_ADDRESS
    if not guard.is_secure(request) and host != "localhost" and not host.endswith(".localhost"):
        return _IN_PLAIN
    return RelyingParty(host, guard.find_own_origin(request))
