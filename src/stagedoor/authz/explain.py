"""Explanations why a user may or may not enter a target, by the steps of `decide`. Pure.

`explain` considers what `decide.authorise` does. It names each rule that does not let the user in, and
changes that would. A property test compares the two.
"""

from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum

from msgspec import Struct

from stagedoor.authz.decide import (
    combine_permissions,
    drop_expired,
    is_in_scope,
    list_matching,
    list_requested,
)
from stagedoor.authz.roles import ROOT, AdminAccess
from stagedoor.authz.step_up import NO_STEP_UP, StepUpRules
from stagedoor.model.access_request import AccessRequest, RequestState, find_rule
from stagedoor.model.denial import Denial
from stagedoor.model.grant import GrantRule
from stagedoor.model.identity import Identity
from stagedoor.model.permission import DEFAULT, NOTHING, Permission, Permissions, to_words
from stagedoor.model.policy import Policy, User
from stagedoor.model.role import Role
from stagedoor.model.selector import has_name
from stagedoor.model.target import Target
from stagedoor.wire.rfc3339 import show_time

MAX_CHANGES = 20
"""The most groups that are named."""


class RuleAnswer(Struct, frozen=True):
    """The verdict of one grant or request of the user on the target.

    `name` is `grant 12` or `request 311`, and `about` describes it. `gaps` are the reasons why it does not
    let the user in, and empty if it does.
    """

    name: str
    about: str
    gaps: tuple[str, ...] = ()


class ChangeKind(StrEnum):
    """The kinds of changes that would let a user in."""

    APPROVE = "approve"
    """An approver agrees to a pending request."""
    ASK = "ask"
    """The user asks for access."""
    JOIN = "join"
    """The user joins a group that has a grant."""
    GRANT = "grant"
    """The user gets a grant of their own."""


class EntryChange(Struct, frozen=True):
    """One change that would let the user in; `about` is a request, a rule, a group, or permissions."""

    kind: ChangeKind
    about: str


class AccessAnswer(Struct, frozen=True):
    """Why a user may or may not enter a target.

    `stops` are the reasons that keep the user out whatever the rules say: a disabled user, an ended
    credential, a scope. `changes` are alternatives, of which each would let the user in; they are empty if
    `stops` are not. `permissions` are those of all rules that hold. With `needs_step_up`, the entry also
    requires a fresh proof of identity.
    """

    user: str
    target: Target
    stops: tuple[str, ...]
    rules: tuple[RuleAnswer, ...]
    changes: tuple[EntryChange, ...]
    permissions: Permissions
    needs_step_up: bool = False

    @property
    def lets_in(self) -> bool:
        """Return whether the user may enter."""
        return not self.stops and any(not rule.gaps for rule in self.rules)


def explain(
    policy: Policy,
    identity: Identity,
    target: Target,
    now: float,
    step_up: StepUpRules = NO_STEP_UP,
    reader: AdminAccess = ROOT,
) -> AccessAnswer:
    """Return why `identity` may or may not enter `target` now. Rules that let the user in come first.

    Rules for other apps are left out unless `reader` has a role for those apps.
    """
    stops = []
    until = policy.check_credential(identity, now)
    if isinstance(until, Denial):
        stops.append(until.message)
    if not is_in_scope(identity.scopes, target):
        scopes = ", ".join(identity.scopes or ()) or "none"
        stops.append(f"token {identity.credential_id} is for other apps: its scopes are {scopes}")
    user = policy.users.get(identity.name) or policy.disabled.get(identity.name)
    rules = [] if user is None else [*_walk(policy, user, target, now, reader)]
    rules.sort(key=lambda answered: len(answered.gaps))
    holding = [rule for rule in rules if not rule.gaps]
    changes: tuple[EntryChange, ...] = ()
    if user is not None and not stops and not holding:
        changes = tuple(_list_changes(policy, user, target, now))
    return AccessAnswer(
        identity.name,
        target,
        tuple(stops),
        tuple(rules),
        changes,
        NOTHING if user is None else combine_permissions(list_matching(policy, user, target, now)),
        any(pattern.covers(target) for pattern in step_up.targets),
    )


def _walk(
    policy: Policy, user: User, target: Target, now: float, reader: AdminAccess
) -> Iterator[RuleAnswer]:
    """Yield the verdict of each grant and each open request of the user that `reader` may see."""
    for rule in policy.find_grants(user.subjects):
        if not (rule.pattern.covers(target) or reader.has(Role.AUDITOR, rule.pattern)):
            continue
        where = "" if rule.environment_pattern == "*" else f" in {rule.environment_pattern}"
        about = f"{rule.subject}: {to_words(rule.permissions)} for {rule.app_pattern}{where}"
        gaps = tuple(_list_gaps(rule, target, now))
        yield RuleAnswer(f"grant {rule.id}", about, gaps)
    for whole in policy.find_requests(user.name):
        seen = tuple(app for app in whole.targets if reader.covers(Role.AUDITOR, app))
        if not seen:
            continue
        request = replace(whole, targets=seen)
        gaps = tuple(_list_request_gaps(policy, user, request, target, now))
        about = f"user:{user.name}: {to_words(request.permissions)} for {request.apps}"
        yield RuleAnswer(f"request {request.id}", about, gaps)


def _list_gaps(rule: GrantRule, target: Target, now: float) -> Iterator[str]:
    if not has_name(rule.app_pattern, target.app):
        yield f"it is for {rule.app_pattern}, not {target.app}"
    pattern = rule.environment_pattern
    if target.environment is None and pattern != "*":
        yield f"it is for the environment {pattern}, and {target.app} is named without one"
    elif target.environment is not None and not has_name(pattern, target.environment):
        yield f"it is for the environment {pattern}, not {target.environment}"
    if rule.expires_at is not None and rule.expires_at <= now:
        yield f"it ended at {show_time(rule.expires_at)}"
    if Permission.ENTER not in rule.permissions:
        yield "it does not permit entering"


def _list_request_gaps(
    policy: Policy, user: User, request: AccessRequest, target: Target, now: float
) -> Iterator[str]:
    state = request.find_state(now)
    if state is not RequestState.APPROVED:
        yield f"it is {state}"
    begins_at = max(request.starts_at or 0.0, request.began_at or 0.0)
    if now < begins_at and not _extends(policy, user, request, target, now):
        yield f"it begins at {show_time(begins_at)}"
    if target not in request.targets:
        yield f"it is for {request.apps}, not {target.login_name}"
    rule = policy.request_rules.get(request.rule)
    if rule is None:
        yield f"its rule {request.rule} was removed"
    elif not rule.covers(user.subjects, target):
        yield f"its rule {rule.id} no longer lets {user.name} ask for {target.login_name}"
    elif rule.find_end(now) is None:
        yield f"its rule {rule.id} does not hold at this time"
    elif Permission.ENTER not in request.permissions & rule.permissions:
        yield "it does not permit entering"


def _extends(
    policy: Policy, user: User, request: AccessRequest, target: Target, now: float
) -> bool:
    """Return whether the request prolongs access that the user has now."""
    requested = list_requested(policy, user, target, now)
    return any(
        rule.request == request.id and Permission.ENTER in rule.permissions for _, rule in requested
    )


def _list_changes(policy: Policy, user: User, target: Target, now: float) -> Iterator[EntryChange]:
    """Yield the changes that would let the user in, if no rule does."""
    subjects = user.subjects
    for request in policy.find_requests(user.name):
        approved = replace(request, state=RequestState.APPROVED)
        is_pending = request.find_state(now) is RequestState.PENDING
        if is_pending and not any(_list_request_gaps(policy, user, approved, target, now)):
            yield EntryChange(ChangeKind.APPROVE, str(request.id))
    rule = find_rule(policy.request_rules.values(), subjects, [target], now=now)
    if rule is not None:
        yield EntryChange(ChangeKind.ASK, str(rule.id))
    groups = [
        rule.subject.removeprefix("group:")
        for rule in drop_expired(policy.find_grants_about(target), now)
        if Permission.ENTER in rule.permissions and rule.subject.startswith("group:")
    ]
    for group in list(dict.fromkeys(groups))[:MAX_CHANGES]:
        yield EntryChange(ChangeKind.JOIN, group)
    yield EntryChange(ChangeKind.GRANT, to_words(DEFAULT))
