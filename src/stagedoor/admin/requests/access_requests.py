"""Request rules and access requests. Each function over an opened store is one audited act."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from stagedoor.admin.checks import check_pattern, check_subject
from stagedoor.admin.service import AdminService
from stagedoor.model.access_request import (
    LONGEST_BREAK_GLASS_S,
    LONGEST_S,
    MAX_REASON_CHARS,
    MAX_TARGETS,
    REQUEST_PENDING_S,
    AccessRequest,
    Decision,
    RequestRule,
    RequestState,
    approve,
    begin,
    check_reason,
    check_start,
    check_time,
    end,
    explain_over,
    explain_own,
    follow,
    judge,
    show_period,
)
from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.model.event import Plain
from stagedoor.model.permission import Permission, to_words
from stagedoor.model.selector import ALL_USERS
from stagedoor.model.target import Target
from stagedoor.store import access_requests as store
from stagedoor.store.database import Transaction
from stagedoor.store.people import require_named_users
from stagedoor.store.policy import read_subjects
from stagedoor.store.sign_in.identities import hash_accounts
from stagedoor.wire.oneline import fold, to_one_line
from stagedoor.wire.rfc3339 import show_time


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request with the decisions on it, the oldest first."""

    request: AccessRequest
    decisions: Sequence[Decision]


class ApproverError(RefusedError):
    """Raised if a person tries to decide on their own request."""


# Rules.


def add_rule(service: AdminService, rule: RequestRule) -> RequestRule:
    """Add a rule, and return it with its number. Raises NotFoundError, RefusedError, StoreError."""
    check_rule(rule)
    with service.change("request.rule.add") as change:
        require_named_users(change.transaction, rule.subjects)
        number = store.add_request_rule(change.transaction, rule, service.clock())
        change.fields |= describe_rule(number, rule)
    return replace(rule, id=number)


def check_rule(rule: RequestRule) -> None:
    """Raise RefusedError unless the rule may be stored."""
    check_pattern(rule.pattern)
    for subject in rule.subjects:
        check_subject(subject)
    most_s = LONGEST_BREAK_GLASS_S if rule.is_break_glass else LONGEST_S
    if not 0 < rule.longest_s <= most_s:
        raise RefusedError(f"access by this rule lasts {show_period(most_s)} at most")
    if Permission.ENTER not in rule.permissions:
        raise RefusedError("a request is for entering; leave `enter` in")
    if ALL_USERS in rule.subjects[1:]:
        raise RefusedError("name the approvers: group:NAME or user:NAME, not all users")
    if bool(rule.later_approvers) != (rule.later_s > 0) or rule.later_s >= REQUEST_PENDING_S:
        raise RefusedError(
            "name later approvers together with the time after which they decide too, less than "
            f"{show_period(REQUEST_PENDING_S)}"
        )
    if rule.later_approvers and not rule.approvals:
        raise RefusedError("a request that is approved at once has no later approvers")
    if rule.is_break_glass:
        if rule.approvals:
            raise RefusedError("break-glass approves at once; give no number of approvals")
        if not rule.approvers:
            raise RefusedError("name the approvers who review each use of break-glass")
        return
    if rule.approvals < 0 or bool(rule.approvals) != bool(rule.approvers):
        raise RefusedError("name the approvers, or let it approve at once with 0 approvals")
    groups = any(approver.startswith("group:") for approver in rule.subjects[1:])
    if rule.approvals >= len(rule.subjects) and not groups:
        raise RefusedError(f"{rule.approvals} approvals need as many approvers")


def remove_rule(service: AdminService, number: int) -> RequestRule:
    """Remove a rule and return it. Sessions that were approved by it end within seconds.

    Raises NotFoundError, StoreError.
    """
    with service.change("request.rule.remove", revokes=True) as change:
        rule = store.remove_request_rule(change.transaction, number)
        change.fields |= describe_rule(number, rule)
    return rule


# Requests.


def make_request(
    service: AdminService,
    user: str,
    targets: Sequence[Target],
    rule: RequestRule,
    reason: str,
    lasts_s: float | None = None,
    starts_at: float | None = None,
) -> AccessRequest:
    """Make a request of `user` by `rule`, which covers `targets`, and return it.

    Access begins at `starts_at` at the earliest (None: now). If a request for the same is pending, return
    that instead, so that 50 hosts of one program make one request. Raises RefusedError, StoreError.
    """
    wanted = tuple(sorted(set(targets), key=lambda target: target.login_name))
    if not 0 < len(wanted) <= MAX_TARGETS:
        raise RefusedError(f"a request names 1 to {MAX_TARGETS} apps")
    now = service.clock()
    starts_at = check_start(rule, starts_at, now)
    request = AccessRequest(
        0,
        user,
        wanted,
        rule.permissions,
        rule.id,
        check_reason(reason, rule.reason_pattern),
        check_time(rule, lasts_s),
        now,
        max(now, starts_at or now) + REQUEST_PENDING_S,
        is_break_glass=rule.is_break_glass,
        starts_at=starts_at,
    )
    with service.database.read() as reading:
        if (pending := _find_same(reading, request)) is not None:
            return pending
    with service.change("request.make") as change:
        transaction = change.transaction
        # Checked again, since another host of the same program may have been faster.
        if (pending := _find_same(transaction, request)) is not None:
            change.unchanged = True
            change.fields |= _request_fields(pending)
            return pending
        if rule.is_break_glass and store.has_unreviewed(transaction, user):
            raise RefusedError(
                "your last use of break-glass has not been reviewed; an approver reviews it first"
            )
        request = replace(request, accounts=hash_accounts(transaction, user))
        request = _follow(transaction, judge(request, rule, (), lambda _: False, now), now)
        request = replace(request, id=store.add_request(transaction, request))
        change.fields |= _request_fields(request)
    return request


def _follow(transaction: Transaction, request: AccessRequest, now: float) -> AccessRequest:
    """Return the request, which begins when the one that it extends ends. Raises RefusedError."""
    if request.state is not RequestState.APPROVED:
        return request
    others = store.list_requests(transaction, open_only=True, user=request.user)
    return follow(request, others, now)


def _find_same(transaction: Transaction, wanted: AccessRequest) -> AccessRequest | None:
    """Return the pending request of the same user for the same, or None."""
    for request in store.list_requests(transaction, open_only=True, user=wanted.user):
        is_same = (request.targets, request.rule, request.starts_at) == (
            wanted.targets, wanted.rule, wanted.starts_at,
        )  # fmt: skip
        if is_same and request.find_state(wanted.created_at) is RequestState.PENDING:
            return request
    return None


def decide(
    service: AdminService,
    number: int,
    *,
    approver: str | None = None,
    is_yes: bool,
    lasts_s: float | None = None,
    note: str = "",
) -> AccessRequest:
    """Decide on a pending request, and return it. `approver` None stands for an administrator.

    The caller has checked that a person decides (`authz.access_request.check_decider`). The users who voted
    must still be approvers. An administrator's decision needs no other vote. Raises ApproverError,
    NotFoundError, RefusedError, StoreError.
    """
    with service.change("request.approve" if is_yes else "request.deny") as change:
        transaction, now = change.transaction, service.clock()
        request = _require(store.find_request(transaction, number), number)
        if approver is not None:
            _require_another(transaction, request, approver)
        if request.find_state(now) is not RequestState.PENDING:
            raise RefusedError(explain_over(request, now))
        rule = store.read_request_rules(transaction, [request.rule]).get(request.rule)
        if rule is None:
            raise RefusedError(f"the rule of request {number} was removed, so it gives no access")
        if lasts_s is not None and not 0 < lasts_s <= request.lasts_s:
            raise RefusedError(f"request {number} is for {show_period(request.lasts_s)} at most")
        note = to_one_line(fold(note), MAX_REASON_CHARS)
        decision = Decision(approver or service.actor, now, is_yes, lasts_s, note)
        store.put_decision(transaction, number, decision)
        if approver is not None:
            may_decide = partial(_is_approver, transaction, rule, now - request.created_at)
            if not may_decide(approver):
                raise RefusedError(_explain_not_approver(transaction, rule, request, approver))
            decisions = store.list_decisions(transaction, number)
            after = judge(request, rule, decisions, may_decide, now)
        elif is_yes:
            after = approve(request, lasts_s or request.lasts_s, now)
        else:
            after = replace(request, state=RequestState.DENIED)
        after = _follow(transaction, after, now)
        store.update_request(transaction, after)
        change.fields |= _request_fields(after)
    return after


def record_refusal(service: AdminService, request: AccessRequest, why: str) -> None:
    """Audit a refused decision or review, such as one on the approver's own request. Raises StoreError."""
    with service.change("request.refused") as change:
        change.unchanged = True
        change.fields |= {**_request_fields(request), "why": why}


def _require_another(transaction: Transaction, request: AccessRequest, approver: str) -> None:
    """Raise ApproverError if the approver is the requester, or has an account of the requester's."""
    accounts = request.accounts | hash_accounts(transaction, request.user)
    if approver == request.user or not accounts.isdisjoint(hash_accounts(transaction, approver)):
        raise ApproverError(explain_own(request))


def _is_approver(transaction: Transaction, rule: RequestRule, waited_s: float, name: str) -> bool:
    return rule.may_decide(read_subjects(transaction, name), waited_s)


def _explain_not_approver(
    transaction: Transaction, rule: RequestRule, request: AccessRequest, name: str
) -> str:
    if rule.may_decide(read_subjects(transaction, name)):
        at = show_time(request.created_at + rule.later_s)
        return f"you may decide on request {request.id} from {at} on"
    return f"you are not an approver of request {request.id}"


def leave_request(service: AdminService, number: int, *, user: str | None = None) -> AccessRequest:
    """Withdraw a pending request, or end an approved one; with `user`, only a request of that user.

    Sessions that depend on it end within seconds. Raises NotFoundError, RefusedError, StoreError.
    """
    with service.change("request.end", revokes=True) as change:
        request = _require(store.find_request(change.transaction, number), number, user)
        request = end(request, service.clock())
        store.update_request(change.transaction, request)
        change.fields |= _request_fields(request)
    return request


def begin_request(service: AdminService, number: int) -> AccessRequest:
    """Start the time of an approved request, at the first entry. Raises NotFoundError, StoreError."""
    with service.change("request.begin") as change:
        before = _require(store.find_request(change.transaction, number), number)
        request = begin(before, service.clock())
        change.unchanged = request is before
        if request is not before:
            store.update_request(change.transaction, request)
        change.fields |= _request_fields(request)
    return request


def review_request(
    service: AdminService, number: int, approver: str | None = None
) -> AccessRequest:
    """Record the review of a use of break-glass. `approver` None stands for an administrator.

    Raises ApproverError, NotFoundError, RefusedError, StoreError.
    """
    with service.change("request.review") as change:
        request = _require(store.find_request(change.transaction, number), number)
        if approver is not None:
            _require_another(change.transaction, request, approver)
        if not request.needs_review:
            raise RefusedError(f"request {number} needs no review")
        request = replace(request, reviewed_by=approver or service.actor)
        store.update_request(change.transaction, request)
        change.fields |= _request_fields(request)
    return request


def read_request(service: AdminService, number: int) -> RequestRecord:
    """Return a request with its decisions. Raises NotFoundError, StoreError."""
    with service.database.read() as transaction:
        request = _require(store.find_request(transaction, number), number)
        return RequestRecord(request, store.list_decisions(transaction, number))


def list_requests(service: AdminService, *, open_only: bool) -> Sequence[AccessRequest]:
    """Return the requests, the newest first.

    With `open_only`, they are those that are pending or approved now, and those that need a review. Raises
    StoreError.
    """
    now = service.clock()
    with service.database.read() as transaction:
        requests = store.list_requests(transaction, open_only=open_only)
    is_open = (RequestState.PENDING, RequestState.APPROVED)
    return [r for r in requests if not open_only or r.needs_review or r.find_state(now) in is_open]


def _require(request: AccessRequest | None, number: int, user: str | None = None) -> AccessRequest:
    if request is None or user not in (None, request.user):
        raise NotFoundError.of(f"request {number}", "request list --all")
    return request


def describe_rule(number: int, rule: RequestRule) -> dict[str, Plain]:
    """Return the fields of a rule in its audit events."""
    later = " ".join(rule.later_approvers)
    return {
        "rule": number,
        "subject": rule.subject,
        "app": rule.app_pattern,
        "environment": rule.environment_pattern,
        "permissions": to_words(rule.permissions),
        "longest_s": rule.longest_s,
        "approvers": " ".join(rule.approvers),
        "approvals": rule.approvals,
        "break_glass": rule.is_break_glass,
        **({} if rule.hours is None else {"hours": rule.hours.text}),
        **({"later_approvers": later, "later_s": rule.later_s} if later else {}),
    }


def _request_fields(request: AccessRequest) -> dict[str, Plain]:
    return {
        "request": request.id,
        "user": request.user,
        "apps": request.apps,
        "rule": request.rule,
        "reason": request.reason,
        "lasts_s": request.lasts_s,
        "state": request.state.value,
        "break_glass": request.is_break_glass,
        **({} if request.starts_at is None else {"starts_at": show_time(request.starts_at)}),
    }
