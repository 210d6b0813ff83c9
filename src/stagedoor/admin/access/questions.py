"""Why a user may enter an app or not, and who may."""

from stagedoor.admin.service import AdminService, policy
from stagedoor.authz.explain import (
    AccessAnswer,
    AccessChange,
    ChangeKind,
    explain,
    find_entering,
    identify_by_name,
)
from stagedoor.authz.step_up import NOWHERE, StepUpRules
from stagedoor.model.errors import NotFoundError
from stagedoor.model.grant import Grant
from stagedoor.model.target import Target


def explain_access(
    service: AdminService, name: str, target: Target, step_up: StepUpRules = NOWHERE
) -> AccessAnswer:
    """Return why the user `name` may enter `target` now or not. Raises NotFoundError, StoreError."""
    held = policy(service)
    if name not in held.all_users:
        raise NotFoundError.with_mend(f"there is no user {name}", "see `stagedoor user list`")
    return explain(held, identify_by_name(held, name), target, service.clock(), step_up)


def list_entering(service: AdminService, target: Target) -> list[tuple[str, Grant]]:
    """Return the users who may enter `target` now, by name, each with their grant. Raises StoreError."""
    return find_entering(policy(service), target, service.clock())


def describe_change(answer: AccessAnswer, change: AccessChange) -> str:
    """Return how a change is made, for administrators: a command, but for what the user does."""
    user, target = answer.user, answer.target
    match change.kind:
        case ChangeKind.APPROVE:
            return f"stagedoor request approve {change.about}"
        case ChangeKind.ASK:
            return f"{user} asks for it, by request rule {change.about}"
        case ChangeKind.JOIN:
            return f"stagedoor user group {user} --add {change.about}"
        case ChangeKind.GRANT:
            where = f" --environment {target.environment}" if target.environment else ""
            return f"stagedoor grant add user:{user} {target.app}{where}"
