"""The API for pages about the browser's sign-in: its end, its use, and signing in again.

Each request is a POST from one of our own pages, since a cookie alone must not authorise pages of other
sites.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute

from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.post import Answer, Fields, make_script_route
from stagedoor.listeners.web.sign_in.cookies import read_cookie, set_cookie, start_session
from stagedoor.model.credential import PasswordCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Method
from stagedoor.model.webpass import WebSession
from stagedoor.signin.passes import PassService

WARN_S = 600.0
"""How long before the end of a sign-in its pages warn, seconds."""
_MAX_CHARS = 4096
_SHOWN_CHARS = 12


class SignInApi:
    """The routes of this API. Belongs to one event loop."""

    def __init__(self, guard: RequestGuard, passes: PassService) -> None:
        self._guard = guard
        self._passes = passes
        self.routes: list[BaseRoute] = [
            make_script_route(guard, "/api/sign-in", self._describe),
            make_script_route(guard, "/api/sign-in/again", self._sign_in_again),
        ]

    async def _describe(self, request: Request, fields: Fields) -> Answer:
        """Return when the sign-in ends, or that it has ended. With `used`, extend it first."""
        secret = read_cookie(self._guard, request)
        if isinstance(secret, Denial):
            return secret
        if secret is None:
            return _describe_end("you are not signed in in this browser; sign in again")
        valid = await self._passes.find_session(secret)
        if isinstance(valid, Denial):
            return _describe_end(valid.line) if valid.reason is Reason.CREDENTIAL_WRONG else valid
        self._guard.mark_authenticated(request)
        session, identity = valid
        if fields.get("used") is True:
            used = await self._passes.use_session(session)
            if isinstance(used, Denial):
                return used
            session = used
        by_provider = identity.method is Method.SSO
        return _describe_session(
            session, self._guard.flow.now(), identity.credential_id if by_provider else None
        )

    async def _sign_in_again(self, request: Request, fields: Fields) -> Answer:
        """Sign in by a form within the page."""
        before = read_cookie(self._guard, request)
        if isinstance(before, Denial):
            return before
        name, secret = (str(fields.get(key, ""))[:_MAX_CHARS] for key in ("name", "secret"))
        source = self._guard.find_source(request)
        identity = await self._guard.flow.authenticate(
            PasswordCredential(name.strip(), secret.strip("\r\n")), source
        )
        if isinstance(identity, Denial):
            return identity
        new_secret = await start_session(self._passes, self._guard, request, identity, before)
        if isinstance(new_secret, Denial):
            return new_secret
        valid = await self._passes.find_session(new_secret)
        if isinstance(valid, Denial):
            return valid
        response = _describe_session(valid[0], self._guard.flow.now())
        set_cookie(response, new_secret, self._guard, request)
        return response


def _describe_session(session: WebSession, now: float, provider: str | None = None) -> JSONResponse:
    """Answer with a session, in seconds from `now`, since the browser's clock may differ.

    `provider` is the identity provider of the sign-in, whose users have no password here, or None.
    """
    fields = {
        "name": session.name,
        "left_s": max(session.expires_at - now, 0.0),
        "latest_s": max(session.latest_end - now, 0.0),
        "warn_s": WARN_S,
        "provider": provider,
        # The beginning of the id, as in lists, which distinguishes sign-ins.
        "sign_in": session.id.hex()[:_SHOWN_CHARS],
    }
    return JSONResponse(fields)


def _describe_end(why: str) -> JSONResponse:
    """Answer that the sign-in has ended. This is not a refusal, since the page asked for it."""
    return JSONResponse({"over": why})
