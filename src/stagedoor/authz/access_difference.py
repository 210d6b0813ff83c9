"""Comparing two policies: who gains and who loses access by a change. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stagedoor.authz.decide import drop_expired
from stagedoor.model.grant import GrantRule
from stagedoor.model.permission import Permissions
from stagedoor.model.policy import Policy
from stagedoor.model.selector import TargetPattern, list_subjects


@dataclass(frozen=True, slots=True)
class AccessDifference:
    """Permissions for the apps of `pattern` that a user gains, or loses."""

    user: str
    pattern: TargetPattern
    permissions: Permissions
    is_gain: bool


def list_differences(before: Policy, after: Policy, now: float) -> Iterator[AccessDifference]:
    """Yield what users gain and lose, by user. It compares the patterns of the grants that differ."""
    unseen = {rule.id: rule for rule in before.grants}
    changed = {rule.subject for rule in after.grants if unseen.pop(rule.id, None) != rule}
    changed |= {rule.subject for rule in unseen.values()}
    for name in sorted({*before.users, *after.users}):
        was, is_now = before.users.get(name), after.users.get(name)
        if was == is_now and not (was and list_subjects(name, was.groups) & changed):
            continue
        yield from _compare_rules(
            name, _list_rules(before, name, now), _list_rules(after, name, now)
        )


def _list_rules(policy: Policy, name: str, now: float) -> Mapping[int, GrantRule]:
    user = policy.users.get(name)
    if user is None:
        return {}
    subjects = list_subjects(name, user.groups)
    return {rule.id: rule for rule in drop_expired(policy.find_grants(subjects), now)}


def _compare_rules(
    name: str, before: Mapping[int, GrantRule], after: Mapping[int, GrantRule]
) -> Iterator[AccessDifference]:
    differing = [
        rule
        for number, rule in sorted({**before, **after}.items())
        if before.get(number) != after.get(number)
    ]
    patterns = dict.fromkeys(_get_pattern(rule) for rule in differing)
    for pattern in patterns:
        had, has = _combine(before, pattern), _combine(after, pattern)
        for permissions, is_gain in ((has - had, True), (had - has, False)):
            if permissions:
                yield AccessDifference(name, pattern, permissions, is_gain)


def _combine(rules: Mapping[int, GrantRule], pattern: TargetPattern) -> Permissions:
    return frozenset(
        permission
        for rule in rules.values()
        if _get_pattern(rule).has_all_of(pattern)
        for permission in rule.permissions
    )


def _get_pattern(rule: GrantRule) -> TargetPattern:
    return TargetPattern(rule.app_pattern, rule.environment_pattern)
