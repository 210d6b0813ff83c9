"""The rows of grants. Call each function in a policy change."""

from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from stagedoor.model.access_set import refuse_owned
from stagedoor.model.errors import ConflictError, NotFoundError
from stagedoor.model.grant import GrantRule
from stagedoor.model.permission import Permission, from_words, to_words
from stagedoor.store.changes import Part, touch
from stagedoor.store.columns import find_owner
from stagedoor.store.database import Transaction
from stagedoor.store.people import require_named_users
from stagedoor.store.schema import grants


def add_grant(
    transaction: Transaction, rule: GrantRule, at: float, *, prolong: bool = False
) -> int:
    """Add a grant and return its number; the number in `rule` is not used.

    A grant with the same subject and patterns that has expired by `at` is removed. With `prolong`, a grant
    that permits the same and ends earlier is extended to the new end, and its number is returned. Raises
    NotFoundError for an unknown user, ConflictError if such a grant exists, and RefusedError if it belongs to
    an access set.
    """
    require_named_users(transaction, [rule.subject])
    rows = transaction.execute(
        select(grants).where(
            grants.c.subject == rule.subject,
            grants.c.app_pattern == rule.app_pattern,
            grants.c.environment_pattern == rule.environment_pattern,
        )
    )
    # A grant to enter and a grant that only adds permissions are two grants with different ends.
    enters = Permission.ENTER in rule.permissions
    row = next((r for r in rows if (Permission.ENTER in from_words(r.permissions)) == enters), None)
    if row is not None:
        refuse_owned(f"grant {row.id}, which is about the same,", find_owner(row))
    if row is not None and row.expires_at is not None and row.expires_at <= at:
        remove_grant(transaction, row.id)
    elif row is not None:
        if prolong and _only_lasts_longer(rule, grant_of(row)):
            transaction.execute(
                update(grants).where(grants.c.id == row.id).values(expires_at=rule.expires_at)
            )
            touch(transaction, Part.GRANTS, [row.id])
            return int(row.id)
        raise ConflictError.with_fix(
            f"grant {row.id} says this already, and permits {row.permissions}",
            f"to change what it permits, run `stagedoor grant change {row.id} --allow …`; to have it end "
            f"later, add it with --expires; to end it earlier, run `stagedoor grant remove {row.id}` first",
        )
    added = transaction.execute(
        insert(grants).values(**grant_values(rule), created_at=at).returning(grants.c.id)
    )
    number = int(added.scalar_one())
    touch(transaction, Part.GRANTS, [number])
    return number


def _only_lasts_longer(rule: GrantRule, before: GrantRule) -> bool:
    return (
        rule.permissions == before.permissions
        and rule.resume_s == before.resume_s
        and before.expires_at is not None
        and (rule.expires_at is None or rule.expires_at > before.expires_at)
    )


def grant_values(rule: GrantRule) -> dict[str, Any]:
    """Return the columns of a grant, besides its number."""
    return {
        "subject": rule.subject,
        "app_pattern": rule.app_pattern,
        "environment_pattern": rule.environment_pattern,
        "expires_at": rule.expires_at,
        "permissions": to_words(rule.permissions),
        "resume_s": rule.resume_s,
    }


def find_grant(transaction: Transaction, grant_id: int) -> GrantRule:
    """Return the grant with that number. Raises NotFoundError."""
    row = transaction.execute(select(grants).where(grants.c.id == grant_id)).first()
    if row is None:
        raise NotFoundError.of(f"grant {grant_id}", "grant list")
    return grant_of(row)


def update_grant(transaction: Transaction, rule: GrantRule) -> None:
    """Store the permissions of a grant and its limit.

    Raises NotFoundError, and RefusedError for a grant that belongs to an access set.
    """
    row = transaction.execute(
        update(grants)
        .where(grants.c.id == rule.id)
        .values(permissions=to_words(rule.permissions), resume_s=rule.resume_s)
        .returning(*grants.c)
    ).first()
    if row is None:
        raise NotFoundError.of(f"grant {rule.id}", "grant list")
    refuse_owned(f"grant {rule.id}", find_owner(row))
    touch(transaction, Part.GRANTS, [rule.id])


def remove_grant(transaction: Transaction, grant_id: int) -> GrantRule:
    """Remove a grant and return it.

    Raises NotFoundError, and RefusedError for a grant that belongs to an access set.
    """
    row = transaction.execute(
        delete(grants).where(grants.c.id == grant_id).returning(*grants.c)
    ).first()
    if row is None:
        raise NotFoundError.of(f"grant {grant_id}", "grant list")
    refuse_owned(f"grant {grant_id}", find_owner(row))
    touch(transaction, Part.GRANTS, [grant_id])
    return grant_of(row)


def grant_of(row: Row[Any]) -> GrantRule:
    """Return the grant in a row of `grants`."""
    return GrantRule(
        row.id,
        row.subject,
        row.app_pattern,
        row.environment_pattern,
        row.expires_at,
        from_words(row.permissions),
        resume_s=row.resume_s,
        access_set=row.owner_set,
    )
