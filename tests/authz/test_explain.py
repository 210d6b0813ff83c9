"""What `explain` says is what `authorise` does, and what it names as a change lets the user in."""

from dataclasses import replace
from random import Random

import pytest

from stagedoor.admin.access.questions import describe_change
from stagedoor.authz.admissions import find_entering, identify_by_name
from stagedoor.authz.decide import authorise
from stagedoor.authz.explain import ChangeKind, explain
from stagedoor.model.access_request import AccessRequest, RequestRule, RequestState
from stagedoor.model.grant import Grant, GrantRule
from stagedoor.model.identity import Identity, Method
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.model.policy import Policy, TokenRecord, User
from stagedoor.model.selector import ALL_USERS
from stagedoor.model.target import Target

NOW = 1_800_000_000.0
GROUPS = ("dev", "sre")
TARGETS = [Target(app, place) for app in ("app01", "app02") for place in (None, "prod", "test")]

SUBJECTS = ("user:ann", "user:bob", "group:dev", "group:sre", ALL_USERS)
PATTERNS = ("app01", "app02", "app*", "*", "app0[2-9]", "app0?")
PLACES = ("*", "prod", "test", "p*")
ENDS = (NOW - 1, NOW, NOW + 1)
SCOPES = (None, ("connect",), ("connect:app01",), ("connect:app*.prod",), ())


def some(chance: Random) -> frozenset[Permission]:
    if chance.random() < 0.5:
        return DEFAULT
    return frozenset(chance.sample(list(Permission), chance.randint(1, 3)))


def make_policy(chance: Random) -> Policy:
    """Return a small policy in which rules nearly fit."""
    pick = chance.choice
    users = {
        name: User(name, frozenset(group for group in GROUPS if chance.random() < 0.5))
        for name in ("ann", "bob")
    }
    disabled = {"ann"} if chance.random() < 0.2 else set()
    rules = [
        GrantRule(
            n, pick(SUBJECTS), pick(PATTERNS), pick(PLACES), pick((None, *ENDS)), some(chance)
        )
        for n in range(1, chance.randint(1, 5))
    ]
    request_rules = [
        RequestRule(n, pick(SUBJECTS), pick(PATTERNS), pick(PLACES), some(chance))
        for n in range(1, chance.randint(1, 3))
    ]
    requests = [
        AccessRequest(
            n,
            pick(("ann", "bob")),
            tuple(chance.sample(TARGETS, chance.randint(1, 2))),
            some(chance),
            pick((1, 2, 3)),
            "INC-42",
            60.0,
            NOW - 60,
            pick(ENDS),
            state=pick((RequestState.PENDING, RequestState.APPROVED)),
            began_at=pick((None, NOW - 5, NOW + 1)),
            starts_at=pick((None, NOW - 1, NOW + 1)),
        )
        for n in range(1, chance.randint(1, 4))
    ]
    return Policy(
        users={name: user for name, user in users.items() if name not in disabled},
        disabled={name: users[name] for name in disabled},
        tokens={"t1": TokenRecord("t1", "ann", b"", pick(SCOPES), pick((None, *ENDS)))},
        grants=tuple(rules),
        request_rules={rule.id: rule for rule in request_rules},
        requests={request.id: request for request in requests},
        is_unavailable=chance.random() < 0.05,
    )


def enters(policy: Policy, identity: Identity, target: Target) -> bool:
    return isinstance(authorise(policy, identity, target, NOW), Grant)


def change(policy: Policy, kind: ChangeKind, about: str, name: str, target: Target) -> Policy:
    """Do what `explain` names."""
    if kind is ChangeKind.JOIN:
        user = policy.users[name]
        joined = replace(user, groups=user.groups | {about})
        return replace(policy, users={**policy.users, name: joined})
    if kind is ChangeKind.GRANT:
        rule = GrantRule(99, f"user:{name}", target.app, target.environment or "*")
        return replace(policy, grants=(*policy.grants, rule))
    if kind is ChangeKind.APPROVE:
        approved = replace(policy.requests[int(about)], state=RequestState.APPROVED)
    else:
        rule_of = policy.request_rules[int(about)]
        approved = AccessRequest(
            98, name, (target,), rule_of.permissions, rule_of.id, "", 60, NOW, NOW + 60,
            state=RequestState.APPROVED,
        )  # fmt: skip
    return replace(policy, requests={**policy.requests, approved.id: approved})


@pytest.mark.access(30)
def test_it_explains_what_is_decided() -> None:
    """10,000 policies, in some 5 s."""
    chance = Random(30)
    kinds = set()
    for _ in range(10_000):
        policy = make_policy(chance)
        who = chance.choice(["ann", "ann", "token", "eve"])
        kinds |= check(policy, chance.choice(TARGETS), who)
    assert kinds == {*ChangeKind, "in"}, "each was met"


def check(policy: Policy, target: Target, who: str) -> set[str]:
    """Hold one explanation to `authorise`, and return what was in it."""
    identity = identify_by_name(policy, who)
    if who == "token":
        token = policy.tokens["t1"]
        identity = Identity("ann", frozenset(), Method.TOKEN, "t1", token.scopes)
    answer = explain(policy, identity, target, NOW)
    verdict = authorise(policy, identity, target, NOW)
    assert answer.lets_in == isinstance(verdict, Grant), (policy, target)
    if isinstance(verdict, Grant):
        assert answer.permissions == verdict.permissions
        by = f"grant {verdict.rule_id}" if verdict.rule_id else f"request {verdict.request}"
        assert by in [rule.name for rule in answer.rules if not rule.gaps]
        assert answer.changes == ()
    for wanted in answer.changes:
        after = change(policy, wanted.kind, wanted.about, identity.name, target)
        assert enters(after, identity, target), (policy, target, wanted)
    verdicts = [
        (name, authorise(policy, identify_by_name(policy, name), target, NOW))
        for name in sorted(policy.users)
    ]
    entering = [(name, verdict) for name, verdict in verdicts if isinstance(verdict, Grant)]
    listed = find_entering(policy, target, NOW)
    assert [name for name, _ in listed] == [name for name, _ in entering]
    for (_, grant), (_, verdict) in zip(listed, entering, strict=True):
        assert replace(grant, identity=verdict.identity) == verdict
    return {change.kind for change in answer.changes} | ({"in"} if answer.lets_in else set())


def test_each_rule_that_does_not_fit_says_why() -> None:
    held = Policy(
        users={"ann": User("ann", frozenset({"dev"})), "bob": User("bob")},
        grants=(
            GrantRule(1, "group:dev", "app0*", "test"),
            GrantRule(2, "user:ann", "app09", expires_at=NOW - 60),
            GrantRule(3, ALL_USERS, "*", permissions=frozenset({Permission.WATCH})),
            GrantRule(4, "group:sre", "app*"),
            GrantRule(5, "user:bob", "app09"),
        ),
    )
    answer = explain(held, identify_by_name(held, "ann"), Target("app09", "prod"), NOW)
    assert {rule.name: rule.gaps for rule in answer.rules} == {
        "grant 1": ("it is for the environment test, not prod",),
        "grant 2": ("it ended at 2027-01-15T07:59:00Z",),
        "grant 3": ("it does not permit entering",),
    }
    assert [describe_change(answer, change) for change in answer.changes] == [
        "stagedoor user group ann --add sre",
        "stagedoor grant add user:ann app09 --environment prod",
    ]
