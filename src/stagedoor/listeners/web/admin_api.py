"""The HTTP API `/api/v1`: connections, credentials and headers. Its operations are in `api`."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import structlog
from msgspec import structs
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stagedoor.api.answers import ApiAnswer, make_denial_answer, make_problem_answer
from stagedoor.api.problems import make_problem
from stagedoor.api.service import AdmittedRequest, ApiService
from stagedoor.listeners.web.bodies import (
    BODY_S,
    BodyTimeoutError,
    BodyTooLongError,
    read_body,
)
from stagedoor.listeners.web.file_stream import send_file
from stagedoor.listeners.web.guard import RequestGuard, make_web_login_origin
from stagedoor.listeners.web.post import WAIT_S
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.source import Network, Source, is_within
from stagedoor.model.units import KIB
from stagedoor.session.attempt import begin_trace
from stagedoor.session.person_wait import STEP_UP
from stagedoor.wire.api.openapi import encode_openapi
from stagedoor.wire.api.operations import PREFIX
from stagedoor.wire.http.fields import parse_traceparent

ADMINISTRATION = "the gateway's administration"
"""The purpose of a proof of presence for the API, as the page of the proof shows it."""
_SLOWEST = 256 * KIB
"""The minimum rate of a long body, in bytes per second."""
_WAIT = re.compile(r"(?:^|[,;\s])wait=([0-9]{1,4})(?:$|[,;\s])", re.ASCII)
_log = structlog.get_logger()
SiteCheck = Callable[[Request], Denial | None]
_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY"]
_SAME_SITE = frozenset({"same-origin", "none"})


class _AnyPathConvertor(PathConvertor):
    """A part of a path that may contain any character, even a line end."""

    regex = "(?s:.*)"


register_url_convertor("anything", _AnyPathConvertor())


@dataclass(frozen=True, slots=True)
class ApiParts:
    """The parts of the API. Only `networks` may use it; if empty, all networks that may use the WebShell."""

    service: ApiService
    networks: tuple[Network, ...]


class AdminApi:
    """The routes of the API. Belongs to one event loop.

    `identify` verifies who asks, by the Authorization header or by the cookie of a sign-in.
    """

    def __init__(
        self,
        guard: RequestGuard,
        identify: Callable[[Request, Source, SiteCheck], Awaitable[Identity | Denial]],
        parts: ApiParts,
    ) -> None:
        self._flow = guard.flow
        self._guard = guard
        self._identify = identify
        self._service = parts.service
        self._networks = parts.networks
        self.routes: list[BaseRoute] = [
            Route(f"{PREFIX}/openapi.json", self._describe, methods=["GET"]),
            Route(f"{PREFIX}{{path:anything}}", self._answer, methods=_METHODS),
        ]

    async def _describe(self, request: Request) -> Response:
        refused = self._check_source(request)
        if refused is not None:
            return self._refuse(request, refused)
        return Response(encode_openapi(), media_type="application/json")

    async def _answer(self, request: Request) -> Response:
        refused, source = self._check_source(request), self._guard.find_source(request)
        if refused is not None:
            return self._refuse(request, refused)
        identity: Identity | Denial | None = None
        try:
            identity = await self._identify(request, source, self._check_site)
            if isinstance(identity, Denial):
                return self._refuse(request, identity)
            return self._respond(request, await self._perform(request, identity, source), identity)
        except ClientDisconnect:
            raise
        except Exception as fault:
            denied = make_denial_answer(Denial.of_fault())
            who = identity if isinstance(identity, Identity) else None
            return self._respond(request, denied, who, fault)

    async def _perform(self, request: Request, identity: Identity, source: Source) -> ApiAnswer:
        admitted = await self._admit(request, identity, source)
        if isinstance(admitted, ApiAnswer):
            return admitted
        limit = admitted.operation.max_body_bytes
        try:
            body = await read_body(request, limit, max(BODY_S, limit / _SLOWEST))
        except BodyTooLongError as error:
            return make_problem_answer(make_problem(413, "too_large", str(error)))
        except BodyTimeoutError as error:
            return make_problem_answer(make_problem(408, "too_slow", str(error)))
        return await self._service.answer(
            admitted, dict(request.query_params), dict(request.headers), body
        )

    async def _admit(
        self, request: Request, identity: Identity, source: Source
    ) -> AdmittedRequest | ApiAnswer:
        """Admit a request. A program without a fresh proof gets instructions for its user, and may wait."""
        path = request.path_params["path"]
        admitted = await self._service.admit(identity, request.method, path)
        step_ups = self._flow.step_ups
        if "authorization" not in request.headers or step_ups is None or not _lacks_proof(admitted):
            return admitted
        instruction = await step_ups.begin(identity, ADMINISTRATION, source)
        if instruction is None:
            return admitted
        loop = asyncio.get_running_loop()
        until = loop.time() + _parse_wait(request.headers.get("prefer", ""))
        with step_ups.count_waiting(identity) as has_room:
            while has_room and _lacks_proof(admitted) and (left := until - loop.time()) > 0:
                await self._flow.policy.wait_for_change(self._flow.policy.version, left)
                admitted = await self._service.admit(identity, request.method, path)
        if not isinstance(admitted, ApiAnswer) or admitted.denial is None:
            return admitted
        return make_denial_answer(admitted.denial, f"{STEP_UP}: {instruction}")

    def _check_source(self, request: Request) -> Denial | None:
        denial, source = self._guard.check_source(request), self._guard.find_source(request)
        if denial is not None or not self._networks or is_within(source.address, self._networks):
            return denial
        return Denial.with_fix(
            Reason.SOURCE_NOT_ALLOWED,
            f"the API is not for your address {source.address}",
            "an administrator adds its network to api.networks",
            "connect from another network, or ask an administrator",
        )

    def _check_site(self, request: Request) -> Denial | None:
        """Refuse requests, even for reading, that a page of another site sends with its user's cookie."""
        origin = request.headers.get("origin")
        own = self._guard.find_own_origin(request)
        site = request.headers.get("sec-fetch-site", "none")
        if request.method == "GET" and origin in (None, own) and site in _SAME_SITE:
            return None
        return self._guard.check_own_page(request)

    def _refuse(self, request: Request, denial: Denial) -> Response:
        return self._respond(request, make_denial_answer(denial), None)

    def _respond(
        self,
        request: Request,
        answer: ApiAnswer,
        identity: Identity | None,
        fault: Exception | None = None,
    ) -> Response:
        """Return the response. Refusals and faults contain the trace of their line in the log."""
        body = answer.body
        if answer.denial is not None and answer.problem is not None:
            trace = parse_traceparent(request.headers.get("traceparent", "")) or begin_trace()
            if fault is not None:
                line = "an API request ended by an internal fault"
                _log.error(line, trace=trace.trace_id, exc_info=fault)
            origin = structs.replace(
                make_web_login_origin(self._guard.find_source(request)), trace_context=trace
            )
            self._flow.record_denial(answer.denial, origin, identity)
            body = msgspec.json.encode(structs.replace(answer.problem, trace=trace.trace_id))
        if (file := answer.file) is not None:
            return send_file(file.path, file.size, file.is_still_allowed, answer.headers)
        return Response(body, answer.status, answer.headers)


def _lacks_proof(admitted: AdmittedRequest | ApiAnswer) -> bool:
    if not isinstance(admitted, ApiAnswer) or admitted.denial is None:
        return False
    return admitted.denial.reason is Reason.STEP_UP_NEEDED


def _parse_wait(preferences: str) -> float:
    """Return the seconds in `Prefer: wait=15` (RFC 7240 §4.3), at most `WAIT_S`; 0 without it."""
    match = _WAIT.search(preferences)
    return 0.0 if match is None else min(float(match[1]), WAIT_S)
