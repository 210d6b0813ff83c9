"""The rows of roles. Call each function that writes in a policy change."""

from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, and_, delete, exists, insert, or_, select, true

from stagedoor.model.errors import ConflictError, NotFoundError
from stagedoor.model.role import Role, RoleRule
from stagedoor.store.administration.tables import roles
from stagedoor.store.changes import Part, touch
from stagedoor.store.database import Transaction
from stagedoor.store.people import require_named_users
from stagedoor.store.schema import identities, provided_groups, user_groups, users

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


class SignInRules(NamedTuple):
    """The rules of the settings on how users sign in.

    `password_groups` are the only groups with passwords, None for all users. `issuers` are those of the
    identity providers.
    """

    password_groups: frozenset[str] | None
    issuers: frozenset[str]


def has_administrator(transaction: Transaction, at: float, rules: SignInRules) -> bool:
    """Return whether an enabled user who can sign in is an administrator.

    They sign in by a password or an account at an identity provider; a passkey only replaces the password.
    """
    mine = users.c.name
    subjects = select(roles.c.subject).where(
        roles.c.role == Role.ADMINISTRATOR.value,
        or_(roles.c.expires_at.is_(None), roles.c.expires_at > at),
    )
    is_named = or_(("user:" + mine).in_(subjects), _is_in_group(subjects, "group:"))
    groups = rules.password_groups
    may_have_password = true() if groups is None else _is_in_group(groups)
    has_account = exists().where(
        identities.c.user_name == mine, identities.c.issuer.in_(rules.issuers)
    )
    query = select(mine).where(
        users.c.disabled_at.is_(None),
        is_named,
        or_(and_(users.c.password_hash.is_not(None), may_have_password), has_account),
    )
    return transaction.execute(query.limit(1)).first() is not None


def _is_in_group(names: Collection[str] | Select[Any], prefix: str = "") -> ColumnElement[bool]:
    """Return the condition that the user of a row is in a group whose name, after `prefix`, is in `names`."""
    return or_(
        *(
            exists().where(
                table.c.user_name == users.c.name, (prefix + table.c.group_name).in_(names)
            )
            for table in (user_groups, provided_groups)
        )
    )


def _role(row: Row[Any]) -> RoleRule:
    return RoleRule(
        row.id,
        row.subject,
        Role(row.role),
        row.app_pattern,
        row.environment_pattern,
        row.expires_at,
    )
