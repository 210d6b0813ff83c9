"""The rules of entry and of playing recordings. Access is denied unless a rule matches now."""

import re
from collections.abc import Iterable, Iterator
from fnmatch import translate
from math import inf

from stagedoor.model.access_request import RequestState
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant, GrantRule
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission, Permissions
from stagedoor.model.policy import Policy, User
from stagedoor.model.selector import has_match, is_glob
from stagedoor.model.target import Target
from stagedoor.wire.rfc3339 import show_time

CONNECT_SCOPE = "connect"


def authorise(
    policy: Policy,
    identity: Identity,
    target: Target,
    now: float,
    *,
    includes_unbegun: bool = True,
) -> Grant | Denial:
    """Judge by the current `policy`, whatever the policy was when `identity` was proved.

    The user must still exist, with the password, token or registered key that proved the identity, and its
    sign-in. Groups come from the policy, not from the identity. So a live session can be judged again at any
    time. The grant ends with its rule, the token or the sign-in, whichever ends first. Its permissions are
    those of all rules that match. With `includes_unbegun` False, an approved access request
    counts only if its time has begun.
    """
    until = policy.check_credential(identity, now)
    if isinstance(until, Denial):
        return until
    user = policy.users[identity.name]
    rules = list_matching(policy, user, target, now, includes_unbegun=includes_unbegun)
    rule = find_longest(rules, Permission.ENTER)
    if rule is None:
        return _no_grant(policy, user, target, now)
    if not is_in_scope(identity.scopes, target):
        return Denial(
            Reason.NO_GRANT,
            f"token {identity.credential_id} of {user.name!r} may not be used to enter "
            f"{_show_target(target)}: its scopes are {', '.join(identity.scopes or ()) or 'none'}",
        )
    ends_at = find_earliest(rule.expires_at, until)
    return Grant(
        identity,
        target,
        rule.id,
        ends_at,
        permissions=combine_permissions(rules),
        changes_at=find_earlier_end(rules, ends_at),
        request=_find_request(rule, rules),
        resume_s=find_earliest(*(rule.resume_s for rule in rules)),
        must_be_recorded=all(
            other.request is not None and Permission.RECORD in other.permissions
            for other in rules
            if Permission.ENTER in other.permissions
        ),
    )


def _find_request(rule: GrantRule, rules: tuple[GrantRule, ...]) -> int | None:
    """Return the access request behind `rule`, or one that adds a permission to those of all other rules.

    Its time begins with the entry, even if the user could enter without it.
    """
    if rule.request is not None:
        return rule.request
    standing = combine_permissions(tuple(other for other in rules if other.request is None))
    return next((r.request for r in rules if r.request and not r.permissions <= standing), None)


def list_matching(
    policy: Policy, user: User, target: Target | None, now: float, *, includes_unbegun: bool = True
) -> tuple[GrantRule, ...]:
    """Return the rules for this user and this target that hold now, in order of number.

    Approved access requests follow, as rules for this target; without `includes_unbegun`, only those
    whose time has begun. None stands for a target that no longer exists, which only rules for all apps cover.
    """
    rules = drop_expired(_about(policy, user, target), now)
    if target is None:
        return rules
    requested = list_requested(policy, user, target, now)
    return (*rules, *(rule for began, rule in requested if began or includes_unbegun))


def select_targets(
    policy: Policy, identity: Identity, targets: Iterable[Target]
) -> Iterator[Target]:
    """Yield the targets for which there may be a grant; `authorise` denies all others. Pure.

    It compares only the names of apps, since a page may ask about fifty thousand.
    """
    user = policy.users.get(identity.name)
    if user is None:
        return
    rules = policy.find_grants(user.subjects)
    patterns = {rule.app_pattern for rule in rules}
    names = {pattern for pattern in patterns if not is_glob(pattern)}
    names |= {
        target.app for request in policy.find_requests(user.name) for target in request.targets
    }
    globs = sorted(patterns - names)
    match = re.compile("|".join(map(translate, globs))).match if globs else lambda _: None
    for target in targets:
        if target.app in names or match(target.app):
            yield target


def list_requested(
    policy: Policy, user: User, target: Target, now: float
) -> Iterator[tuple[bool, GrantRule]]:
    """Yield the user's approved requests for this target, as long as a rule would still let the user ask.

    Each comes with whether its time has begun. A request that extends another adds nothing before it begins;
    it only makes the same access last longer.
    """
    open_now = [
        (request, rule, hours_end)
        for request in policy.find_requests(user.name)
        if request.find_state(now) is RequestState.APPROVED
        and not request.is_later(now)
        and target in request.targets
        and (rule := policy.request_rules.get(request.rule)) is not None
        and (hours_end := rule.find_end(now)) is not None
        and rule.covers(user.subjects, target)
    ]
    running = frozenset[Permission]().union(
        *(
            request.permissions & rule.permissions
            for request, rule, _ in open_now
            if request.began_at is not None and request.began_at <= now
        )
    )
    for request, rule, hours_end in open_now:
        permissions = request.permissions & rule.permissions
        if request.began_at is not None and now < request.began_at:
            permissions &= running
        ends_at = min(request.ends_at, hours_end)
        environment = target.environment or "*"
        yield (
            request.began_at is not None,
            GrantRule(
                0, f"user:{user.name}", target.app, environment, ends_at, permissions, request.id
            ),
        )


def _about(policy: Policy, user: User, target: Target | None) -> Iterator[GrantRule]:
    """Yield the rules for this user and this target, including expired ones."""
    for rule in policy.find_grants(user.subjects):
        if (
            rule.app_pattern == rule.environment_pattern == "*"
            if target is None
            else has_match(rule.app_pattern, rule.environment_pattern, target)
        ):
            yield rule


def drop_expired(rules: Iterable[GrantRule], now: float) -> tuple[GrantRule, ...]:
    """Return the rules among `rules` that have not expired."""
    return tuple(rule for rule in rules if rule.expires_at is None or now < rule.expires_at)


def list_entering_subjects(policy: Policy, now: float) -> frozenset[str]:
    """Return the subjects of the rules that let users enter an app now."""
    return frozenset(
        rule.subject
        for rule in drop_expired(policy.grants, now)
        if Permission.ENTER in rule.permissions
    )


def combine_permissions(rules: tuple[GrantRule, ...]) -> Permissions:
    """Return the permissions of all rules combined."""
    return frozenset().union(*(rule.permissions for rule in rules))


def find_longest(rules: tuple[GrantRule, ...], permission: Permission) -> GrantRule | None:
    """Return the longest-lasting rule with this permission, the oldest of equals, or None."""
    giving = [rule for rule in rules if permission in rule.permissions]
    return max(
        giving,
        key=lambda rule: inf if rule.expires_at is None else rule.expires_at,
        default=None,
    )


def find_earlier_end(rules: tuple[GrantRule, ...], ends_at: float | None) -> float | None:
    """Return when the first of `rules` ends, or None if that is not before `ends_at`."""
    first = find_earliest(*(rule.expires_at for rule in rules))
    return None if first is None or (ends_at is not None and ends_at <= first) else first


def find_earliest(*ends: float | None) -> float | None:
    """Return the earliest of these times, or the shortest of these durations. None stands for never."""
    return min((at for at in ends if at is not None), default=None)


def is_in_scope(scopes: tuple[str, ...] | None, target: Target) -> bool:
    """Return whether a credential with these scopes may be used to enter `target`.

    `connect` allows every target, `connect:APP` an app in all its environments,
    `connect:APP.ENVIRONMENT` one environment; both parts are patterns. None is no limit.
    """
    if scopes is None:
        return True
    for scope in scopes:
        action, colon, pattern = scope.partition(":")
        if action != CONNECT_SCOPE:
            continue
        app, dot, environment = pattern.partition(".")
        if not colon or (has_match(app, environment if dot else "*", target)):
            return True
    return False


def _show_target(target: Target) -> str:
    return f"{target.app} in {target.environment}" if target.environment else target.app


def _no_grant(policy: Policy, user: User, target: Target, now: float) -> Denial:
    option = f" --environment {target.environment}" if target.environment else ""
    ends = [
        rule.expires_at
        for rule in _about(policy, user, target)
        if Permission.ENTER in rule.permissions and rule.expires_at is not None
    ]
    ends += [
        request.ends_at
        for request in policy.find_requests(user.name)
        if request.find_state(now) is RequestState.ENDED and target in request.targets
    ]
    if ends:
        what = f"the grant for {user.name!r} to enter {_show_target(target)} ended at {show_time(max(ends))}"
    else:
        what = f"no grant for {user.name!r} to enter {_show_target(target)}"
    another = "another" if ends else "one"
    return Denial.with_fix(
        Reason.NO_GRANT,
        what,
        f"an administrator gives {another} with: stagedoor grant add user:{user.name} {target.app}{option}",
        f"ask an administrator for {another}",
    )


def may_replay(
    policy: Policy,
    identity: Identity,
    target: Target | None,
    now: float,
) -> bool:
    """Return whether `identity` may play a recording of `target`; None stands for an unknown target.

    Only a password, or a link for all apps, opens recordings. Tokens are for entering apps, and are kept in
    scripts.
    """
    user = policy.users.get(identity.name)
    if user is None or not identity.is_person:
        return False
    rules = list_matching(policy, user, target, now, includes_unbegun=False)
    return Permission.REPLAY in combine_permissions(rules)


def has_somewhere(
    policy: Policy,
    identity: Identity,
    permission: Permission,
    now: float,
) -> bool:
    """Return whether `identity` may have this permission for some app now."""
    user = policy.users.get(identity.name)
    if user is None or (permission is Permission.REPLAY and not identity.is_person):
        return False
    rules = drop_expired(policy.find_grants(user.subjects), now)
    return any(permission in rule.permissions for rule in rules) or any(
        permission in request.permissions and request.find_state(now) is RequestState.APPROVED
        for request in policy.find_requests(user.name)
    )
