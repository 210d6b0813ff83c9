"""The comparison of users' rights before and after a plan. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from stagedoor.admin.apply.plan import Action, RowChange
from stagedoor.model.access_request import RequestRule
from stagedoor.model.access_set import Row, RowKind
from stagedoor.model.grant import GrantRule
from stagedoor.model.permission import sort_permissions
from stagedoor.model.selector import (
    ALL_USERS,
    TargetPattern,
    is_glob,
    list_named_users,
    list_subjects,
)


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """A right to the apps and environments of two patterns.

    `word` is a permission, or `ask` and `approve` for access requests.
    """

    app: str
    environment: str
    word: str

    def covers(self, other: "Right") -> bool:
        """Return True if this right includes `other`, judging by the patterns alone."""
        return self.word == other.word and self.pattern.has_all_of(other.pattern)

    @property
    def pattern(self) -> TargetPattern:
        """Return the apps that the right is for."""
        return TargetPattern(self.app, self.environment)


@dataclass(frozen=True, slots=True)
class RightsChange:
    """The rights that all of `users` gain and lose."""

    users: tuple[str, ...]
    gains: tuple[Right, ...]
    losses: tuple[Right, ...]


Rights = frozenset[Right]
_NOTHING: Rights = frozenset()
_Pair = tuple[Rights, Rights]
"""The rights by groups, and the user's own."""


class _UserRights:
    """The rights of all users before or after a plan."""

    def __init__(
        self, rows: Iterable[Row], provided: Iterable[tuple[str, str]], now: float
    ) -> None:
        self.users: set[str] = set()
        self.groups: dict[str, set[str]] = defaultdict(set)
        self.members: dict[str, set[str]] = defaultdict(set)
        self._rights: dict[str, set[Right]] = defaultdict(set)
        for row in rows:
            if row.kind is RowKind.USER:
                self.users.add(row.key[0])
            elif row.kind is RowKind.MEMBER:
                self._add_member(*row.key)
            else:
                self._add_rule(row.rule, now)
        for user, group in provided:
            self._add_member(user, group)
        self.of_groups = cache(self._of_groups)

    def _add_member(self, user: str, group: str) -> None:
        self.groups[user].add(group)
        self.members[f"group:{group}"].add(user)

    def _add_rule(self, rule: GrantRule | RequestRule | None, now: float) -> None:
        if rule is None:
            return
        place = (rule.app_pattern, rule.environment_pattern)
        if isinstance(rule, RequestRule):
            self._rights[rule.subject].add(Right(*place, "ask"))
            for approver in rule.subjects[1:]:
                self._rights[approver].add(Right(*place, "approve"))
        elif rule.expires_at is None or rule.expires_at > now:
            words = sort_permissions(rule.permissions)
            self._rights[rule.subject].update(Right(*place, word.value) for word in words)

    def _of_groups(self, subjects: frozenset[str]) -> Rights:
        return frozenset().union(*(self._rights.get(subject, ()) for subject in subjects))

    def rights_of(self, user: str) -> tuple[Rights, Rights]:
        """Return the user's rights by groups, and the user's own."""
        if user not in self.users:
            return _NOTHING, _NOTHING
        subjects = list_subjects(user, self.groups.get(user, ())) - {f"user:{user}"}
        return self.of_groups(subjects), frozenset(self._rights.get(f"user:{user}", ()))


def compare_rights(
    stored: Sequence[Row],
    changes: Sequence[RowChange],
    provided: Iterable[tuple[str, str]],
    now: float,
) -> Sequence[RightsChange]:
    """Return the users whose rights change, grouped by equal changes.

    `provided` are the members of groups by identity providers. A right that a wider right of the same user
    includes is left out.
    """
    subjects: set[str] = set()
    for change in changes:
        if change.action in (Action.ADD, Action.CHANGE, Action.REMOVE):
            subjects |= _subjects(change.row)
            subjects |= set() if change.before is None else _subjects(change.before)
    if not subjects:
        return []
    provided = tuple(provided)
    old = _UserRights(stored, provided, now)
    new = _UserRights(list_after(stored, changes), provided, now)
    # The members of a group share one set of rights, which need be compared and hashed only once.
    alike: dict[tuple[int, Rights, int, Rights], list[str]] = defaultdict(list)
    pairs: dict[tuple[int, Rights, int, Rights], tuple[_Pair, _Pair]] = {}
    for user in sorted(_affected(subjects, old, new)):
        before, after = old.rights_of(user), new.rights_of(user)
        key = (id(before[0]), before[1], id(after[0]), after[1])
        alike[key].append(user)
        pairs[key] = before, after
    together: dict[tuple[tuple[Right, ...], tuple[Right, ...]], list[str]] = defaultdict(list)
    for key, (before, after) in pairs.items():
        together[_only_in(after, before), _only_in(before, after)] += alike[key]
    together.pop(((), ()), None)
    return [RightsChange(tuple(sorted(users)), *both) for both, users in together.items()]


def list_after(stored: Iterable[Row], changes: Iterable[RowChange]) -> Iterable[Row]:
    """Return the rows after the changes. Their owners may be the previous ones."""
    after = {id(row): row for row in stored}
    for change in changes:
        if change.before is not None and change.action in (Action.REMOVE, Action.CHANGE):
            after.pop(id(change.before), None)
        if change.action in (Action.ADD, Action.CHANGE):
            after[id(change.row)] = change.row
    return after.values()


def has_user(
    rows: Iterable[Row],
    provided: Iterable[tuple[str, str]],
    subjects: frozenset[str],
    disabled: frozenset[str],
) -> bool:
    """Return whether there is a user among `subjects`, by name or by a group, who is not `disabled`."""
    users: set[str] = set()
    members = {user for user, group in provided if f"group:{group}" in subjects}
    for row in rows:
        if row.kind is RowKind.USER:
            users.add(row.key[0])
        elif row.kind is RowKind.MEMBER and f"group:{row.key[1]}" in subjects:
            members.add(row.key[0])
    return not (users - disabled).isdisjoint(members.union(list_named_users(subjects)))


def _subjects(row: Row) -> set[str]:
    if row.kind in (RowKind.USER, RowKind.MEMBER):
        return {f"user:{row.key[0]}"}
    return set(row.rule.subjects) if isinstance(row.rule, RequestRule) else {row.key[0]}


def _affected(subjects: Iterable[str], old: _UserRights, new: _UserRights) -> set[str]:
    users: set[str] = set()
    for subject in subjects:
        if subject == ALL_USERS:
            users |= old.users | new.users
        elif subject.startswith("user:"):
            users.add(subject.removeprefix("user:"))
        else:
            users |= old.members.get(subject, set()) | new.members.get(subject, set())
    return users


def _only_in(some: _Pair, others: _Pair) -> tuple[Right, ...]:
    rights = some[0].union(some[1]).difference(*others)
    if not rights:
        return ()
    wide = [right for part in others for right in part if _is_pattern(right)]
    return tuple(sorted(right for right in rights if not any(w.covers(right) for w in wide)))


def _is_pattern(right: Right) -> bool:
    return is_glob(right.app) or is_glob(right.environment)


def list_words(rights: Iterable[Right]) -> Mapping[tuple[str, str], Sequence[str]]:
    """Return the words of each app and environment, for people."""
    words: dict[tuple[str, str], list[str]] = defaultdict(list)
    for right in rights:
        words[right.app, right.environment].append(right.word)
    return words
