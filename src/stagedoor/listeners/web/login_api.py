"""The API for the client of `stagedoor login`: JSON in, JSON out. It ignores cookies and refuses browsers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.errors import refusal
from stagedoor.listeners.web.guard import RequestGuard, web
from stagedoor.listeners.web.sign_in.cookies import parse_object, read_body
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.pending_login import LoginState
from stagedoor.model.source import Source
from stagedoor.oidc.machine import MOST_TOKEN_CHARS
from stagedoor.signin.login.approval import LoginApproval
from stagedoor.signin.login.machine_logins import MachineLoginService
from stagedoor.signin.login.service import LoginResult, LoginService
from stagedoor.wire.oneline import is_word


@dataclass(frozen=True, slots=True)
class LoginParts:
    """The services of logins.

    `logins` serves the client and `approval` the user's page; `machines` logs machines in by tokens of
    their own. `describe` returns the well-known document for a request's host name, `krl` the key
    revocation list. `client` is the client program as one file.
    """

    logins: LoginService
    approval: LoginApproval
    machines: MachineLoginService
    describe: Callable[[str], Mapping[str, object] | Denial]
    krl: Callable[[], Awaitable[bytes | Denial]]
    client: bytes = field(repr=False)


_FRESH = {"Cache-Control": "no-store"}
_MAX_BYTES = 16 * 1024
_MAX_CHARS = 4096
_CHALLENGE_CHARS = 64
"""A SHA-256 in hexadecimal."""


class LoginApi:
    """The routes of this API. Belongs to one event loop."""

    def __init__(self, guard: RequestGuard, parts: LoginParts) -> None:
        self._guard = guard
        self._logins = parts.logins
        self._machines = parts.machines
        self._describe = parts.describe
        self._krl = parts.krl
        self.routes: list[BaseRoute] = [
            Route("/.well-known/stagedoor", self._describe_gateway),
            Route("/revoked.krl", self._list_revoked),
            Route("/login/start", self._start, methods=["POST"]),
            Route("/login/poll", self._poll, methods=["POST"]),
            Route("/login/renew", self._renew, methods=["POST"]),
            Route("/login/machine", self._machine, methods=["POST"]),
            Route("/login/state", self._state, methods=["POST"]),
            Route("/login/end", self._end, methods=["POST"]),
        ]

    async def _describe_gateway(self, request: Request) -> Response:
        """Return the well-known document (RFC 8615) for new machines, which has no secrets."""
        barred = self._guard.check_source(self._guard.source_of(request))
        if barred is not None:
            return self._refused(request, barred)
        described = await asyncio.to_thread(self._describe, request.url.hostname or "")
        if isinstance(described, Denial):
            return self._refused(request, described)
        return JSONResponse(dict(described), headers=_FRESH)

    async def _list_revoked(self, request: Request) -> Response:
        """Return the key revocation list, which servers that trust the user CA fetch by a timer."""
        denial = self._guard.check_source(self._guard.source_of(request))
        krl = denial or await self._krl()
        if isinstance(krl, Denial):
            return refusal(krl)
        return Response(krl, media_type="application/octet-stream", headers=_FRESH)

    async def _start(self, request: Request) -> Response:
        fields = await self._fields(request)
        if isinstance(fields, Denial):
            return self._refused(request, fields)
        challenge = _text(fields, "challenge")
        try:
            digest = bytes.fromhex(challenge)
        except ValueError:
            digest = b""
        if len(challenge) != _CHALLENGE_CHARS or len(digest) != _CHALLENGE_CHARS // 2:
            return self._refused(request, _broken("challenge"))
        port = fields.get("port")
        if port is not None and not (type(port) is int and 0 < port < 65536):
            return self._refused(request, _broken("port"))
        begun = await self._logins.begin(
            self._guard.find_own_origin(request),
            digest,
            _text(fields, "signature"),
            _text(fields, "label"),
            port,
            self._source(request),
        )
        if isinstance(begun, Denial):
            return self._refused(request, begun)
        return JSONResponse({"id": begun.id}, headers=_FRESH)

    async def _poll(self, request: Request) -> Response:
        fields = await self._fields(request)
        if isinstance(fields, Denial):
            return self._refused(request, fields)
        login = await self._logins.poll(
            _word(fields, "id"),
            _word(fields, "verifier"),
            _word(fields, "code") or None,
            self._guard.address(request),
            self._source(request),
        )
        if isinstance(login, LoginState):
            # This does not count as authentication: a waiting client has only made a key.
            return JSONResponse({"state": login.value}, headers=_FRESH)
        return await self._answer_login(request, login)

    async def _renew(self, request: Request) -> Response:
        fields = await self._fields(request)
        if isinstance(fields, Denial):
            return self._refused(request, fields)
        at = fields.get("at")
        if type(at) is not int or not 0 <= at < 2**40:
            return self._refused(request, _broken("at"))
        login = await self._logins.renew(
            self._guard.find_own_origin(request),
            at,
            _word(fields, "nonce"),
            _text(fields, "signature"),
            self._source(request),
        )
        return await self._answer_login(request, login)

    async def _machine(self, request: Request) -> Response:
        fields = await self._fields(request)
        if isinstance(fields, Denial):
            return self._refused(request, fields)
        login = await self._machines.log_in(
            self._guard.find_own_origin(request),
            _word(fields, "token", MOST_TOKEN_CHARS),
            _text(fields, "signature"),
            self._source(request),
        )
        return await self._answer_login(request, login)

    async def _state(self, request: Request) -> Response:
        fields = await self._fields(request)
        if isinstance(fields, Denial):
            return self._refused(request, fields)
        login = await self._logins.read_state(_word(fields, "secret"), self._source(request))
        return await self._answer_login(request, login)

    async def _end(self, request: Request) -> Response:
        fields = await self._fields(request)
        if isinstance(fields, Denial):
            return self._refused(request, fields)
        denial = await self._logins.log_out(_word(fields, "secret"), self._source(request))
        if denial is not None:
            return self._refused(request, denial)
        return JSONResponse({"state": "ended"}, headers=_FRESH)

    async def _answer_login(self, request: Request, login: LoginResult | Denial) -> Response:
        if isinstance(login, Denial):
            return self._refused(request, login)
        if login.secret is not None:
            # The client may use its new key at once, so the local shells must know the sign-in first.
            policy = self._guard.flow.policy
            await policy.read_newer_than(policy.version)
        self._guard.accept_proof(request, True)
        answer: dict[str, object] = {
            "state": "logged-in",
            "user": login.user,
            "ends_at": login.ends_at,
        }
        for name in ("secret", "certificate", "why", "no_grant"):
            if value := getattr(login, name):
                answer[name] = value
        return JSONResponse(answer, headers=_FRESH)

    async def _fields(self, request: Request) -> Mapping[str, object] | Denial:
        """Return the fields of the client's request, or the refusal to read it."""
        source = self._source(request)
        denial = self._guard.check_source(source)
        if denial is None and request.headers.get("origin") is not None:
            why = "pages may not log machines in; run stagedoor login in a terminal"
            denial = Denial(Reason.SOURCE_NOT_ALLOWED, why)
        if denial is None and not (self._guard.is_secure(request) or source.address.is_loopback):
            denial = Denial.with_mend(
                Reason.BAD_REQUEST,
                "what logs in is secret, and this came over plain http",
                "a reverse proxy has to send X-Forwarded-Proto from an address in web.forwarded_from",
                "use https://",
            )
        denial = denial or self._guard.check_signed_name(request)
        if denial is not None:
            return denial
        body = await read_body(request, _MAX_BYTES)
        return body if isinstance(body, Denial) else parse_object(body)

    def _source(self, request: Request) -> Source:
        return self._guard.source_of(request)

    def _refused(self, request: Request, denial: Denial) -> Response:
        self._guard.flow.deny(denial, web(self._source(request)))
        return refusal(denial)


def _text(fields: Mapping[str, object], name: str, most: int = _MAX_CHARS) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) and len(value) <= most else ""


def _word(fields: Mapping[str, object], name: str, most: int = _MAX_CHARS) -> str:
    """Return a field if it has the form of our ids and secrets, else "": the store takes no other text."""
    value = _text(fields, name, most)
    return value if is_word(value) else ""


def _broken(name: str) -> Denial:
    return Denial(Reason.BAD_REQUEST, f"the request cannot be read ({name}); get the client again")
