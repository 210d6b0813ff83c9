"""Access sets: users, group members, grants and request rules that files declare. Pure.

Each row of the policy may belong to a set. A set adds, changes and removes only its own rows, and such rows
are changed only in the set's files.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from stagedoor.model.access_request import RequestRule, show_period
from stagedoor.model.errors import RefusedError
from stagedoor.model.grant import GrantRule
from stagedoor.model.permission import Permission, to_words
from stagedoor.model.selector import list_named_users


class RowKind(StrEnum):
    """The kinds of rows, in the order in which they are added."""

    USER = "user"
    MEMBER = "member"
    GRANT = "grant"
    REQUEST_RULE = "request rule"


@dataclass(frozen=True, slots=True)
class Owner:
    """The set that a row belongs to, and the file that declares the row."""

    set: str
    file: str


RowKey = tuple[str, ...]
"""The part of a row that identifies it among the rows of its kind."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the policy, as it is stored or as a file declares it.

    The key of a user is the name, and that of a member is the user and the group. `rule` is the grant or the
    request rule; its number is 0 in a file. `owner` is None for a row that belongs to no set.
    """

    kind: RowKind
    key: RowKey
    rule: GrantRule | RequestRule | None = None
    owner: Owner | None = None

    @property
    def number(self) -> int:
        """Return the number of a stored grant or request rule, or 0."""
        return 0 if self.rule is None else self.rule.id

    @property
    def users(self) -> tuple[str, ...]:
        """Return the names of the users in the row."""
        if self.kind in (RowKind.USER, RowKind.MEMBER):
            return self.key[:1]
        return tuple(list_named_users(self.key[:1]))

    @property
    def named_users(self) -> tuple[str, ...]:
        """Return the names of all users in the row, those of approvers too."""
        subjects = self.rule.subjects if isinstance(self.rule, RequestRule) else ()
        return (*self.users, *list_named_users(subjects[1:]))

    def is_same_rule(self, other: "Row") -> bool:
        """Return True if both rows have the same contents, whatever their numbers and owners."""
        if self.rule is None or other.rule is None:
            return True
        return replace(self.rule, id=0) == replace(other.rule, id=0)

    @property
    def name(self) -> str:
        """Return the row's name for people: `user alice`, `alice in group dev`, `grant group:dev app*`."""
        match self.kind:
            case RowKind.USER:
                return f"user {self.key[0]}"
            case RowKind.MEMBER:
                return f"{self.key[0]} in group {self.key[1]}"
        number = f" {self.number}" if self.number else ""
        return f"{self.kind}{number} {self.key[0]} {self.key[1]} in {self.key[2]}"

    @property
    def terms(self) -> str:
        """Return the terms of a grant or a request rule besides its subject and app, or ""."""
        match self.rule:
            case GrantRule(permissions=permissions, expires_at=end, resume_s=resume_s):
                until = "" if end is None else f", until {datetime.fromtimestamp(end, UTC)}"
                resume = "" if resume_s is None else f", resume {resume_s:.0f} s"
                return to_words(permissions) + until + resume
            case RequestRule() as rule:
                step_up = ", step-up" if rule.needs_step_up else ""
                hours = "" if rule.hours is None else f", {rule.hours.text}"
                return (
                    f"{to_words(rule.permissions)}, {show_period(rule.longest_s)} at most; "
                    f"{rule.deciders}, reason {rule.reason_pattern!r}{step_up}{hours}"
                )
        return ""


def make_user_row(name: str, owner: Owner | None) -> Row:
    """Return the row of a user."""
    return Row(RowKind.USER, (name,), None, owner)


def make_member_row(user: str, group: str, owner: Owner | None) -> Row:
    """Return the row of a user in a group."""
    return Row(RowKind.MEMBER, (user, group), None, owner)


def make_grant_row(rule: GrantRule, owner: Owner | None) -> Row:
    """Return the row of a grant. A grant that only adds permissions is distinct from a grant to enter."""
    enters = "enter" if Permission.ENTER in rule.permissions else ""
    key = (rule.subject, rule.app_pattern, rule.environment_pattern, enters)
    return Row(RowKind.GRANT, key, rule, owner)


def make_rule_row(rule: RequestRule, owner: Owner | None) -> Row:
    """Return the row of a request rule."""
    key = (
        rule.subject,
        rule.app_pattern,
        rule.environment_pattern,
        "break-glass" if rule.is_break_glass else "",
        to_words(rule.permissions),
    )
    return Row(RowKind.REQUEST_RULE, key, rule, owner)


def refuse_owned(what: str, owner: Owner | None) -> None:
    """Raise RefusedError if `what`, a row to be changed by hand, belongs to a set."""
    if owner is not None:
        raise RefusedError.with_fix(
            f"{what} belongs to the access set {owner.set}",
            f"change it in {owner.file} and run `stagedoor apply`",
        )
