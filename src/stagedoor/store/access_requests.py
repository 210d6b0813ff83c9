"""The rows of request rules, access requests and decisions. Call what writes in a policy change."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row, delete, func, insert, select, update

from stagedoor.model.access_request import (
    AFTER_END,
    MAX_PENDING,
    MAX_PENDING_TOTAL,
    MAX_PER_HOUR,
    AccessRequest,
    Decision,
    RequestRule,
    RequestState,
)
from stagedoor.model.access_set import Owner, refuse_owned
from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.model.hours import Hours, parse_hours
from stagedoor.model.permission import from_words, to_words
from stagedoor.model.units import HOUR_S
from stagedoor.store.changes import Part, touch
from stagedoor.store.columns import find_owner, load_target
from stagedoor.store.database import Transaction
from stagedoor.store.request_tables import access_requests, request_decisions, request_rules

_OPEN = [state.value for state in AFTER_END]
_NEEDS_REVIEW = (access_requests.c.break_glass == 1) & access_requests.c.reviewed_by.is_(None)
_MAX_LISTED = 1000


def add_request_rule(transaction: Transaction, rule: RequestRule, at: float) -> int:
    """Add a rule and return its number; the number in `rule` is not used."""
    added = transaction.execute(
        insert(request_rules)
        .values(**request_rule_values(rule), created_at=at)
        .returning(request_rules.c.id)
    )
    number = int(added.scalar_one())
    touch(transaction, Part.REQUEST_RULES, [number])
    return number


def request_rule_values(rule: RequestRule) -> dict[str, Any]:
    """Return the columns of a rule, besides its number."""
    return {
        "subject": rule.subject,
        "app_pattern": rule.app_pattern,
        "environment_pattern": rule.environment_pattern,
        "permissions": to_words(rule.permissions),
        "longest_s": rule.longest_s,
        "approvers": " ".join(rule.approvers),
        "approvals": rule.approvals,
        "reason_pattern": rule.reason_pattern,
        "break_glass": int(rule.is_break_glass),
        "step_up": int(rule.needs_step_up),
        "hours": None if rule.hours is None else rule.hours.text,
        "later_approvers": " ".join(rule.later_approvers) or None,
        "later_s": rule.later_s if rule.later_approvers else None,
    }


def remove_request_rule(transaction: Transaction, number: int) -> RequestRule:
    """Remove a rule and return it. Requests approved by it give no access from now on.

    Raises NotFoundError, and RefusedError for a rule that belongs to an access set.
    """
    row = transaction.execute(
        delete(request_rules).where(request_rules.c.id == number).returning(*request_rules.c)
    ).first()
    if row is None:
        raise NotFoundError.of(f"request rule {number}", "request rule list")
    refuse_owned(f"request rule {number}", find_owner(row))
    touch(transaction, Part.REQUEST_RULES, [number])
    return request_rule_of(row)


def read_request_rules(
    transaction: Transaction, only: Collection[int] | None = None
) -> dict[int, RequestRule]:
    """Return the rules by number, or those of the numbers in `only` that exist."""
    query = select(request_rules).order_by(request_rules.c.id)
    if only is not None:
        query = query.where(request_rules.c.id.in_(only))
    return {row.id: request_rule_of(row) for row in transaction.execute(query)}


def add_request(transaction: Transaction, request: AccessRequest) -> int:
    """Add a request and return its number; the number in `request` is not used.

    Requests whose time is over are no longer kept as open. Raises RefusedError if the user has asked too
    often, or if too many requests are pending.
    """
    now = request.created_at
    _close_over(transaction, now)
    columns = access_requests.c
    pending = select(func.count()).where(columns.state == RequestState.PENDING.value)
    of_user = pending.where(columns.user_name == request.user)
    if transaction.execute(of_user).scalar_one() >= MAX_PENDING:
        raise RefusedError(
            f"{MAX_PENDING} requests of yours are pending; withdraw one, or wait for a decision"
        )
    if transaction.execute(pending).scalar_one() >= MAX_PENDING_TOTAL:
        raise RefusedError("too many requests of all users are pending; try again later")
    lately = select(func.count()).where(
        columns.user_name == request.user, columns.created_at > now - HOUR_S
    )
    if transaction.execute(lately).scalar_one() >= MAX_PER_HOUR:
        raise RefusedError(f"you have asked {MAX_PER_HOUR} times within an hour; try again later")
    added = transaction.execute(
        insert(access_requests)
        .values(
            user_name=request.user,
            targets=" ".join(target.login_name for target in request.targets),
            permissions=to_words(request.permissions),
            # An older program would let the user in at once. As it finds no rule, it does not.
            rule=request.rule if request.starts_at is None else -request.rule,
            reason=request.reason,
            created_at=request.created_at,
            accounts=" ".join(sorted(request.accounts)),
            break_glass=int(request.is_break_glass),
            starts_at=request.starts_at,
            **_changing(request),
        )
        .returning(columns.id)
    )
    number = int(added.scalar_one())
    touch(transaction, Part.REQUESTS, [number])
    return number


def update_request(transaction: Transaction, request: AccessRequest) -> None:
    """Store the new state of a request. A store makes its changes one after the other."""
    transaction.execute(
        update(access_requests)
        .where(access_requests.c.id == request.id)
        .values(**_changing(request))
    )
    touch(transaction, Part.REQUESTS, [request.id])


def find_request(transaction: Transaction, number: int) -> AccessRequest | None:
    """Return the request with that number, or None."""
    query = select(access_requests).where(access_requests.c.id == number)
    row = transaction.execute(query).first()
    return None if row is None else _request(row)


def list_requests(
    transaction: Transaction, *, open_only: bool, user: str | None = None
) -> list[AccessRequest]:
    """Return the latest thousand requests of all users, or of one user, the newest first.

    With `open_only`, return those stored as pending or approved, some of which may be over by now, and those
    that need a review.
    """
    query = select(access_requests).order_by(access_requests.c.id.desc()).limit(_MAX_LISTED)
    if open_only:
        query = query.where(access_requests.c.state.in_(_OPEN) | _NEEDS_REVIEW)
    if user is not None:
        query = query.where(access_requests.c.user_name == user)
    return [_request(row) for row in transaction.execute(query)]


def read_open_requests(
    transaction: Transaction, only: Collection[int] | None = None
) -> dict[int, AccessRequest]:
    """Return the pending and approved requests by number, or those of the numbers in `only`."""
    query = select(access_requests).where(access_requests.c.state.in_(_OPEN))
    if only is not None:
        query = query.where(access_requests.c.id.in_(only))
    query = query.order_by(access_requests.c.id)
    return {row.id: _request(row) for row in transaction.execute(query)}


def read_rule_uses(transaction: Transaction) -> Mapping[int, tuple[float, str]]:
    """For each rule that has been used, return when it was last used for a request, and by which user."""
    columns = access_requests.c
    newest = select(func.max(columns.id)).group_by(func.abs(columns.rule))
    query = select(access_requests).where(columns.id.in_(newest))
    requests = [_request(row) for row in transaction.execute(query)]
    return {request.rule: (request.created_at, request.user) for request in requests}


def has_unreviewed(transaction: Transaction, user: str) -> bool:
    """Return whether a use of break-glass by this user still needs its review."""
    query = select(access_requests.c.id).where(access_requests.c.user_name == user, _NEEDS_REVIEW)
    return transaction.execute(query.limit(1)).first() is not None


def put_decision(transaction: Transaction, number: int, decision: Decision) -> None:
    """Store an approver's decision on a request. It replaces an earlier one by the same approver."""
    transaction.execute(
        delete(request_decisions).where(
            request_decisions.c.request == number,
            request_decisions.c.approver == decision.approver,
        )
    )
    transaction.execute(
        insert(request_decisions).values(
            request=number,
            approver=decision.approver,
            at=decision.at,
            is_yes=int(decision.is_yes),
            lasts_s=decision.lasts_s,
            note=decision.note,
        )
    )


def list_decisions(transaction: Transaction, number: int) -> Sequence[Decision]:
    """Return the decisions on a request, the oldest first."""
    query = (
        select(request_decisions)
        .where(request_decisions.c.request == number)
        .order_by(request_decisions.c.at)
    )
    return [
        Decision(row.approver, row.at, bool(row.is_yes), row.lasts_s, row.note)
        for row in transaction.execute(query)
    ]


def end_requests_of(transaction: Transaction, user: str) -> None:
    """End all access that a removed user had requested, so that no later user of the name gets it.

    Their open requests end, their votes on other open requests are dropped, and their name is removed from
    the rules. A rule with no other subject or approver is removed.
    """
    mine, is_open = access_requests.c.user_name == user, access_requests.c.state.in_(_OPEN)
    _set_state(transaction, RequestState.ENDED, mine & is_open)
    transaction.execute(
        delete(request_decisions).where(
            request_decisions.c.approver == user,
            request_decisions.c.request.in_(select(access_requests.c.id).where(is_open)),
        )
    )
    subject = f"user:{user}"
    for rule in read_request_rules(transaction).values():
        if subject not in rule.subjects:
            continue
        left = replace(
            rule,
            approvers=tuple(a for a in rule.approvers if a != subject),
            later_approvers=tuple(a for a in rule.later_approvers if a != subject),
        )
        here = request_rules.c.id == rule.id
        if rule.subject == subject or (rule.approvers and not left.approvers):
            transaction.execute(delete(request_rules).where(here))
        else:
            values = request_rule_values(left)
            transaction.execute(update(request_rules).where(here).values(values))
        touch(transaction, Part.REQUEST_RULES, [rule.id])


def find_owned_rules(transaction: Transaction, subject: str) -> Iterable[tuple[int, Owner]]:
    """Yield the numbers of the rules of access sets that name `subject`, each with its owner."""
    for row in transaction.execute(select(request_rules)):
        owner = find_owner(row)
        if owner is not None and subject in request_rule_of(row).subjects:
            yield row.id, owner


def remove_old_requests(transaction: Transaction, before: float) -> None:
    """Remove the requests that were over before a time, with their decisions, as the audit forgets them."""
    is_over = access_requests.c.state.not_in(_OPEN) & ~_NEEDS_REVIEW
    transaction.execute(delete(access_requests).where(is_over, access_requests.c.ends_at < before))


def _close_over(transaction: Transaction, now: float) -> None:
    """Store the states that requests have reached because of the time, so that workers need not keep them."""
    is_over = access_requests.c.ends_at <= now
    for before, after in AFTER_END.items():
        _set_state(transaction, after, is_over & (access_requests.c.state == before.value))


def _set_state(transaction: Transaction, state: RequestState, where: Any) -> None:
    changed: Iterable[int] = (
        transaction.execute(
            update(access_requests)
            .where(where)
            .values(state=state.value)
            .returning(access_requests.c.id)
        )
        .scalars()
        .all()
    )
    touch(transaction, Part.REQUESTS, changed)


def _changing(request: AccessRequest) -> dict[str, Any]:
    """Return the columns that may change while a request exists."""
    return {
        "lasts_s": request.lasts_s,
        "ends_at": request.ends_at,
        "state": request.state.value,
        "began_at": request.began_at,
        "reviewed_by": request.reviewed_by,
    }


def request_rule_of(row: Row[Any]) -> RequestRule:
    """Return the rule in a row of `request_rules`."""
    return RequestRule(
        row.id,
        row.subject,
        row.app_pattern,
        row.environment_pattern,
        from_words(row.permissions),
        row.longest_s,
        tuple(row.approvers.split()),
        row.approvals,
        row.reason_pattern,
        bool(row.break_glass),
        bool(row.step_up),
        None if row.hours is None else _hours(row.hours),
        tuple((row.later_approvers or "").split()),
        row.later_s or 0.0,
        row.owner_set,
    )


def _hours(text: str) -> Hours:
    """Return the hours of a rule. Hours in a time zone that this machine does not know never begin."""
    try:
        return parse_hours(text)
    except ValueError:
        return Hours(text, frozenset(), 0, 0, ZoneInfo("UTC"))


def _request(row: Row[Any]) -> AccessRequest:
    return AccessRequest(
        row.id,
        row.user_name,
        tuple(load_target(name) for name in row.targets.split()),
        from_words(row.permissions),
        abs(row.rule),
        row.reason,
        row.lasts_s,
        row.created_at,
        row.ends_at,
        frozenset(row.accounts.split()),
        bool(row.break_glass),
        RequestState(row.state),
        row.began_at,
        row.reviewed_by,
        row.starts_at,
    )
