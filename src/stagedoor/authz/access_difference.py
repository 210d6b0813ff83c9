"""Comparing two policies: who gains and who loses access by a change. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from operator import is_not

from stagedoor.authz.decide import drop_expired
from stagedoor.model.grant import GrantRule
from stagedoor.model.permission import Permissions
from stagedoor.model.policy import Policy
from stagedoor.model.selector import ALL_USERS, TargetPattern, list_subjects


@dataclass(frozen=True, slots=True)
class AccessDifference:
    """Permissions for the apps of `pattern` that a user gains, or loses."""

    user: str
    pattern: TargetPattern
    permissions: Permissions
    is_gain: bool


def list_differences(before: Policy, after: Policy, now: float) -> Iterator[AccessDifference]:
    """Yield what users gain and lose, by user. It compares the patterns of the grants that differ."""
    changed = {rule.subject for rule in _list_differing(before.grants, after.grants)}
    names = {*_find_users(before, changed), *_find_users(after, changed)}
    if before.users is not after.users:
        names |= {
            name
            for name in before.users.keys() | after.users.keys()
            if before.users.get(name) != after.users.get(name)
        }
    for name in sorted(names):
        yield from _compare_rules(
            name, _list_rules(before, name, now), _list_rules(after, name, now)
        )


def _list_differing(
    before: tuple[GrantRule, ...], after: tuple[GrantRule, ...]
) -> Iterator[GrantRule]:
    """Yield the rules between what both begin with and what both end with."""
    first = _count_same(before, after)
    ends = before[first:][::-1], after[first:][::-1]
    last = _count_same(*ends)
    for end in ends:
        yield from end[last:]


def _count_same(before: tuple[GrantRule, ...], after: tuple[GrantRule, ...]) -> int:
    """Return the number of rules that both begin with. A policy shares the rules of the one before it."""
    differs = enumerate(map(is_not, before, after))
    return next((n for n, does in differs if does), min(len(before), len(after)))


def _find_users(policy: Policy, subjects: Set[str]) -> Iterable[str]:
    """Return the names of the users that rules for these subjects are about."""
    if ALL_USERS in subjects:
        return policy.users
    names = {s.removeprefix("user:") for s in subjects if s.startswith("user:")}
    groups = {s.removeprefix("group:") for s in subjects if s.startswith("group:")}
    about = names & policy.users.keys()
    if groups:
        about |= {n for n, user in policy.users.items() if not groups.isdisjoint(user.groups)}
    return about


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
