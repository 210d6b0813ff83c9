"""Giving and removing roles, by audited functions over an opened store."""

from dataclasses import replace

from stagedoor.admin.checks import check_end, check_pattern, check_subject
from stagedoor.admin.service import AdminService
from stagedoor.model.errors import RefusedError
from stagedoor.model.event import Plain
from stagedoor.model.role import Role, RoleRule
from stagedoor.model.selector import ALL_USERS, EVERYWHERE
from stagedoor.store.administration import roles as store


def add_role(service: AdminService, rule: RoleRule) -> RoleRule:
    """Add the rule of a role, and return it with its number.

    Raises NotFoundError for an unknown user, RefusedError, ConflictError, StoreError.
    """
    check_role(rule, service.clock())
    with service.change("role.add") as change:
        number = store.add_role(change.transaction, rule, service.clock())
        change.fields |= _role_fields(number, rule)
    return replace(rule, id=number)


def check_role(rule: RoleRule, now: float) -> None:
    """Raise RefusedError unless the rule may be stored at `now`."""
    check_subject(rule.subject)
    check_pattern(rule.pattern)
    if rule.role is Role.ADMINISTRATOR and rule.pattern != EVERYWHERE:
        raise RefusedError(
            "the role administrator covers all apps; for some apps, give the role owner"
        )
    if rule.subject == ALL_USERS:
        raise RefusedError("a role is for user:NAME or group:NAME, not for all users")
    check_end(rule.expires_at, now)


def remove_role(service: AdminService, number: int) -> RoleRule:
    """Remove the rule of a role, and return it. Raises NotFoundError, StoreError."""
    with service.change("role.remove", revokes=True) as change:
        rule = store.remove_role(change.transaction, number)
        change.fields |= _role_fields(number, rule)
    return rule


def _role_fields(number: int, rule: RoleRule) -> dict[str, Plain]:
    return {
        "role_id": number,
        "subject": rule.subject,
        "role": rule.role.value,
        "app": rule.app_pattern,
        "environment": rule.environment_pattern,
        "expires_at": rule.expires_at,
    }
