"""Applying an access set to the policy, in one transaction that is audited row by row."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from stagedoor.admin.apply.plan import Action, ApplyOptions, Plan, RowChange, plan_changes
from stagedoor.admin.apply.rights import RightsChange, compare_rights, has_user, list_after
from stagedoor.admin.requests.access_requests import describe_rule
from stagedoor.admin.service import AdminService, describe_grant
from stagedoor.model.access_request import RequestRule
from stagedoor.model.access_set import Row, RowKind
from stagedoor.model.errors import RefusedError, StoreError
from stagedoor.model.event import Plain
from stagedoor.model.grant import GrantRule
from stagedoor.store.changes import read_policy_version
from stagedoor.store.sets.rows import RowSnapshot, add_rows, read_rows, remove_rows, update_rows

_TRIES = 5
"""How many times a plan is made again because the policy has changed meanwhile."""


@dataclass(frozen=True, slots=True)
class ApplyOutcome:
    """A plan, the users who gain and lose by it, and whether it was executed."""

    plan: Plan
    rights: Sequence[RightsChange]
    is_applied: bool


def apply_set(
    service: AdminService,
    name: str,
    declared: Sequence[Row],
    options: ApplyOptions,
    check: Callable[[Sequence[RowChange]], None] = lambda changes: None,
    *,
    is_dry_run: bool = False,
) -> ApplyOutcome:
    """Change the rows of the set `name` to the declared ones, all or none.

    A plan with problems, and that of a dry run, is returned, and nothing is written. `check` raises for
    changes that the caller may not make. The plan is made before the transaction, so that logins wait only
    for the writing. Raises RefusedError, StoreError.
    """
    for _ in range(_TRIES):
        stored = _read(service)
        outcome = _plan(stored, name, declared, options, service.clock())
        check(outcome.plan.changes)
        if is_dry_run or outcome.plan.problems or not outcome.plan.changes:
            return outcome
        if _write(service, stored.version, name, outcome.plan.changes):
            return replace(outcome, is_applied=True)
    raise StoreError(
        "the policy changed during each attempt; nothing was written; run the command again"
    )


class _OvertakenError(Exception):
    """Raised if the policy has changed since the plan was made."""


def _read(service: AdminService) -> RowSnapshot:
    with service.database.read() as transaction:
        return read_rows(transaction)


def _plan(
    stored: RowSnapshot, name: str, declared: Sequence[Row], options: ApplyOptions, now: float
) -> ApplyOutcome:
    plan = plan_changes(name, declared, stored.rows, options, now)
    _keep_administrator(stored, plan, now)
    rights = compare_rights(stored.rows, plan.changes, stored.provided, now)
    return ApplyOutcome(plan, rights, False)


def _keep_administrator(stored: RowSnapshot, plan: Plan, now: float) -> None:
    """Raise RefusedError if the plan would remove the last administrator."""
    holders = frozenset(
        rule.subject
        for rule in stored.administrators
        if rule.expires_at is None or rule.expires_at > now
    )
    had_one, has_one = (
        has_user(rows, stored.provided, holders, stored.disabled)
        for rows in (stored.rows, list_after(stored.rows, plan.changes))
    )
    if had_one and not has_one:
        raise RefusedError(
            "this would remove the last administrator: keep a user with that role "
            f"({', '.join(sorted(holders))})"
        )


def _write(service: AdminService, version: int, name: str, changes: Sequence[RowChange]) -> bool:
    """Write the changes, unless the policy has changed since `version`. Return whether they were written."""
    only_removes = all(change.action is Action.REMOVE for change in changes)
    try:
        with service.change("apply", revokes=only_removes) as change:
            if read_policy_version(change.transaction) != version:
                raise _OvertakenError
            remove_rows(change.transaction, list(_removed(changes)), name)
            update_rows(change.transaction, list(_changed(changes)))
            added = [c.row for c in changes if c.action is Action.ADD or _is_replaced(c)]
            numbers = add_rows(change.transaction, added, service.clock())
            change.parts += _describe(changes, numbers)
            counts = Counter(c.action.value for c in changes)
            change.unchanged = counts.keys().isdisjoint(("add", "change", "remove"))
            change.fields |= {"set": name, **counts}
    except _OvertakenError:
        return False
    return True


def _is_replaced(change: RowChange) -> bool:
    """Return whether the change removes a row and adds another: request rules never change."""
    return change.action is Action.CHANGE and change.row.kind is RowKind.REQUEST_RULE


def _removed(changes: Iterable[RowChange]) -> Iterable[Row]:
    for change in changes:
        if change.action is Action.REMOVE:
            yield change.row
        elif _is_replaced(change) and change.before is not None:
            yield change.before


def _changed(changes: Iterable[RowChange]) -> Iterable[Row]:
    for change in changes:
        before = change.before
        if before is None or change.action is Action.REMOVE or _is_replaced(change):
            continue
        if change.action is Action.RELEASE:
            yield replace(before, owner=None)
        elif change.action is Action.CHANGE and change.row.rule is not None:
            yield replace(change.row, rule=replace(change.row.rule, id=before.number))
        else:
            yield replace(before, owner=change.row.owner)


_ACTS = {
    (RowKind.USER, Action.ADD): "user.add",
    (RowKind.USER, Action.REMOVE): "user.remove",
    (RowKind.MEMBER, Action.ADD): "group.add",
    (RowKind.MEMBER, Action.REMOVE): "group.remove",
    (RowKind.GRANT, Action.ADD): "grant.add",
    (RowKind.GRANT, Action.CHANGE): "grant.change",
    (RowKind.GRANT, Action.REMOVE): "grant.remove",
    (RowKind.REQUEST_RULE, Action.ADD): "request.rule.add",
    (RowKind.REQUEST_RULE, Action.CHANGE): "request.rule.change",
    (RowKind.REQUEST_RULE, Action.REMOVE): "request.rule.remove",
}
"""The actions in the audit, which are those of a change by hand where there is one."""


def _describe(changes: Iterable[RowChange], numbers: dict[Row, int]) -> Iterable[dict[str, Plain]]:
    """Return the fields of each row's audit event."""
    for change in changes:
        row, before = change.row, change.before
        action = _ACTS.get((row.kind, change.action), f"set.{change.action}")
        fields: dict[str, Plain] = {"action": action}
        number = numbers.get(row, 0 if before is None else before.number)
        match row.rule:
            case GrantRule() as rule:
                fields |= describe_grant(number, rule)
            case RequestRule() as rule:
                fields |= describe_rule(number, rule)
            case None:
                fields |= dict(zip(("user", "group"), row.key, strict=False))
        if row.owner is not None:
            fields |= {"set": row.owner.set, "file": row.owner.file}
        yield fields
