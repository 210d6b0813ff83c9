"""The answers of the API: documents, files and problems, without HTTP's connection."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from stagedoor.api.problems import from_denial, make_problem
from stagedoor.api.views import show_difference
from stagedoor.authz.access_difference import list_differences
from stagedoor.model.denial import Denial
from stagedoor.model.policy import Policy
from stagedoor.store.administration import answers
from stagedoor.wire.api.types import Preview, Problem


@dataclass(frozen=True, slots=True)
class FileStream:
    """A file to send, piece by piece, as long as `is_still_allowed` returns True."""

    path: Path
    size: int
    is_still_allowed: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """An answer of the API: a status, its JSON document, and further headers.

    A refusal has its `problem`, and its `denial` for the audit if the caller lacks a right. A `file` follows
    in place of `body`.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]
    denial: Denial | None = None
    problem: Problem | None = None
    file: FileStream | None = None


def make_problem_answer(problem: Problem) -> ApiAnswer:
    """Return a problem as an answer."""
    headers = {"Content-Type": "application/problem+json"}
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="Stagedoor"'
    if problem.status in (429, 503):
        headers["Retry-After"] = "5"
    return ApiAnswer(problem.status, msgspec.json.encode(problem), headers, problem=problem)


def make_denial_answer(denial: Denial, step: str | None = None) -> ApiAnswer:
    """Return a denial as an answer. `step` is what the person does first."""
    problem = msgspec.structs.replace(from_denial(denial), step=step)
    return replace(make_problem_answer(problem), denial=denial)


def make_answer(status: int, value: object, headers: Mapping[str, str] | None = None) -> ApiAnswer:
    """Return a value as an answer."""
    named = {"Content-Type": "application/json", **(headers or {})}
    return ApiAnswer(status, msgspec.json.encode(value), named)


def make_path_refusal(methods: list[str]) -> ApiAnswer:
    """Return the refusal of a path that has only these methods, or none."""
    if not methods:
        return make_problem_answer(make_problem(404, "not_found", "the API has no such path"))
    allowed = ", ".join(methods)
    answer = make_problem_answer(make_problem(405, "bad_method", f"this path has only {allowed}"))
    return replace(answer, headers={**answer.headers, "Allow": allowed})


def make_preview(before: Policy, after: Policy, now: float) -> Preview:
    """Return who would gain and who would lose by the policy `after`."""
    differences = list(list_differences(before, after, now))
    gains = [show_difference(d) for d in differences if d.is_gain]
    return Preview(gains, [show_difference(d) for d in differences if not d.is_gain])


def answer_again(before: answers.StoredAnswer, digest: bytes) -> ApiAnswer:
    """Return the stored answer to a repeated request, or why there is none."""
    if before.request != digest:
        line = "this Idempotency-Key was sent with another request; use a new one"
        problem = make_problem(422, "key_reused", line)
    elif before.status is None:
        line = "this request is being handled, or was cut off; check whether it was done"
        problem = make_problem(409, "outcome_unknown", line)
    elif before.body is None:
        line = "this was done before, and its answer was not kept: it was long, or had a secret"
        problem = make_problem(409, "done_before", line)
    else:
        return ApiAnswer(before.status, before.body, {"Content-Type": "application/json"})
    return make_problem_answer(problem)
