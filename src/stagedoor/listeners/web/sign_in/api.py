"""The API for pages about the browser's sign-in: its end, its use, and signing in again.

Each request is a POST from one of our own pages: a cookie alone must not serve the page of another site.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.errors import refusal
from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.sign_in.cookies import (
    read_cookie,
    read_object,
    set_cookie,
    start_session,
)
from stagedoor.model.credential import PasswordCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Method
from stagedoor.model.webpass import WebSession
from stagedoor.signin.passes import PassService

WARN_S = 600.0
"""How long before the end of a sign-in its pages warn, seconds."""
_MAX_CHARS = 4096
_SHOWN_CHARS = 12
_FRESH = {"Cache-Control": "no-store"}


class SignInApi:
    """The routes of this API. Belongs to one event loop."""

    def __init__(self, guard: RequestGuard, passes: PassService) -> None:
        self._guard = guard
        self._passes = passes
        self.routes: list[BaseRoute] = [
            Route("/api/sign-in", self._describe, methods=["POST"]),
            Route("/api/sign-in/again", self._sign_in_again, methods=["POST"]),
        ]

    async def _describe(self, request: Request) -> Response:
        """Return when the sign-in ends, or that it is over; with `used`, move its end first."""
        call = await self._read_call(request)
        if isinstance(call, Denial):
            return self._refused(request, call)
        fields, secret = call
        if secret is None:
            return _over("you are not signed in in this browser; sign in again")
        valid = self._guard.accept_proof(request, await self._passes.find_session(secret))
        if isinstance(valid, Denial):
            over = valid.reason is Reason.CREDENTIAL_WRONG
            return _over(valid.line) if over else self._refused(request, valid)
        session, identity = valid
        if fields.get("used") is True:
            used = await self._passes.use_session(session)
            if isinstance(used, Denial):
                return self._refused(request, used)
            session = used
        by_provider = identity.method is Method.SSO
        return _answer(
            session, self._guard.flow.now(), identity.credential_id if by_provider else None
        )

    async def _sign_in_again(self, request: Request) -> Response:
        """Sign in by a form in the page, without leaving the page."""
        call = await self._read_call(request)
        if isinstance(call, Denial):
            return self._refused(request, call)
        fields, before = call
        name, secret = (str(fields.get(key, ""))[:_MAX_CHARS] for key in ("name", "secret"))
        source = self._guard.source_of(request)
        identity = await self._guard.flow.authenticate(
            PasswordCredential(name.strip(), secret.strip("\r\n")), source
        )
        if isinstance(identity, Denial):
            return self._refused(request, identity)
        new_secret = await start_session(self._passes, self._guard, request, identity, before)
        if isinstance(new_secret, Denial):
            return self._refused(request, new_secret)
        valid = await self._passes.find_session(new_secret)
        if isinstance(valid, Denial):
            return self._refused(request, valid)
        response = _answer(valid[0], self._guard.flow.now())
        set_cookie(response, new_secret, self._guard, request)
        return response

    async def _read_call(self, request: Request) -> tuple[dict[str, object], str | None] | Denial:
        """Return the fields that one of our pages sent, and the secret of its cookie."""
        denial = self._guard.check_source(self._guard.source_of(request))
        denial = denial or self._guard.check_own_page(request)
        if denial is not None:
            return denial
        fields = await read_object(request)
        if isinstance(fields, Denial):
            return fields
        cookie = read_cookie(self._guard, request)
        return cookie if isinstance(cookie, Denial) else (dict(fields), cookie)

    def _refused(self, request: Request, denial: Denial) -> Response:
        self._guard.flow.deny(denial, web(self._guard.source_of(request)))
        return refusal(denial)


def _answer(session: WebSession, now: float, provider: str | None = None) -> JSONResponse:
    """Answer with a session, in seconds from `now`, since the browser's clock may differ.

    `provider` is the identity provider that the user signed in by, or None; with it the user has no
    password here.
    """
    fields = {
        "name": session.name,
        "left_s": max(session.expires_at - now, 0.0),
        "latest_s": max(session.latest_end - now, 0.0),
        "warn_s": WARN_S,
        "provider": provider,
        # The beginning of the id, as lists show it; it differs between sign-ins.
        "sign_in": session.id.hex()[:_SHOWN_CHARS],
    }
    return JSONResponse(fields, headers=_FRESH)


def _over(why: str) -> JSONResponse:
    """Answer that the sign-in is over. That is no refusal, since the page asked for it."""
    return JSONResponse({"over": why}, headers=_FRESH)
