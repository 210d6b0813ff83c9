"""Explanations why a user may enter an app or not."""

from stagedoor.authz.admissions import identify_by_name
from stagedoor.authz.explain import AccessAnswer, ChangeKind, EntryChange, explain
from stagedoor.authz.roles import ROOT, AdminAccess
from stagedoor.authz.step_up import NO_STEP_UP, StepUpRules
from stagedoor.model.errors import NotFoundError
from stagedoor.model.policy import Policy
from stagedoor.model.role import Role
from stagedoor.model.target import Target

_ASKING = frozenset({ChangeKind.APPROVE, ChangeKind.ASK})


def explain_access(
    held: Policy,
    name: str,
    target: Target,
    now: float,
    step_up: StepUpRules = NO_STEP_UP,
    reader: AdminAccess = ROOT,
) -> AccessAnswer:
    """Return why the user `name` may enter `target` now or not, as `explain` does.

    Raises NotFoundError for an unknown user. A reader with a role for only some apps may not list the users,
    so a user without rules there counts as unknown.
    """
    answer = explain(held, identify_by_name(held, name), target, now, step_up, reader)
    if reader.has(Role.AUDITOR):
        if name not in held.all_users:
            raise NotFoundError.of(f"user {name}", "user list")
    elif not answer.rules and _ASKING.isdisjoint(change.kind for change in answer.changes):
        raise NotFoundError(
            f"no grant, request or request rule for {target.login_name} is about a user {name}"
        )
    return answer


def describe_change(answer: AccessAnswer, change: EntryChange) -> str:
    """Return the administrator's command for a change, or a sentence if the user makes it."""
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


def find_grant_command(answer: AccessAnswer) -> str | None:
    """Return the command that gives the user a grant, or None if a grant would not let them in."""
    grants = (change for change in answer.changes if change.kind is ChangeKind.GRANT)
    return next((describe_change(answer, change) for change in grants), None)
