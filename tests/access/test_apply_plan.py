"""The plan of an access set, pure: what it changes, what it refuses, and who gains and loses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.admin.apply.plan import Action, ApplyOptions, plan_changes
from stagedoor.admin.apply.rights import Right, compare_rights
from stagedoor.model.access_request import RequestRule
from stagedoor.model.access_set import (
    Owner,
    Row,
    make_grant_row,
    make_member_row,
    make_rule_row,
    make_user_row,
)
from stagedoor.model.errors import RefusedError
from stagedoor.model.grant import GrantRule
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.model.selector import ALL_USERS

OURS, THEIRS = Owner("platform", "a.toml"), Owner("data", "b.toml")
NOW = 1000.0


def grant(subject: str, app: str, owner: Owner | None, number: int = 0, *more: Permission) -> Row:
    return make_grant_row(GrantRule(number, subject, app, permissions=DEFAULT | set(more)), owner)


ALICE = make_user_row("alice", OURS)
STORED = (ALICE, make_member_row("alice", "dev", OURS), grant("group:dev", "app*", OURS, 1))
DECLARED = (ALICE, make_member_row("alice", "dev", OURS), grant("group:dev", "app*", OURS))


def actions(declared: tuple[Row, ...], stored: tuple[Row, ...], options: ApplyOptions) -> list[str]:
    plan = plan_changes("platform", declared, stored, options, NOW)
    assert plan.problems == []
    return [f"{change.action} {change.row.name}" for change in plan.changes]


def test_what_is_stored_already_changes_nothing() -> None:
    assert actions(DECLARED, STORED, ApplyOptions(prunes=True)) == []
    assert actions(DECLARED, (), ApplyOptions()) == [
        "add user alice",
        "add alice in group dev",
        "add grant group:dev app* in *",
    ]


def test_a_row_of_no_set_and_one_of_another_set_are_taken_over_only_if_told() -> None:
    for owner in (None, THEIRS):
        stored = (make_user_row("alice", owner), *STORED[1:])
        plan = plan_changes("platform", DECLARED, stored, ApplyOptions(), NOW)
        assert plan.changes == []
        assert "--adopt" in plan.problems[0].text
        assert actions(DECLARED, stored, ApplyOptions(adopts=True)) == ["adopt user alice"]


def test_a_set_touches_no_row_of_another_one() -> None:
    stored = (
        *STORED,
        make_user_row("bob", THEIRS),
        grant("user:bob", "app01", None, 2),
        grant("group:dev", "db", THEIRS, 3),
    )
    assert actions(DECLARED, stored, ApplyOptions(prunes=True, prune_percent=100)) == []


def test_pruning_takes_a_fifth_at_most_unless_told() -> None:
    stored = (*STORED, grant("group:dev", "db", OURS, 2))
    with pytest.raises(RefusedError, match=r"remove 1 of the set's 4 rows.*--prune-at-most"):
        plan_changes("platform", DECLARED, stored, ApplyOptions(prunes=True), NOW)
    some = ApplyOptions(prunes=True, prune_percent=25)
    assert actions(DECLARED, stored, some) == ["remove grant 2 group:dev db in *"]
    plan = plan_changes("platform", DECLARED, stored, ApplyOptions(), NOW)
    assert (plan.changes, len(plan.kept)) == ([], 1)
    assert actions(DECLARED, stored, ApplyOptions(releases=True)) == [
        "release grant 2 group:dev db in *"
    ]


def test_a_removed_user_takes_rows_made_by_hand_along_but_none_of_another_set() -> None:
    whole = ApplyOptions(prunes=True, prune_percent=100)
    by_hand = grant("user:alice", "db", None, 7)
    assert actions((), (ALICE, by_hand), whole) == [
        "remove user alice",
        "remove grant 7 user:alice db in *",
    ]
    theirs = grant("user:alice", "db", THEIRS, 7)
    (problem,) = plan_changes("platform", (), (ALICE, theirs), whole, NOW).problems
    assert "is in the set data (b.toml)" in problem.text


def test_rows_name_users_that_there_are() -> None:
    declared = (grant("user:carol", "app01", OURS),)
    (problem,) = plan_changes("platform", declared, STORED, ApplyOptions(), NOW).problems
    assert problem.text == "there is no user carol"
    declared = (grant("user:alice", "app01", OURS),)
    whole = ApplyOptions(prunes=True, prune_percent=100)
    (problem,) = plan_changes("platform", declared, (ALICE,), whole, NOW).problems
    assert "would be removed" in problem.text


def test_a_grant_whose_time_is_over_is_not_added_again() -> None:
    over = make_grant_row(GrantRule(0, "group:dev", "db", expires_at=NOW), OURS)
    assert actions((over,), (), ApplyOptions()) == []


def test_it_says_who_gains_and_who_loses_and_leaves_out_what_a_wider_grant_gives() -> None:
    stored = (*STORED, make_user_row("bob", OURS), grant("user:bob", "app01", OURS, 2))
    declared = (
        *DECLARED,
        make_user_row("bob", OURS),
        make_member_row("bob", "dev", OURS),
        grant("user:alice", "app02", OURS),
        make_rule_row(RequestRule(0, "group:dev", "db", approvers=("user:alice",)), OURS),
    )
    plan = plan_changes(
        "platform", declared, stored, ApplyOptions(prunes=True, prune_percent=50), NOW
    )
    rights = {change.users: change for change in compare_rights(stored, plan.changes, (), NOW)}
    assert rights["alice",].gains == (Right("db", "*", "approve"), Right("db", "*", "ask"))
    assert rights["bob",].gains == (
        Right("app*", "*", "enter"),
        Right("app*", "*", "files"),
        Right("db", "*", "ask"),
    )
    assert {change.losses for change in rights.values()} == {()}
    losing = compare_rights(
        declared, plan_changes("platform", (), declared, _ALL, NOW).changes, (), NOW
    )
    assert {user for change in losing for user in change.users} == {"alice", "bob"}
    assert {change.gains for change in losing} == {()}


def test_a_grant_of_all_users_and_a_group_of_the_provider_count() -> None:
    declared = (ALICE, grant(ALL_USERS, "wiki", OURS), grant("group:idp", "ci", OURS))
    plan = plan_changes("platform", declared, (ALICE,), ApplyOptions(), NOW)
    (change,) = compare_rights((ALICE,), plan.changes, [("alice", "idp")], NOW)
    assert {right.app for right in change.gains} == {"wiki", "ci"}


_ALL = ApplyOptions(adopts=True, prunes=True, prune_percent=100)
NAMES = st.sampled_from(["ann", "bob", "cid"])
OWNERS = st.sampled_from([None, OURS])
ROWS = st.one_of(
    st.builds(make_user_row, NAMES, OWNERS),
    st.builds(make_member_row, NAMES, st.sampled_from(["dev", "ops"]), OWNERS),
    st.builds(
        grant,
        st.sampled_from(["group:dev", ALL_USERS]),
        st.sampled_from(["app*", "db"]),
        OWNERS,
        st.just(0),
        st.sampled_from(Permission),
    ),
)


def distinct(rows: list[Row]) -> tuple[Row, ...]:
    return tuple({(row.kind, row.key): row for row in rows}.values())


@given(st.lists(ROWS).map(distinct), st.lists(ROWS).map(distinct))
def test_a_plan_that_is_carried_out_leaves_nothing_to_do(
    declared: tuple[Row, ...], stored: tuple[Row, ...]
) -> None:
    declared = tuple(Row(row.kind, row.key, row.rule, OURS) for row in declared)
    plan = plan_changes("platform", declared, stored, _ALL, NOW)
    if plan.problems:
        return
    rows = {(row.kind, row.key): row for row in stored}
    for change in plan.changes:
        rows.pop((change.row.kind, change.row.key), None)
        if change.action is not Action.REMOVE:
            rows[change.row.kind, change.row.key] = change.row
    again = plan_changes("platform", declared, tuple(rows.values()), _ALL, NOW)
    assert again.changes == []
