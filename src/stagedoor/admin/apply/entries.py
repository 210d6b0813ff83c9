"""The entries of a set's files, and the rows that they declare. Pure except for the checks of names."""

from collections.abc import Iterator
from datetime import datetime
from math import inf

from stagedoor.admin.checks import check_end, check_name
from stagedoor.admin.requests.access_requests import check_rule
from stagedoor.admin.service import check_grant
from stagedoor.model.access_request import LONGEST_BREAK_GLASS_S, USUAL_S, RequestRule
from stagedoor.model.access_set import (
    Owner,
    Row,
    make_grant_row,
    make_member_row,
    make_rule_row,
    make_user_row,
)
from stagedoor.model.grant import GrantRule
from stagedoor.model.hours import parse_hours
from stagedoor.model.permission import DEFAULT, combine_permissions, parse_permissions
from stagedoor.model.units import DAY_S
from stagedoor.settings.form import Table
from stagedoor.wire.duration import parse_duration


class DeclaredUser(Table, frozen=True):
    """A user, and the groups in which this set puts the user."""

    name: str
    groups: tuple[str, ...] = ()

    def make_rows(self, owner: Owner) -> Iterator[Row]:
        """Yield the rows of the user. Raises RefusedError."""
        check_name(self.name, "user")
        yield make_user_row(self.name, owner)
        for group in self.groups:
            yield _make_member(self.name, group, owner)


class DeclaredGroup(Table, frozen=True):
    """A group, and the members that this set puts in it."""

    name: str
    members: tuple[str, ...]

    def make_rows(self, owner: Owner) -> Iterator[Row]:
        """Yield a row for each member. Raises RefusedError."""
        for member in self.members:
            yield _make_member(member, self.name, owner)


class DeclaredGrant(Table, frozen=True):
    """A grant, with the terms of `stagedoor grant add`."""

    subject: str
    app: str
    environment: str = "*"
    allow: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    expires: datetime | None = None
    resume: str | None = None

    def make_rows(self, owner: Owner) -> Iterator[Row]:
        """Yield the row of the grant. Raises RefusedError, and ValueError, which names the key first."""
        if self.expires is not None and self.expires.tzinfo is None:
            raise ValueError("expires: write the offset from UTC, as in 2026-12-31T18:00:00Z")
        if self.expires is not None:
            check_end(self.expires.timestamp(), -inf)  # a past time removes the grant
        allow, without = parse_permissions(self.allow), parse_permissions(self.without)
        rule = GrantRule(
            0,
            self.subject,
            self.app,
            self.environment,
            None if self.expires is None else self.expires.timestamp(),
            combine_permissions(allow, without),
            resume_s=None if self.resume is None else _parse_time("resume", self.resume),
        )
        check_grant(rule)
        yield make_grant_row(rule, owner)


class DeclaredRule(Table, frozen=True):
    """A request rule, with the terms of `stagedoor request rule add`."""

    subject: str
    app: str
    environment: str = "*"
    allow: tuple[str, ...] = ()
    longest: str | None = None
    approvers: tuple[str, ...] = ()
    approvals: int | None = None
    then: tuple[str, ...] = ()
    after: str | None = None
    reason: str = "*"
    step_up: bool = False
    break_glass: bool = False
    hours: str | None = None

    def make_rows(self, owner: Owner) -> Iterator[Row]:
        """Yield the row of the rule. Raises RefusedError, and ValueError, which names the key first."""
        usual_s = LONGEST_BREAK_GLASS_S if self.break_glass else USUAL_S
        rule = RequestRule(
            0,
            self.subject,
            self.app,
            self.environment,
            DEFAULT | parse_permissions(self.allow),
            usual_s if self.longest is None else _parse_time("longest", self.longest),
            tuple(dict.fromkeys(self.approvers)),
            (0 if self.break_glass else 1) if self.approvals is None else self.approvals,
            self.reason,
            self.break_glass,
            self.step_up,
            None if self.hours is None else parse_hours(self.hours),
            tuple(dict.fromkeys(self.then)),
            0.0 if self.after is None else _parse_time("after", self.after),
        )
        check_rule(rule)
        yield make_rule_row(rule, owner)


class AccessFile(Table, frozen=True):
    """One file of a set."""

    set: str | None = None
    users: tuple[DeclaredUser, ...] = ()
    groups: tuple[DeclaredGroup, ...] = ()
    grants: tuple[DeclaredGrant, ...] = ()
    request_rules: tuple[DeclaredRule, ...] = ()


TABLES = ("users", "groups", "grants", "request_rules")


def _make_member(user: str, group: str, owner: Owner) -> Row:
    check_name(user, "user")
    check_name(group, "group")
    return make_member_row(user, group, owner)


def _parse_time(key: str, text: str) -> float:
    seconds = 0 if text == "0" else parse_duration(text)
    if seconds is None or seconds > 7 * DAY_S:
        raise ValueError(f"{key}: {text!r} is not a duration: write 15m, 8h or 1d; 7d is the most")
    return float(seconds)
