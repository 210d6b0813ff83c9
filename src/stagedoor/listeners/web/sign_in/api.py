"""A browser's sign-in as its pages see it: how long it lasts, that it is used, and another in its place.

Everything is a POST of our own page, since the cookie alone must do nothing for a page of somebody else's.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.errors import refusal
from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.ports import PassIssuer
from stagedoor.listeners.web.sign_in.cookies import (
    new_session,
    object_of,
    set_cookie,
    shown_cookie,
)
from stagedoor.model.credential import PasswordCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Method
from stagedoor.model.webpass import PassKind, WebPass

WARN_S = 600.0
"""How long before its end a page says that a sign-in ends."""
_MAX_CHARS = 4096
_SHOWN_CHARS = 12
_FRESH = {"Cache-Control": "no-store"}


class SignInApi:
    """Belongs to one event loop."""

    def __init__(self, guard: RequestGuard, passes: PassIssuer) -> None:
        self._guard = guard
        self._passes = passes
        self.routes: list[BaseRoute] = [
            Route("/api/sign-in", self._look, methods=["POST"]),
            Route("/api/sign-in/again", self._again, methods=["POST"]),
        ]

    async def _look(self, request: Request) -> Response:
        """When the sign-in ends, or that it is over; with `used`, its end is moved first."""
        asked = await self._asked(request)
        if isinstance(asked, Denial):
            return self._refused(request, asked)
        fields, secret = asked
        if secret is None:
            return _over("you are not signed in in this browser; sign in again")
        identity = self._guard.proved(request, await self._passes.show(PassKind.SESSION, secret))
        if isinstance(identity, Denial):
            over = identity.reason is Reason.CREDENTIAL_WRONG
            return _over(identity.line) if over else self._refused(request, identity)
        session = await self._passes.session(secret, used=fields.get("used") is True)
        if isinstance(session, Denial):
            return self._refused(request, session)
        by_provider = identity.method is Method.SSO
        return _said(
            session, self._guard.flow.now(), identity.credential_id if by_provider else None
        )

    async def _again(self, request: Request) -> Response:
        """Sign in by a form in the page, which stays as it is."""
        asked = await self._asked(request)
        if isinstance(asked, Denial):
            return self._refused(request, asked)
        fields, before = asked
        name, secret = (str(fields.get(key, ""))[:_MAX_CHARS] for key in ("name", "secret"))
        source = self._guard.source_of(request)
        identity = await self._guard.flow.authenticate(
            PasswordCredential(name.strip(), secret.strip("\r\n")), source
        )
        if isinstance(identity, Denial):
            return self._refused(request, identity)
        made = await new_session(self._passes, self._guard, request, identity, before)
        if isinstance(made, Denial):
            return self._refused(request, made)
        session = await self._passes.session(made, used=False)
        if isinstance(session, Denial):
            return self._refused(request, session)
        response = _said(session, self._guard.flow.now())
        set_cookie(response, made, self._guard, request)
        return response

    async def _asked(self, request: Request) -> tuple[dict[str, object], str | None] | Denial:
        """What our own page sent, and the secret of its cookie."""
        denial = self._guard.barred(self._guard.source_of(request))
        denial = denial or self._guard.not_ours(request)
        if denial is not None:
            return denial
        fields = await object_of(request)
        if isinstance(fields, Denial):
            return fields
        cookie = shown_cookie(self._guard, request)
        return cookie if isinstance(cookie, Denial) else (dict(fields), cookie)

    def _refused(self, request: Request, denial: Denial) -> Response:
        self._guard.flow.deny(denial, web(self._guard.source_of(request)))
        return refusal(denial)


def _said(session: WebPass, now: float, provider: str | None = None) -> JSONResponse:
    """Seconds from now, since the browser's clock may be another. `provider`: the identity provider that the
    person signed in by, who has no password here."""
    latest = session.expires_at if session.latest_end is None else session.latest_end
    said = {
        "name": session.name,
        "left_s": max(session.expires_at - now, 0.0),
        "latest_s": max(latest - now, 0.0),
        "warn_s": WARN_S,
        "provider": provider,
        # A digest's beginning, as lists show it: another one is another sign-in.
        "sign_in": None if session.sign_in is None else session.sign_in.id.hex()[:_SHOWN_CHARS],
    }
    return JSONResponse(said, headers=_FRESH)


def _over(why: str) -> JSONResponse:
    """No refusal: that a sign-in is over is what was asked for."""
    return JSONResponse({"over": why}, headers=_FRESH)
