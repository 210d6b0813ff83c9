"""The index of a policy that is made of an earlier one's finds what a new index finds."""

from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.authz.access_difference import _compare, list_differences
from stagedoor.model.grant import GrantRule
from stagedoor.model.policy import Policy, User
from stagedoor.model.selector import ALL_USERS, TargetPattern, has_name
from stagedoor.model.target import Target

SUBJECTS = ("user:alice", "user:bob", "group:dev", ALL_USERS)
TARGETS = (Target("app1"), Target("app2", "staging"), Target("wiki"))
USERS = MappingProxyType({"alice": User("alice", frozenset({"dev"})), "bob": User("bob")})
RULES = st.builds(
    GrantRule,
    st.integers(1, 9),
    st.sampled_from(SUBJECTS),
    st.sampled_from(["app1", "app2", "app*", "*", "wiki"]),
    st.sampled_from(["*", "staging"]),
)
GRANTS = st.lists(RULES, max_size=6, unique_by=lambda rule: rule.id)


def policy_of(grants: list[GrantRule]) -> Policy:
    return Policy(1, USERS, grants=tuple(sorted(grants, key=lambda rule: rule.id)))


@given(GRANTS, st.lists(GRANTS, max_size=4))
def test_an_index_that_is_updated_is_like_a_new_one(
    first: list[GrantRule], changes: list[list[GrantRule]]
) -> None:
    policy = policy_of(first)
    for added in changes:
        list(map(policy.find_grants_about, TARGETS[: len(added) % 2]))  # one index of two is lazy
        policy.find_grants(SUBJECTS)
        numbers = {rule.id for rule in added}
        removed = [rule for rule in policy.grants if rule.id in numbers]
        kept = [rule for rule in policy.grants if rule.id not in numbers]
        policy = policy_of([*kept, *added]).update_index(policy, removed, added)
        anew = replace(policy)
        for subject in SUBJECTS:
            assert policy.find_grants([subject]) == anew.find_grants([subject])
        for target in TARGETS:
            assert policy.find_grants_about(target) == anew.find_grants_about(target)


@given(GRANTS, GRANTS)
def test_a_difference_is_the_same_whether_both_policies_share_rules_or_not(
    first: list[GrantRule], second: list[GrantRule]
) -> None:
    before = policy_of(first)
    shared = {rule.id: rule for rule in first}
    after = policy_of([shared[rule.id] if shared.get(rule.id) == rule else rule for rule in second])
    copied = policy_of([replace(rule) for rule in second])
    copied = replace(copied, users=MappingProxyType(dict(USERS)))
    assert list(list_differences(before, after, 0.0)) == list(list_differences(before, copied, 0.0))


@given(GRANTS, GRANTS)
def test_differences_of_the_grants_that_matter_are_those_of_all(
    before: list[GrantRule], after: list[GrantRule]
) -> None:
    policies = policy_of(before), policy_of(after)
    whole = [difference for name in USERS for difference in _compare(*policies, name, 0.0)]
    assert list(list_differences(*policies, 0.0)) == whole


def test_no_glob_is_compiled_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python keeps 32,768 compiled globs, and compiling 50,000 took 11 s."""
    monkeypatch.setattr("stagedoor.model.selector.fnmatchcase", lambda *_: pytest.fail("a glob"))
    assert has_name("app1", "app1")
    assert not has_name("app1", "app2")
    assert not TargetPattern("app1").has_all_of(TargetPattern("app2"))
    monkeypatch.undo()
    assert has_name("app[12]", "app2")
