"""The users who may ask for access, or have a role, by one rule alone. Pure.

They gain by it when it is added, and lose by it when it is removed.
"""

from collections.abc import Iterable, Iterator

from stagedoor.model.access_request import RequestRule
from stagedoor.model.policy import Policy
from stagedoor.model.role import RoleRule
from stagedoor.model.selector import list_subjects


def find_asking_by(policy: Policy, rule: RequestRule) -> list[str]:
    """Return the users who may ask by `rule`, and by no other rule for as much and as easily."""
    others = [other for other in policy.request_rules.values() if _asks_as_much(other, rule)]
    return list(_find_users(policy, rule.subject, [other.subject for other in others]))


def find_administering_by(policy: Policy, rule: RoleRule, now: float) -> list[str]:
    """Return the users who have a role by `rule`, and by no other rule one for as much."""
    others = [
        other
        for other in policy.roles.values()
        if other.id != rule.id
        and other.role.has_rights_of(rule.role)
        and other.pattern.has_all_of(rule.pattern)
        and _lasts_as_long(other.expires_at, rule.expires_at, now)
    ]
    return list(_find_users(policy, rule.subject, [other.subject for other in others]))


def _find_users(policy: Policy, subject: str, others: Iterable[str]) -> Iterator[str]:
    """Yield the users that `subject` names, and none of the subjects `others`."""
    also = frozenset(others)
    for name in sorted(policy.users):
        subjects = list_subjects(name, policy.users[name].groups)
        if subject in subjects and also.isdisjoint(subjects):
            yield name


def _asks_as_much(other: RequestRule, rule: RequestRule) -> bool:
    """Return whether a request by `other` gives all that one by `rule` gives, with no more approvals."""
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
