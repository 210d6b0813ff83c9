"""A token of one's own: whatever scopes it gets, they open nothing that the grants do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.authz.decide import authorise, is_in_scope
from stagedoor.authz.own_scopes import MAX_SCOPES, restrict_scopes
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant, GrantRule
from stagedoor.model.identity import Identity, Method
from stagedoor.model.permission import Permission
from stagedoor.model.policy import Policy, User
from stagedoor.wire.target import parse_login

ANN = User("ann", frozenset({"dev"}))
NOW = 1000.0


def policy(*rules: GrantRule) -> Policy:
    return Policy(users={"ann": ANN}, grants=rules)


POLICY = policy(
    GrantRule(1, "user:ann", "app01"),
    GrantRule(2, "group:dev", "shop*", "staging"),
    GrantRule(3, "user:bob", "bobs"),
    GrantRule(4, "user:ann", "old", expires_at=NOW),
    GrantRule(5, "user:ann", "seen", permissions=frozenset({Permission.WATCH})),
)


@pytest.mark.parametrize(
    ("wanted", "scopes"),
    [
        ("app01", ("connect:app01",)),
        ("APP01 app01.ssh", ("connect:app01",)),
        ("app01.staging", ("connect:app01.staging",)),
        ("shop1.staging", ("connect:shop1.staging",)),
        ("shop*.staging app01", ("connect:shop*.staging", "connect:app01")),
        ("", ()),
    ],
)
def test_what_may_be_entered_may_be_a_scope(wanted: str, scopes: tuple[str, ...]) -> None:
    assert restrict_scopes(POLICY, ANN, wanted.split(), NOW) == scopes


@pytest.mark.parametrize(
    "wanted",
    [
        "app02", "bobs", "old", "seen",
        "shop1",  # in all its environments
        "shop1.production", "shop*", "*", "*.*", "app*", "app01*", "app0?", "[a]pp01", "**",
        "app01.*", "app01:connect", "connect", "connect:app01", "",
        "app01 app02",
    ],
)  # fmt: skip
def test_nothing_wider_is_a_scope(wanted: str) -> None:
    denial = restrict_scopes(POLICY, ANN, wanted.split() or [""], NOW)
    assert isinstance(denial, Denial)
    assert "bobs" not in denial.message.replace("'bobs'", ""), "nobody else's grants are told"


def test_their_number_is_bounded() -> None:
    assert isinstance(restrict_scopes(POLICY, ANN, ["app01"] * (MAX_SCOPES + 1), NOW), Denial)


PARTS = st.sampled_from(["a", "ab", "b", "a*", "*", "?b", "[ab]", "c"])


@given(
    st.lists(st.tuples(PARTS, PARTS), max_size=3),
    st.lists(st.tuples(PARTS, st.none() | PARTS), min_size=1, max_size=3),
    st.sampled_from(["a", "ab", "b", "c"]),
    st.sampled_from([None, "a", "ab", "b", "c"]),
)
def test_no_scope_ever_covers_what_no_grant_does(
    granted: list[tuple[str, str]],
    wanted: list[tuple[str, str | None]],
    app: str,
    environment: str | None,
) -> None:
    rules = [GrantRule(n, "user:ann", a, e) for n, (a, e) in enumerate(granted)]
    words = [a if e is None else f"{a}.{e}" for a, e in wanted]
    scopes = restrict_scopes(policy(*rules), ANN, words, NOW)
    target = parse_login(app if environment is None else f"{app}.{environment}")
    assert target is not None
    if isinstance(scopes, Denial) or not is_in_scope(scopes, target):
        return
    identity = Identity("ann", ANN.groups, Method.SSO)
    assert isinstance(authorise(policy(*rules), identity, target, NOW), Grant)
