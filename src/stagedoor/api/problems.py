"""Refusals as problems (RFC 9457), each with its HTTP status."""

from http import HTTPStatus

from stagedoor.admin.guard import PreconditionError
from stagedoor.api.call import DeniedError, PageTokenError
from stagedoor.model.denial import Denial
from stagedoor.model.errors import (
    ConflictError,
    NotFoundError,
    RefusedError,
    StagedoorError,
    StoreError,
)
from stagedoor.wire.api.types import FieldProblem, Problem
from stagedoor.wire.http.answer import choose_server_status

_OF_ERRORS: tuple[tuple[type[StagedoorError], int, str], ...] = (
    (PageTokenError, 400, "bad_page_token"),
    (NotFoundError, 404, "not_found"),
    (ConflictError, 409, "conflict"),
    (RefusedError, 422, "refused"),
    (StoreError, 503, "store_unavailable"),
    (StagedoorError, 503, "unavailable"),
)
RAISED: tuple[type[Exception], ...] = (
    DeniedError,
    PreconditionError,
    *(kind for kind, _, _ in _OF_ERRORS),
)
"""The exceptions of an operation that become problems."""


def make_problem(
    status: int,
    reason: str,
    detail: str,
    *,
    fix: str | None = None,
    pointer: str | None = None,
) -> Problem:
    """Return a problem. `pointer` names the value of the body that is wrong."""
    errors = [] if pointer is None else [FieldProblem(pointer, detail)]
    return Problem(HTTPStatus(status).phrase, status, detail, reason, fix, errors)


def from_denial(denial: Denial) -> Problem:
    """Return a denial as a problem. Its detail is the line for the person."""
    status = choose_server_status(denial.reason)
    return make_problem(status, denial.reason.value, denial.line)


def from_error(error: BaseException, *, shows_fix: bool) -> Problem:
    """Return an operation's exception as a problem. `shows_fix` adds what an administrator can do."""
    if isinstance(error, DeniedError):
        return from_denial(error.denial)
    if isinstance(error, PreconditionError):
        return make_problem(
            412, "changed_meanwhile", "it was changed since you read it; read it again, then repeat"
        )
    assert isinstance(error, StagedoorError), "other exceptions are faults"
    status, reason = next((s, r) for kind, s, r in _OF_ERRORS if isinstance(error, kind))
    whole = str(error)
    fix = whole if shows_fix and whole != error.public else None
    return make_problem(status, reason, error.public, fix=fix)
