"""What the client of `stagedoor login` asks: JSON in, JSON out. No cookie counts, and no browser may ask."""

import asyncio
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.admin.login.service import LoginResult
from stagedoor.listeners.web.errors import refusal
from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.login.parts import LoginParts
from stagedoor.listeners.web.sign_in.cookies import body_of, object_in
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.pending_login import LoginState
from stagedoor.model.source import Source
from stagedoor.oidc.machine import MOST_TOKEN_CHARS
from stagedoor.wire.oneline import is_word

_FRESH = {"Cache-Control": "no-store"}
_MAX_BYTES = 16 * 1024
_MAX_CHARS = 4096
_CHALLENGE_CHARS = 64
"""A SHA-256 in hexadecimal."""


class LoginApi:
    """Belongs to one event loop."""

    def __init__(self, guard: RequestGuard, parts: LoginParts) -> None:
        self._guard = guard
        self._logins = parts.logins
        self._machines = parts.machines
        self._describe = parts.describe
        self.routes: list[BaseRoute] = [
            Route("/.well-known/stagedoor", self._known),
            Route("/login/start", self._start, methods=["POST"]),
            Route("/login/poll", self._poll, methods=["POST"]),
            Route("/login/renew", self._renew, methods=["POST"]),
            Route("/login/machine", self._machine, methods=["POST"]),
            Route("/login/state", self._state, methods=["POST"]),
            Route("/login/end", self._end, methods=["POST"]),
        ]

    async def _known(self, request: Request) -> Response:
        """RFC 8615. What a new machine needs to know, and nothing secret."""
        barred = self._guard.barred(self._guard.source_of(request))
        if barred is not None:
            return self._refused(request, barred)
        described = await asyncio.to_thread(self._describe, request.url.hostname or "")
        if isinstance(described, Denial):
            return self._refused(request, described)
        return JSONResponse(dict(described), headers=_FRESH)

    async def _start(self, request: Request) -> Response:
        asked = await self._asked(request)
        if isinstance(asked, Denial):
            return self._refused(request, asked)
        challenge = _text(asked, "challenge")
        try:
            digest = bytes.fromhex(challenge)
        except ValueError:
            digest = b""
        if len(challenge) != _CHALLENGE_CHARS or len(digest) != _CHALLENGE_CHARS // 2:
            return self._refused(request, _broken("challenge"))
        port = asked.get("port")
        if port is not None and not (type(port) is int and 0 < port < 65536):
            return self._refused(request, _broken("port"))
        begun = await self._logins.begin(
            self._guard.own_origin(request),
            digest,
            _text(asked, "signature"),
            _text(asked, "label"),
            port,
            self._source(request),
        )
        if isinstance(begun, Denial):
            return self._refused(request, begun)
        return JSONResponse({"id": begun.id}, headers=_FRESH)

    async def _poll(self, request: Request) -> Response:
        asked = await self._asked(request)
        if isinstance(asked, Denial):
            return self._refused(request, asked)
        found = await self._logins.poll(
            _word(asked, "id"),
            _word(asked, "verifier"),
            _word(asked, "code") or None,
            self._guard.address(request),
            self._source(request),
        )
        if isinstance(found, LoginState):
            # Which proves nothing: a client that waits has made a key, and is nobody yet.
            return JSONResponse({"state": found.value}, headers=_FRESH)
        return await self._logged_in(request, found)

    async def _renew(self, request: Request) -> Response:
        asked = await self._asked(request)
        if isinstance(asked, Denial):
            return self._refused(request, asked)
        at = asked.get("at")
        if type(at) is not int or not 0 <= at < 2**40:
            return self._refused(request, _broken("at"))
        found = await self._logins.renew(
            self._guard.own_origin(request),
            at,
            _word(asked, "nonce"),
            _text(asked, "signature"),
            self._source(request),
        )
        return await self._logged_in(request, found)

    async def _machine(self, request: Request) -> Response:
        asked = await self._asked(request)
        if isinstance(asked, Denial):
            return self._refused(request, asked)
        found = await self._machines.log_in(
            self._guard.own_origin(request),
            _word(asked, "token", MOST_TOKEN_CHARS),
            _text(asked, "signature"),
            self._source(request),
        )
        return await self._logged_in(request, found)

    async def _state(self, request: Request) -> Response:
        asked = await self._asked(request)
        if isinstance(asked, Denial):
            return self._refused(request, asked)
        login = await self._logins.state(_word(asked, "secret"), self._source(request))
        return await self._logged_in(request, login)

    async def _end(self, request: Request) -> Response:
        asked = await self._asked(request)
        if isinstance(asked, Denial):
            return self._refused(request, asked)
        denial = await self._logins.end(_word(asked, "secret"), self._source(request))
        if denial is not None:
            return self._refused(request, denial)
        return JSONResponse({"state": "ended"}, headers=_FRESH)

    async def _logged_in(self, request: Request, found: LoginResult | Denial) -> Response:
        if isinstance(found, Denial):
            return self._refused(request, found)
        if found.secret is not None:
            # A new sign-in, by whose key somebody may come right now: the local shells hear of it first.
            policy = self._guard.flow.policy
            await policy.newer_than(policy.version)
        self._guard.proved(request, True)
        said: dict[str, object] = {
            "state": "logged-in",
            "user": found.user,
            "ends_at": found.ends_at,
        }
        for name in ("secret", "certificate", "why", "no_grant"):
            if value := getattr(found, name):
                said[name] = value
        return JSONResponse(said, headers=_FRESH)

    async def _asked(self, request: Request) -> Mapping[str, object] | Denial:
        """Return what the client sent, or why it is not read."""
        source = self._source(request)
        denial = self._guard.barred(source)
        if denial is None and request.headers.get("origin") is not None:
            why = "pages may not log machines in; run stagedoor login in a terminal"
            denial = Denial(Reason.SOURCE_NOT_ALLOWED, why)
        if denial is None and not (self._guard.secure(request) or source.address.is_loopback):
            denial = Denial(
                Reason.BAD_REQUEST,
                "what logs in is secret, and this came over plain http: use https:// (behind a reverse "
                "proxy: it sends X-Forwarded-Proto from an address in web.forwarded_from)",
            )
        denial = denial or self._guard.unnamed(request)
        if denial is not None:
            return denial
        body = await body_of(request, _MAX_BYTES)
        return body if isinstance(body, Denial) else object_in(body)

    def _source(self, request: Request) -> Source:
        return self._guard.source_of(request)

    def _refused(self, request: Request, denial: Denial) -> Response:
        self._guard.flow.deny(denial, web(self._source(request)))
        return refusal(denial)


def _text(asked: Mapping[str, object], name: str, most: int = _MAX_CHARS) -> str:
    value = asked.get(name)
    return value if isinstance(value, str) and len(value) <= most else ""


def _word(asked: Mapping[str, object], name: str, most: int = _MAX_CHARS) -> str:
    """As we or a client of ours have made it: no store and no digest takes all that JSON can say."""
    value = _text(asked, name, most)
    return value if is_word(value) else ""


def _broken(name: str) -> Denial:
    return Denial(Reason.BAD_REQUEST, f"the request cannot be read ({name}); get the client again")
