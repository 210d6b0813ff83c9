"""Who gains or loses by one rule: users who may do as much by no other rule."""

from dataclasses import replace
from types import MappingProxyType

import pytest

from stagedoor.authz.access_difference import find_administering_by, find_asking_by
from stagedoor.model.access_request import RequestRule
from stagedoor.model.hours import parse_hours
from stagedoor.model.permission import Permission
from stagedoor.model.policy import Policy, User
from stagedoor.model.role import Role, RoleRule

USERS = {"ann": User("ann", frozenset({"dev"})), "bob": User("bob", frozenset({"dev", "sre"}))}
RULE = RequestRule(1, "group:dev", "app*", longest_s=3600.0, approvers=("user:x",))
ROLE = RoleRule(1, "group:dev", Role.OPERATOR, "app*", expires_at=200.0)


def asking(*others: RequestRule) -> list[str]:
    rules = {rule.id: rule for rule in (RULE, *others)}
    policy = Policy(users=MappingProxyType(USERS), request_rules=MappingProxyType(rules))
    return find_asking_by(policy, RULE)


def administering(*others: RoleRule) -> list[str]:
    rules = {rule.id: rule for rule in (ROLE, *others)}
    policy = Policy(users=MappingProxyType(USERS), roles=MappingProxyType(rules))
    return find_administering_by(policy, ROLE, 100.0)


def test_all_that_it_names_gain_if_no_other_rule_is_about_them() -> None:
    assert asking() == administering() == ["ann", "bob"]


@pytest.mark.parametrize(
    ("change", "gaining"),
    [
        ({}, ["ann"]),
        ({"app_pattern": "*", "longest_s": 7200.0, "approvals": 0}, ["ann"]),
        ({"app_pattern": "app01"}, ["ann", "bob"]),
        ({"environment_pattern": "staging"}, ["ann", "bob"]),
        ({"longest_s": 60.0}, ["ann", "bob"]),
        ({"approvals": 2}, ["ann", "bob"]),
        ({"reason_pattern": "*INC-*"}, ["ann", "bob"]),
        ({"hours": parse_hours("08:00-20:00 UTC")}, ["ann", "bob"]),
        ({"permissions": frozenset({Permission.ENTER})}, ["ann", "bob"]),
        ({"is_break_glass": True}, ["ann", "bob"]),
    ],
)
def test_who_may_ask_for_as_much_by_another_rule_gains_nothing(
    change: dict[str, object], gaining: list[str]
) -> None:
    assert asking(replace(RULE, id=2, subject="group:sre", **change)) == gaining  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "gaining"),
    [
        ({}, ["ann"]),
        ({"role": Role.ADMINISTRATOR, "app_pattern": "*", "expires_at": None}, ["ann"]),
        ({"role": Role.AUDITOR}, ["ann", "bob"]),
        ({"app_pattern": "app01"}, ["ann", "bob"]),
        ({"expires_at": 150.0}, ["ann", "bob"]),
        ({"expires_at": 50.0}, ["ann", "bob"]),
    ],
)
def test_who_has_as_much_by_another_role_gains_nothing(
    change: dict[str, object], gaining: list[str]
) -> None:
    assert administering(replace(ROLE, id=2, subject="group:sre", **change)) == gaining  # type: ignore[arg-type]
