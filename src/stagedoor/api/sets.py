"""The operation that applies the users, grants and request rules that files declare."""

from collections.abc import Iterable, Mapping, Sequence

from stagedoor.admin.apply.act import ApplyOutcome, apply_set
from stagedoor.admin.apply.files import DeclaredSet, parse_set
from stagedoor.admin.apply.plan import Action, ApplyOptions, RowChange
from stagedoor.admin.apply.rights import Right, list_words
from stagedoor.api.call import Call, DeniedError, Handler, require_allowed
from stagedoor.api.people import JOINS_NONE
from stagedoor.authz.roles import (
    AdminAccess,
    check_giving,
    check_leaving,
    check_leaving_groups,
    check_request_rule,
    check_taking,
)
from stagedoor.model.access_request import RequestRule
from stagedoor.model.access_set import Row, RowKind
from stagedoor.model.errors import RefusedError
from stagedoor.model.grant import GrantRule
from stagedoor.model.role import Role
from stagedoor.wire.api import inputs as i
from stagedoor.wire.api import reports as r


def apply_files(call: Call) -> r.SetOutcome:
    """Apply the users, grants and request rules that files declare, or show what that would change.

    It makes no change that another operation would refuse.
    """
    call.require(Role.ADMINISTRATOR)
    body: i.SetFiles = call.body
    if body.prune and body.release:
        raise RefusedError("`prune` and `release` cannot be used together")
    texts = {file.path: file.text for file in body.files}
    for path in texts:
        if not path.isprintable() or not path.endswith((".toml", ".json")):
            raise RefusedError(
                f"{path!r} cannot be a file of a set: its name must end in .toml or .json"
            )
    if len(texts) < len(body.files):
        raise RefusedError("two of the files have the same path")
    declared = parse_set(texts, body.set)
    options = ApplyOptions(body.adopt, body.prune, body.release, body.prune_at_most)

    def check(changes: Sequence[RowChange]) -> None:
        for change in changes if not call.access.is_root else ():
            _check(call.access, change)

    outcome = apply_set(
        call.service,
        declared.name,
        declared.rows,
        options,
        check,
        is_dry_run=call.filters.dry_run,
    )
    return _show(declared, outcome)


def _check(access: AdminAccess, change: RowChange) -> None:
    """Raise DeniedError for a change that the caller may not make by hand either."""
    added = change.row if change.action in (Action.ADD, Action.CHANGE) else None
    taken = change.before if change.action in (Action.CHANGE, Action.REMOVE) else None
    if taken is not None and isinstance(taken.rule, GrantRule):
        require_allowed(check_taking(access, taken.rule))
    if change.action is Action.REMOVE and change.row.kind is RowKind.USER:
        require_allowed(check_leaving(access, change.row.key[0]))
    if change.action is Action.REMOVE and change.row.kind is RowKind.MEMBER:
        require_allowed(check_leaving_groups(access, change.row.key[0], change.row.key[1:]))
    if added is None:
        return
    if isinstance(added.rule, GrantRule):
        require_allowed(check_giving(access, added.rule))
    elif isinstance(added.rule, RequestRule):
        require_allowed(check_request_rule(access, added.rule))
    elif added.kind is RowKind.MEMBER and access.is_about_me(f"user:{added.key[0]}"):
        raise DeniedError(JOINS_NONE)


def _show(declared: DeclaredSet, outcome: ApplyOutcome) -> r.SetOutcome:
    return r.SetOutcome(
        outcome.plan.name,
        outcome.is_applied,
        [_show_change(change) for change in outcome.plan.changes],
        len(outcome.plan.kept),
        [
            r.RightsEntry(
                list(change.users), _show_rights(change.gains), _show_rights(change.losses)
            )
            for change in outcome.rights
        ],
        [declared.describe_problem(found.row, found.text) for found in outcome.plan.problems],
    )


def _show_change(change: RowChange) -> r.SetChange:
    row, before = change.row, change.before
    owner = before.owner if before and change.action in (Action.ADOPT, Action.MOVE) else None
    return r.SetChange(
        change.action.value,
        row.name if before is None else before.name,
        _get_terms(before),
        None if change.action is Action.REMOVE else _get_terms(row),
        None if row.owner is None else row.owner.file,
        None if owner is None else f"{owner.set} ({owner.file})",
    )


def _get_terms(row: Row | None) -> str | None:
    return None if row is None else row.terms or None


def _show_rights(rights: Iterable[Right]) -> list[r.RightEntry]:
    return [
        r.RightEntry(app, environment, list(words))
        for (app, environment), words in list_words(rights).items()
    ]


HANDLERS: Mapping[str, Handler] = {
    "sets.apply": apply_files,
}
