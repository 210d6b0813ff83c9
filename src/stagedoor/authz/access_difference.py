"""Comparing two policies: who gains and who loses access by a change. Pure.

`find_asking_by` and `find_administering_by` return the users who depend on one rule, and so lose by its
removal.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace
from operator import is_not

from msgspec import Struct

from stagedoor.authz.decide import drop_expired
from stagedoor.model.access_request import RequestRule
from stagedoor.model.grant import GrantRule
from stagedoor.model.permission import Permissions
from stagedoor.model.policy import Policy
from stagedoor.model.role import RoleRule
from stagedoor.model.selector import ALL_USERS, TargetPattern, list_named_users


class AccessDifference(Struct, frozen=True):
    """Permissions for the apps of `pattern` that a user gains, or loses."""

    user: str
    pattern: TargetPattern
    permissions: Permissions
    is_gain: bool


def list_differences(before: Policy, after: Policy, now: float) -> Iterator[AccessDifference]:
    """Yield what users gain and lose, by user, by comparing the patterns of the grants that differ."""
    differing = list(_list_differing(before.grants, after.grants))
    subjects = {rule.subject for rule in differing}
    patterns = {rule.pattern for rule in differing}
    narrow = _narrow(before, patterns), _narrow(after, patterns)
    names = {*_find_users(before, subjects), *_find_users(after, subjects)}
    moved = set[str]()
    if before.users is not after.users:
        moved = {
            name
            for name in before.users.keys() | after.users.keys()
            if before.users.get(name) != after.users.get(name)
        }
    known: dict[frozenset[str], list[AccessDifference]] = {}
    """The differences of users without rules of their own, by the groups that rules are about."""
    about = {rule.subject for policy in narrow for rule in policy.grants}
    groups = frozenset(s.removeprefix("group:") for s in about if s.startswith("group:"))
    for name in sorted(names | moved):
        if name in moved:
            yield from _compare(before, after, name, now)
        elif f"user:{name}" in about:
            yield from _compare(*narrow, name, now)
        else:
            theirs = groups & before.users[name].groups
            if theirs not in known:
                known[theirs] = list(_compare(*narrow, name, now))
            for same in known[theirs]:
                yield AccessDifference(name, same.pattern, same.permissions, same.is_gain)


def _narrow(policy: Policy, patterns: Iterable[TargetPattern]) -> Policy:
    """Return the policy with only the grants that affect access to these patterns."""
    rules = {rule.id: rule for p in patterns for rule in policy.find_grants_including(p)}
    return replace(policy, grants=tuple(rules.values()))


def _list_differing(
    before: tuple[GrantRule, ...], after: tuple[GrantRule, ...]
) -> Iterator[GrantRule]:
    """Yield the rules that remain without the common beginning and the common end of both."""
    first = _count_same(before, after)
    ends = before[first:][::-1], after[first:][::-1]
    last = _count_same(*ends)
    for end in ends:
        yield from end[last:]


def _count_same(before: tuple[GrantRule, ...], after: tuple[GrantRule, ...]) -> int:
    """Return the length of the common beginning. A policy shares unchanged rules with the one before it."""
    differs = enumerate(map(is_not, before, after))
    return next((n for n, does in differs if does), min(len(before), len(after)))


def _find_users(policy: Policy, subjects: Set[str]) -> Iterable[str]:
    """Return the names of the users that rules for these subjects are about."""
    if ALL_USERS in subjects:
        return policy.users
    names = set(list_named_users(subjects))
    groups = {s.removeprefix("group:") for s in subjects if s.startswith("group:")}
    about = names & policy.users.keys()
    if groups:
        about |= {n for n, user in policy.users.items() if not groups.isdisjoint(user.groups)}
    return about


def _list_rules(policy: Policy, name: str, now: float) -> Mapping[int, GrantRule]:
    user = policy.users.get(name)
    if user is None:
        return {}
    subjects = user.subjects
    return {rule.id: rule for rule in drop_expired(policy.find_grants(subjects), now)}


def _compare(before: Policy, after: Policy, name: str, now: float) -> Iterator[AccessDifference]:
    old, new = _list_rules(before, name, now), _list_rules(after, name, now)
    patterns = dict.fromkeys(
        rule.pattern
        for number, rule in sorted({**old, **new}.items())
        if old.get(number) != new.get(number)
    )
    for pattern in patterns:
        had, has = _combine(old, pattern), _combine(new, pattern)
        for permissions, is_gain in ((has - had, True), (had - has, False)):
            if permissions:
                yield AccessDifference(name, pattern, permissions, is_gain)


def _combine(rules: Mapping[int, GrantRule], pattern: TargetPattern) -> Permissions:
    return frozenset(
        permission
        for rule in rules.values()
        if rule.pattern.has_all_of(pattern)
        for permission in rule.permissions
    )


def find_asking_by(policy: Policy, rule: RequestRule) -> list[str]:
    """Return the users who may ask by `rule`, and by no other rule for as much access as easily."""
    others = [other for other in policy.request_rules.values() if _asks_as_much(other, rule)]
    return list(_find_only(policy, rule.subject, [other.subject for other in others]))


def find_administering_by(policy: Policy, rule: RoleRule, now: float) -> list[str]:
    """Return the users who have a role by `rule`, and by no other rule one that covers as much."""
    others = [
        other
        for other in policy.roles.values()
        if other.id != rule.id
        and other.role.has_rights_of(rule.role)
        and other.pattern.has_all_of(rule.pattern)
        and _lasts_as_long(other.expires_at, rule.expires_at, now)
    ]
    return list(_find_only(policy, rule.subject, [other.subject for other in others]))


def _find_only(policy: Policy, subject: str, others: Iterable[str]) -> Iterator[str]:
    """Yield the users that `subject` names, and none of the subjects `others`."""
    also = frozenset(others)
    for name in sorted(policy.users):
        subjects = policy.users[name].subjects
        if subject in subjects and also.isdisjoint(subjects):
            yield name


def _asks_as_much(other: RequestRule, rule: RequestRule) -> bool:
    """Return whether `other` gives all the access that `rule` gives, with no more approvals."""
    return (
        other.id != rule.id
        and other.pattern.has_all_of(rule.pattern)
        and other.permissions >= rule.permissions
        and other.longest_s >= rule.longest_s
        and other.approvals <= rule.approvals
        and other.reason_pattern in ("*", rule.reason_pattern)
        and other.is_break_glass == rule.is_break_glass
        and other.hours in (None, rule.hours)
    )


def _lasts_as_long(other: float | None, ends_at: float | None, now: float) -> bool:
    return other is None or (other > now and ends_at is not None and other >= ends_at)
