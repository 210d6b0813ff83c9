"""Reads and writes the rows that access sets own, many at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, Table, and_, bindparam, delete, insert, select, update

from stagedoor.model.access_request import RequestRule
from stagedoor.model.access_set import (
    Row,
    RowKind,
    make_grant_row,
    make_member_row,
    make_rule_row,
    make_user_row,
)
from stagedoor.model.grant import GrantRule
from stagedoor.model.role import Role, RoleRule
from stagedoor.store.access_requests import request_rule_of, request_rule_values
from stagedoor.store.administration.roles import read_roles
from stagedoor.store.changes import MAX_CHANGES, Part, read_policy_version, touch, touch_all
from stagedoor.store.columns import find_owner
from stagedoor.store.database import Transaction
from stagedoor.store.grants import grant_of, grant_values
from stagedoor.store.people import remove_user
from stagedoor.store.request_tables import request_rules
from stagedoor.store.schema import (
    grants,
    provided_groups,
    user_groups,
    users,
)

_CHUNK = 500
"""The most numbers in one statement."""


@dataclass(frozen=True, slots=True)
class RowSnapshot:
    """The rows of the policy that sets may own, as of one version of it.

    `provided` are the memberships that identity providers have reported, as pairs of a user and a group.
    `administrators` are the roles of that name, including expired ones. `disabled` are the names of disabled
    users.
    """

    version: int
    rows: Sequence[Row]
    provided: Sequence[tuple[str, str]]
    administrators: Sequence[RoleRule] = ()
    disabled: frozenset[str] = frozenset()


def read_rows(transaction: Transaction) -> RowSnapshot:
    """Return all rows that access sets may own."""
    named: Select[Any] = select(users.c.name, users.c.owner_set, users.c.owner_file)
    rows = [
        make_user_row(row.name, find_owner(row))
        for row in transaction.execute(named.order_by(users.c.name))
    ]
    rows += [
        make_member_row(row.user_name, row.group_name, find_owner(row))
        for row in transaction.execute(select(user_groups).order_by(*user_groups.primary_key))
    ]
    rows += [
        make_grant_row(grant_of(row), find_owner(row))
        for row in transaction.execute(select(grants).order_by(grants.c.id))
    ]
    rows += [
        make_rule_row(request_rule_of(row), find_owner(row))
        for row in transaction.execute(select(request_rules).order_by(request_rules.c.id))
    ]
    provided = transaction.execute(
        select(provided_groups.c.user_name, provided_groups.c.group_name)
    )
    roles = read_roles(transaction).values()
    return RowSnapshot(
        read_policy_version(transaction),
        rows,
        [(row[0], row[1]) for row in provided],
        [rule for rule in roles if rule.role is Role.ADMINISTRATOR],
        frozenset(
            transaction.execute(select(users.c.name).where(users.c.disabled_at.is_not(None)))
            .scalars()
            .all()
        ),
    )


def remove_rows(transaction: Transaction, rows: Sequence[Row], set_name: str) -> None:
    """Remove rows. The keys, tokens and open requests of removed users are removed too."""
    _touch(transaction, rows)
    members = [row for row in rows if row.kind is RowKind.MEMBER]
    _execute(transaction, delete(user_groups).where(_is_member()), map(_member_key, members))
    for kind, table, _ in _NUMBERED:
        numbers = [row.number for row in rows if row.kind is kind]
        for start in range(0, len(numbers), _CHUNK):
            chunk = numbers[start : start + _CHUNK]
            transaction.execute(delete(table).where(table.c.id.in_(chunk)))
    for row in rows:
        if row.kind is RowKind.USER:
            remove_user(transaction, row.key[0], by_set=set_name)


def add_rows(transaction: Transaction, rows: Sequence[Row], at: float) -> dict[Row, int]:
    """Add rows, and return the numbers of grants and request rules."""
    new_users = [row for row in rows if row.kind is RowKind.USER]
    _execute(
        transaction,
        insert(users),
        ({"name": row.key[0], "created_at": at, **_owner_values(row)} for row in new_users),
    )
    members = [row for row in rows if row.kind is RowKind.MEMBER]
    _execute(
        transaction,
        insert(user_groups),
        (
            {"user_name": row.key[0], "group_name": row.key[1], **_owner_values(row)}
            for row in members
        ),
    )
    numbers: dict[Row, int] = {}
    for kind, table, values_of in _NUMBERED:
        of_kind = [row for row in rows if row.kind is kind]
        values = [{**values_of(row), "created_at": at, **_owner_values(row)} for row in of_kind]
        if values:
            added = insert(table).returning(table.c.id, sort_by_parameter_order=True)
            ids = transaction.execute(added, values).scalars()
            numbers.update(zip(of_kind, ids, strict=True))
    _touch(transaction, rows, numbers)
    return numbers


def update_rows(transaction: Transaction, rows: Sequence[Row]) -> None:
    """Store the new contents of grants, and the owners of rows. Each row has the number of the stored row."""
    changing = [row for row in rows if row.kind is RowKind.GRANT]
    values: dict[str, Any] = {
        name: bindparam(f"new_{name}") for name in grant_values(GrantRule(0, "", ""))
    }
    _execute(
        transaction,
        update(grants).where(grants.c.id == bindparam("number")).values(values),
        (
            {"number": row.number, **{f"new_{k}": v for k, v in _grant_values(row).items()}}
            for row in changing
        ),
    )
    owner: dict[str, Any] = {"owner_set": bindparam("new_set"), "owner_file": bindparam("new_file")}
    named: tuple[tuple[RowKind, Table, Any, Any], ...] = (
        (RowKind.USER, users, users.c.name == bindparam("user"), _member_key),
        (RowKind.MEMBER, user_groups, _is_member(), _member_key),
        *(
            (kind, table, table.c.id == bindparam("number"), _number_key)
            for kind, table, _ in _NUMBERED
        ),
    )
    for kind, table, condition, key_of in named:
        _execute(
            transaction,
            update(table).where(condition).values(owner),
            (
                {
                    **key_of(row),
                    "new_set": row.owner and row.owner.set,
                    "new_file": row.owner and row.owner.file,
                }
                for row in rows
                if row.kind is kind
            ),
        )
    _touch(transaction, rows)


def _execute(transaction: Transaction, statement: Any, values: Iterable[dict[str, Any]]) -> None:
    if rows := list(values):
        transaction.execute(statement, rows)


def _touch(
    transaction: Transaction, rows: Sequence[Row], numbers: dict[Row, int] | None = None
) -> None:
    """Record the rows as changed; if they are many, record the whole policy."""
    if len(rows) > MAX_CHANGES:
        touch_all(transaction)
        return
    names: dict[Part, set[str]] = {}
    for row in rows:
        number = numbers.get(row, row.number) if numbers else row.number
        names.setdefault(_PARTS[row.kind], set()).add(str(number or row.key[0]))
    for part, touched in names.items():
        touch(transaction, part, touched)


def _is_member() -> Any:
    return and_(
        user_groups.c.user_name == bindparam("user"), user_groups.c.group_name == bindparam("group")
    )


def _member_key(row: Row) -> dict[str, Any]:
    return dict(zip(("user", "group"), row.key, strict=False))


def _number_key(row: Row) -> dict[str, Any]:
    return {"number": row.number}


def _owner_values(row: Row) -> dict[str, str]:
    return {} if row.owner is None else {"owner_set": row.owner.set, "owner_file": row.owner.file}


def _grant_values(row: Row) -> dict[str, Any]:
    assert isinstance(row.rule, GrantRule)
    return grant_values(row.rule)


def _rule_values(row: Row) -> dict[str, Any]:
    assert isinstance(row.rule, RequestRule)
    return request_rule_values(row.rule)


_NUMBERED: tuple[tuple[RowKind, Table, Any], ...] = (
    (RowKind.GRANT, grants, _grant_values),
    (RowKind.REQUEST_RULE, request_rules, _rule_values),
)
_PARTS = {
    RowKind.USER: Part.USERS,
    RowKind.MEMBER: Part.USERS,
    RowKind.GRANT: Part.GRANTS,
    RowKind.REQUEST_RULE: Part.REQUEST_RULES,
}
