"""The handling of API requests, from their parts to the answer, without the HTTP connection.

A request is admitted before its body is read: an unknown path, a missing scope and a missing role are refused
first. Then its values are checked, and its operation runs in a thread.
"""

import asyncio
import hashlib
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from inspect import iscoroutinefunction

import msgspec

from stagedoor.admin.certificates.revocation import RefusedKeys, require_unrevoked
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.guard import TRIES, DryRunError, PolicyGuard, StalePolicyError
from stagedoor.admin.requests.request_service import RequestService
from stagedoor.api.answers import (
    ApiAnswer,
    FileStream,
    answer_again,
    make_answer,
    make_denial_answer,
    make_path_refusal,
    make_preview,
    make_problem_answer,
)
from stagedoor.api.call import AppSource, Call, DeniedError, FileAnswer, require_allowed
from stagedoor.api.handlers import find_handler, make_tag
from stagedoor.api.last_sessions import SessionCache
from stagedoor.api.parsing import (
    ApiRequestError,
    decode_body,
    find_request_key,
    parse_filters,
    parse_flag,
    parse_if_match,
    parse_page_size,
)
from stagedoor.api.problems import RAISED, from_error, make_problem
from stagedoor.authz.access_request import check_fresh
from stagedoor.authz.roles import AdminAccess, find_admin_access, make_role_denial
from stagedoor.authz.step_up import StepUpRules
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import StoreError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy
from stagedoor.model.role import Role
from stagedoor.model.selector import EVERYWHERE
from stagedoor.model.units import KIB
from stagedoor.store.administration import answers
from stagedoor.store.policy import load_newest
from stagedoor.wire.api.operation import Operation
from stagedoor.wire.api.operations import OPERATIONS, PAGE, find_operation
from stagedoor.wire.api.types import Problem

FOLLOW_S = 0.5
"""The interval at which a request that waits for events checks for them."""
_KEPT_BYTES = 64 * KIB
"""The longest answer that is kept for a repeated request."""


@dataclass(frozen=True, slots=True)
class AdmittedRequest:
    """A request that its caller may send. `path` has the parameters in its path."""

    operation: Operation
    path: Mapping[str, str]
    identity: Identity
    access: AdminAccess
    policy: Policy

    def read_policy(self) -> Policy:
        """Return the policy by which the caller was judged."""
        return self.policy


class ApiService:
    """The API over a worker's store. Belongs to one event loop; the store is used in threads."""

    def __init__(
        self,
        context: WorkerContext,
        step_up: StepUpRules,
        apps: AppSource,
        refused: RefusedKeys,
        requests: RequestService,
    ) -> None:
        self._context = context
        self._settings, self._database = context.settings, context.database
        self._policy, self._now = context.policy, context.now
        self._step_up = step_up
        self._apps = apps
        self._refused = refused
        self._requests = requests
        # Load all of them now, since an upgrade may replace the program on the disk before the first request.
        self._handlers = {operation.name: find_handler(operation.name) for operation in OPERATIONS}
        self._newest = Policy()
        """The policy by which the last request was judged, which may be newer than the worker's."""
        self._last_sessions = SessionCache(self._database)
        self._change_lock = asyncio.Lock()
        """Held while one request changes the policy, so that concurrent requests need not be judged again."""

    async def admit(
        self, identity: Identity, method: str, path: str
    ) -> AdmittedRequest | ApiAnswer:
        """Return the request if the caller may send it to that path (below `PREFIX`), or the refusal."""
        match = find_operation(method, path)
        if isinstance(match, list):
            return make_path_refusal(match)
        try:
            return await self._judge(identity, *match)
        except StoreError as error:
            return make_problem_answer(from_error(error, shows_fix=False))
        except DeniedError as error:
            return make_denial_answer(error.denial)

    async def _judge(
        self, identity: Identity, operation: Operation, parameters: Mapping[str, str]
    ) -> AdmittedRequest:
        """Return the request by the newest policy. Raises DeniedError, StoreError."""
        policy = await self._load_newest()
        now = self._now()
        until = policy.check_credential(identity, now)
        access = find_admin_access(policy, identity.name, now)
        denial = until if isinstance(until, Denial) else None
        denial = denial or check_scope(identity, operation)
        role = operation.role
        if denial is None and role is not None and not access.has_somewhere(role):
            denial = make_role_denial(role, EVERYWHERE)
        if denial is None and identity.is_person and operation.wants_proof:
            what = "a recording" if operation.is_file else "a change"
            denial = check_fresh(policy, identity, what, self._step_up, now)
        require_allowed(denial)
        return AdmittedRequest(operation, parameters, identity, access, policy)

    async def _load_newest(self) -> Policy:
        """Return the current policy, derived from the newest known one. Raises StoreError."""
        known = self._policy()
        if self._newest.version > known.version:
            known = self._newest
        self._newest = await asyncio.to_thread(load_newest, self._database, known)
        return self._newest

    async def answer(
        self,
        request: AdmittedRequest,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> ApiAnswer:
        """Return the answer to an admitted request. `headers` have lower-case names."""
        try:
            call, guard = self._prepare(request, query, headers, body)
            key = find_request_key(request.operation, request.identity.name, headers)
            if key is None:
                return await self._run(request, call, guard)
            return await self._run_idempotent(request, call, guard, key, query, body)
        except ApiRequestError as refused:
            return make_problem_answer(refused.problem)
        except DeniedError as error:
            return make_denial_answer(error.denial)
        except RAISED as error:
            return make_problem_answer(self._explain(request, error))

    def _prepare(
        self,
        request: AdmittedRequest,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> tuple[Call, PolicyGuard]:
        """Return the call, and the guard of its change. Raises ApiRequestError."""
        operation = request.operation
        filters = dict(query)
        size, token = PAGE, None
        if operation.is_list or operation.waits:
            size = parse_page_size(filters.pop("page_size", None))
        if operation.is_list:
            token = filters.pop("page_token", None)
        is_dry_run = operation.has_preview and parse_flag(filters, "dry_run")
        resource = operation.name.partition(".")[0]
        guard = PolicyGuard(
            request.policy,
            parse_if_match(operation, headers),
            lambda transaction: make_tag(transaction, resource, request.path),
            is_dry_run,
        )
        service = self._context.make_service(request.identity.name, "api", guard)
        call = Call(
            service,
            self._settings,
            request.read_policy,
            request.access,
            self._last_sessions,
            request.path,
            parse_filters(filters, operation),
            decode_body(body, headers, operation),
            size,
            token,
            self._apps,
            lambda lines: require_unrevoked(lines, self._refused),
            self._step_up,
            request.identity,
            self._requests,
        )
        return call, guard

    async def _run(self, request: AdmittedRequest, call: Call, guard: PolicyGuard) -> ApiAnswer:
        """Run the operation. If the policy changes before it, judge the caller by the new one first."""
        async with self._change_lock if request.operation.changes_policy else nullcontext():
            for _ in range(TRIES):
                try:
                    return await self._run_now(request, call, guard)
                except StalePolicyError:
                    request, call = await self._judge_again(request, call)
                    guard.policy = request.policy
        line = "the policy changed at each attempt, so nothing was done; try again"
        return make_problem_answer(make_problem(503, "busy", line))

    async def _judge_again(
        self, request: AdmittedRequest, call: Call
    ) -> tuple[AdmittedRequest, Call]:
        """Return both by the newest policy. Raises DeniedError, StoreError."""
        request = await self._judge(request.identity, request.operation, request.path)
        return request, replace(call, read_policy=request.read_policy, access=request.access)

    async def _run_now(self, request: AdmittedRequest, call: Call, guard: PolicyGuard) -> ApiAnswer:
        operation = request.operation
        until = time.monotonic() + (call.filters.wait if operation.waits else 0)
        tag = await asyncio.to_thread(self._read_tag, guard) if operation.is_tagged else None
        handler = self._handlers[operation.name]
        try:
            if iscoroutinefunction(handler):
                return make_answer(operation.status, await handler(call))
            answer = await asyncio.to_thread(handler, call)
            while operation.waits and not answer and time.monotonic() < until:
                await asyncio.sleep(FOLLOW_S)
                if await asyncio.to_thread(handler, call):
                    # The caller may have lost the right to read it.
                    request, call = await self._judge_again(request, call)
                    answer = await asyncio.to_thread(handler, call)
        except DryRunError as done:
            now = self._now()
            preview = await asyncio.to_thread(make_preview, guard.policy, done.after, now)
            return make_answer(200, preview)
        if isinstance(answer, FileAnswer):
            return self._send(request.identity, answer)
        if operation.is_tagged and operation.method == "PUT":
            tag = await asyncio.to_thread(self._read_tag, guard)
        headers = {} if tag is None or operation.method == "DELETE" else {"ETag": tag}
        return make_answer(operation.status, answer, headers)

    def _send(self, identity: Identity, answer: FileAnswer) -> ApiAnswer:
        """Return a file, which ends early if the caller's credential or right ends."""

        def is_still_allowed() -> bool:
            policy = self._policy()
            proof = policy.check_credential(identity, self._now())
            return not isinstance(proof, Denial) and answer.is_still_allowed(policy)

        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f'attachment; filename="{answer.path.name}"',
        }
        return ApiAnswer(
            200, b"", headers, file=FileStream(answer.path, answer.size, is_still_allowed)
        )

    def _read_tag(self, guard: PolicyGuard) -> str | None:
        with self._database.read() as transaction:
            return guard.make_tag(transaction)

    async def _run_idempotent(
        self,
        request: AdmittedRequest,
        call: Call,
        guard: PolicyGuard,
        key: str,
        query: Mapping[str, str],
        body: bytes,
    ) -> ApiAnswer:
        """Run the request, or return the earlier answer if it was run before."""
        what = msgspec.json.encode(
            [request.operation.name, dict(request.path), sorted(query.items())]
        )
        digest = hashlib.sha256(what + b"\0" + body).digest()
        before = await asyncio.to_thread(
            answers.begin_request, self._database, key, digest, self._now()
        )
        if before is not None:
            return answer_again(before, digest)
        try:
            answer = await self._run(request, call, guard)
        except RAISED as error:
            problem = self._explain(request, error)
            if problem.status < 500:
                await asyncio.to_thread(answers.forget_request, self._database, key)
            raise
        if answer.status >= 400:  # nothing was done
            await asyncio.to_thread(answers.forget_request, self._database, key)
            return answer
        is_kept = not request.operation.has_secret and len(answer.body) <= _KEPT_BYTES
        stored = answer.body if is_kept else None
        await asyncio.to_thread(answers.finish_request, self._database, key, answer.status, stored)
        return answer

    def _explain(self, request: AdmittedRequest, error: BaseException) -> Problem:
        return from_error(error, shows_fix=request.access.has(Role.AUDITOR))


def check_scope(identity: Identity, operation: Operation) -> Denial | None:
    """Return why this credential may not be used for an operation, or None.

    A token needs the explicit scope, since tokens without scopes are for entering apps.
    """
    if identity.is_person or (identity.method is Method.MACHINE and identity.scopes is None):
        is_program = not identity.is_person
    elif identity.method is Method.TOKEN:
        is_program = True
        if not set(operation.scopes) & set(identity.scopes or ()):
            scope = operation.scopes[-1]
            return Denial.with_fix(
                Reason.NO_GRANT,
                f"this token lacks the scope {scope}",
                f"make one with: stagedoor token create {identity.name} --scope {scope}",
                "ask an administrator for a token with it",
            )
    else:
        return Denial(
            Reason.NO_GRANT, "this credential is not for the API; sign in, or use a token"
        )
    if is_program and operation.is_for_person:
        return Denial(
            Reason.NO_GRANT,
            "only a person who has signed in can do that, not a program",
        )
    return None
