"""The rows of roles. Call each function that writes in a policy change."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, delete, exists, insert, or_, select

from stagedoor.model.errors import ConflictError, NotFoundError
from stagedoor.model.role import Role, RoleRule
from stagedoor.store.administration.tables import roles
from stagedoor.store.changes import Part, touch
from stagedoor.store.database import Transaction
from stagedoor.store.people import require_named_users
from stagedoor.store.schema import identities, provided_groups, user_groups, users
from stagedoor.store.sign_in.tables import passkeys

_KNOWN = frozenset(role.value for role in Role)


def add_role(transaction: Transaction, rule: RoleRule, at: float) -> int:
    """Add a rule and return its number; the number in `rule` is not used.

    A rule with the same subject, role and patterns that has expired by `at` is removed. Raises NotFoundError
    for an unknown user, and ConflictError if such a rule exists.
    """
    require_named_users(transaction, [rule.subject])
    values: dict[str, object] = {
        "subject": rule.subject,
        "role": rule.role.value,
        "app_pattern": rule.app_pattern,
        "environment_pattern": rule.environment_pattern,
    }
    same = select(roles).where(*(roles.c[column] == value for column, value in values.items()))
    row = transaction.execute(same).first()
    if row is not None and (row.expires_at is None or row.expires_at > at):
        raise ConflictError.with_fix(
            f"role {row.id} says this already",
            f"to have it end at another time, remove it first: stagedoor role remove {row.id}",
        )
    if row is not None:
        remove_role(transaction, row.id)
    added = insert(roles).values(**values, expires_at=rule.expires_at, created_at=at)
    number = int(transaction.execute(added.returning(roles.c.id)).scalar_one())
    touch(transaction, Part.ROLES, [number])
    return number


def remove_role(transaction: Transaction, number: int) -> RoleRule:
    """Remove a rule and return it. Raises NotFoundError."""
    row = transaction.execute(delete(roles).where(roles.c.id == number).returning(*roles.c)).first()
    if row is None:
        raise NotFoundError.of(f"role {number}", "role list")
    touch(transaction, Part.ROLES, [number])
    return _role(row)


def read_roles(
    transaction: Transaction, only: Collection[int] | None = None
) -> dict[int, RoleRule]:
    """Return the rules by number, or those of the numbers in `only`."""
    query = select(roles).order_by(roles.c.id)
    if only is not None:
        query = query.where(roles.c.id.in_(only))
    # A role that only a newer program knows gives no rights here.
    return {row.id: _role(row) for row in transaction.execute(query) if row.role in _KNOWN}


def has_administrator(transaction: Transaction, at: float) -> bool:
    """Return whether an enabled user who can sign in is an administrator.

    They sign in by a password, a passkey or an account at an identity provider.
    """
    mine = users.c.name
    subjects = select(roles.c.subject).where(
        roles.c.role == Role.ADMINISTRATOR.value,
        or_(roles.c.expires_at.is_(None), roles.c.expires_at > at),
    )
    groups = [
        select(table.c.user_name).where(
            table.c.user_name == mine, ("group:" + table.c.group_name).in_(subjects)
        )
        for table in (user_groups, provided_groups)
    ]
    ways = [
        select(table.c.user_name).where(table.c.user_name == mine)
        for table in (passkeys, identities)
    ]
    query = select(mine).where(
        users.c.disabled_at.is_(None),
        or_(("user:" + mine).in_(subjects), *(exists(group) for group in groups)),
        or_(users.c.password_hash.is_not(None), *(exists(way) for way in ways)),
    )
    return transaction.execute(query.limit(1)).first() is not None


def _role(row: Row[Any]) -> RoleRule:
    return RoleRule(
        row.id,
        row.subject,
        Role(row.role),
        row.app_pattern,
        row.environment_pattern,
        row.expires_at,
    )
