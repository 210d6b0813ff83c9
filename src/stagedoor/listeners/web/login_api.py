"""The API for the client of `stagedoor login`: JSON in, JSON out. It ignores cookies and refuses browsers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.bodies import read_object
from stagedoor.listeners.web.errors import answer_refusal
from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.post import MAX_CHARS, Answer, Fields, answer_in_json, read_string
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.pending_login import LoginState
from stagedoor.model.source import Source
from stagedoor.oidc.machine import MAX_TOKEN_CHARS
from stagedoor.signin.login.approval import LoginApproval
from stagedoor.signin.login.machine_logins import MachineLoginService
from stagedoor.signin.login.service import LoginResult, LoginService
from stagedoor.wire.oneline import is_word


@dataclass(frozen=True, slots=True)
class LoginParts:
    """The services of logins.

    `logins` serves the client, and `approval` the user's page. `machines` logs machines in by their
    platform's tokens. `describe` returns the well-known document for a request's host name, `krl` the key
    revocation list. `client` is the client program as one file.
    """

    logins: LoginService
    approval: LoginApproval
    machines: MachineLoginService
    describe: Callable[[str], Mapping[str, object] | Denial]
    krl: Callable[[], Awaitable[bytes | Denial]]
    client: bytes = field(repr=False)


_MAX_BYTES = 16 * 1024
_CHALLENGE_CHARS = 64
"""A SHA-256 in hexadecimal."""
_Act = Callable[[Request, Fields, Source], Awaitable[Answer]]


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
            self._make_route("start", self._start),
            self._make_route("poll", self._poll),
            self._make_route("renew", self._renew),
            self._make_route("machine", self._log_machine_in),
            self._make_route("state", self._report_state),
            self._make_route("end", self._end),
        ]

    async def _describe_gateway(self, request: Request) -> Response:
        """Return the well-known document (RFC 8615) for new machines, which has no secrets."""
        result: Mapping[str, object] | Denial | None = self._guard.check_source(request)
        if result is None:
            result = await asyncio.to_thread(self._describe, request.url.hostname or "")
        return answer_in_json(self._guard, request, result)

    async def _list_revoked(self, request: Request) -> Response:
        """Return the key revocation list, which servers that trust the user CA fetch by a timer."""
        krl = self._guard.check_source(request) or await self._krl()
        if isinstance(krl, Denial):
            return answer_refusal(krl)
        return Response(krl, media_type="application/octet-stream")

    def _make_route(self, name: str, act: _Act) -> Route:
        """Return a route for the client."""

        async def answer(request: Request) -> Response:
            source = self._guard.find_source(request)
            body = self._check_client(request, source) or await read_object(request, _MAX_BYTES)
            result = body if isinstance(body, Denial) else await act(request, body, source)
            return answer_in_json(self._guard, request, result)

        return Route(f"/login/{name}", answer, methods=["POST"])

    def _check_client(self, request: Request, source: Source) -> Denial | None:
        """Refuse pages, plain HTTP from other machines, and host names that are not the gateway's."""
        if (denial := self._guard.check_source(request)) is not None:
            return denial
        if request.headers.get("origin") is not None:
            why = "pages may not log machines in; run stagedoor login in a terminal"
            return Denial(Reason.SOURCE_NOT_ALLOWED, why)
        if not (self._guard.is_secure(request) or source.address.is_loopback):
            return Denial.with_fix(
                Reason.BAD_REQUEST,
                "a login has secrets, and this request came over plain http",
                "a reverse proxy has to send X-Forwarded-Proto from an address in web.forwarded_from",
                "use https://",
            )
        return self._guard.check_signed_name(request)

    async def _start(self, request: Request, fields: Fields, source: Source) -> Answer:
        challenge = read_string(fields, "challenge")
        try:
            digest = bytes.fromhex(challenge)
        except ValueError:
            digest = b""
        if len(challenge) != _CHALLENGE_CHARS or len(digest) != _CHALLENGE_CHARS // 2:
            return _make_field_denial("challenge")
        port = fields.get("port")
        if port is not None and not (type(port) is int and 0 < port < 65536):
            return _make_field_denial("port")
        signature, label = read_string(fields, "signature"), read_string(fields, "label")
        origin = self._guard.find_own_origin(request)
        begun = await self._logins.begin(origin, digest, signature, label, port, source)
        return begun if isinstance(begun, Denial) else {"id": begun.id}

    async def _poll(self, request: Request, fields: Fields, source: Source) -> Answer:
        login = await self._logins.poll(
            _read_word(fields, "id"),
            _read_word(fields, "verifier"),
            _read_word(fields, "code") or None,
            self._guard.derive_base_url(request),
            source,
        )
        if isinstance(login, LoginState):
            # This does not count as authentication, since a waiting client has only made a key.
            return {"state": login.value}
        return await self._accept(request, login)

    async def _renew(self, request: Request, fields: Fields, source: Source) -> Answer:
        at = fields.get("at")
        if type(at) is not int or not 0 <= at < 2**40:
            return _make_field_denial("at")
        origin = self._guard.find_own_origin(request)
        nonce, signature = _read_word(fields, "nonce"), read_string(fields, "signature")
        return await self._accept(
            request, await self._logins.renew(origin, at, nonce, signature, source)
        )

    async def _log_machine_in(self, request: Request, fields: Fields, source: Source) -> Answer:
        origin = self._guard.find_own_origin(request)
        token, signature = (
            _read_word(fields, "token", MAX_TOKEN_CHARS),
            read_string(fields, "signature"),
        )
        return await self._accept(
            request, await self._machines.log_in(origin, token, signature, source)
        )

    async def _report_state(self, request: Request, fields: Fields, source: Source) -> Answer:
        secret = _read_word(fields, "secret")
        return await self._accept(request, await self._logins.read_state(secret, source))

    async def _end(self, _: Request, fields: Fields, source: Source) -> Answer:
        return await self._logins.log_out(_read_word(fields, "secret"), source) or {
            "state": "ended"
        }

    async def _accept(self, request: Request, login: LoginResult | Denial) -> Answer:
        if isinstance(login, Denial):
            return login
        if login.secret is not None:
            # The client may use its new key at once, so the local shells must know the sign-in first.
            policy = self._guard.flow.policy
            await policy.read_newer_than(policy.version)
        self._guard.mark_authenticated(request)
        answer: dict[str, object] = {
            "state": "logged-in",
            "user": login.user,
            "ends_at": login.ends_at,
        }
        for name in ("secret", "certificate", "why", "no_grant"):
            if value := getattr(login, name):
                answer[name] = value
        return answer


def _read_word(fields: Fields, name: str, most: int = MAX_CHARS) -> str:
    """Return a field if it has the form of our ids and secrets, else "". The store accepts no other text."""
    value = read_string(fields, name, most)
    return value if is_word(value) else ""


def _make_field_denial(name: str) -> Denial:
    return Denial(Reason.BAD_REQUEST, f"the request cannot be read ({name}); get the client again")
